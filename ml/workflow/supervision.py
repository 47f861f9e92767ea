"""A job outlives neither the task nor the process that started it.

Spark's Python driver survives the end of its JVM, and a JVM survives the end of the Airflow task that started it. A job
therefore carries its supervisor's identity in its environment: a thread ends the job soon after the supervisor is gone,
and a commit is refused.
"""

from __future__ import annotations

import contextlib
import os
import socket
import threading
import time

import psutil

from ml.errors import TransientError

SUPERVISOR_VARIABLE = "OPEN_IMAGES_SUPERVISOR"
POLL_SECONDS = 1.0
EXIT_CODE = 75  # EX_TEMPFAIL: the work may be tried again


def identity() -> str:
    """This process as `host|pid|start time`, to be handed to a job through `SUPERVISOR_VARIABLE`."""
    return f"{socket.gethostname()}|{os.getpid()}|{psutil.Process().create_time()}"


def lives(told: str) -> bool:
    """Whether the process that an `identity` tells of still runs on this host; of other hosts nothing is known."""
    process = _on_this_host(told)
    return process is not None and find_process(*process) is not None


def _on_this_host(told: str) -> tuple[int, float] | None:
    """Process id and start time of an `identity`, where its host is this one."""
    host, _, rest = told.partition("|")
    pid, _, started = rest.partition("|")
    return (int(pid), float(started)) if host == socket.gethostname() and pid else None


class Supervision:
    """Watches the supervisor named in the environment, and the parent process, of a job.

    A job without a supervisor (started from a shell, perhaps under nohup), or on another host, is bound to nobody.
    """

    def __init__(self) -> None:
        self._parent = os.getppid()
        self._supervisor = _on_this_host(os.environ.get(SUPERVISOR_VARIABLE, ""))

    def alive(self) -> bool:
        """Whether the job's parent, and its supervisor if it has one here, still run."""
        if self._supervisor is None:
            return True
        if os.getppid() != self._parent:
            return False
        return find_process(*self._supervisor) is not None

    def check(self) -> None:
        """Refuse to go on when nobody waits for the job any more.

        Raises:
            TransientError: The parent or the supervisor is gone.
        """
        if not self.alive():
            raise TransientError(
                "The task that started this job is gone, so nothing is committed.",
                "A retry of the task does the work again.",
            )

    def start(self) -> None:
        """End this process, by a thread, soon after its parent or supervisor is gone."""
        if self._supervisor is not None:
            threading.Thread(target=self._watch, name="supervision", daemon=True).start()

    def _watch(self) -> None:
        while self.alive():
            time.sleep(POLL_SECONDS)
        end_process_tree(os.getpid(), include_root=False)
        os._exit(EXIT_CODE)


def find_process(pid: int, started: float) -> psutil.Process | None:
    """The process of that id which started at that time, or None once it is gone: ids are given anew."""
    with contextlib.suppress(psutil.Error):
        process = psutil.Process(pid)
        if abs(process.create_time() - started) < 1.0 and process.status() != psutil.STATUS_ZOMBIE:
            return process
    return None


def end_process_tree(pid: int, include_root: bool = True) -> None:
    """End a process and all its descendants."""
    try:
        root = psutil.Process(pid)
        processes = root.children(recursive=True)
    except psutil.NoSuchProcess:
        return
    if include_root:
        processes.insert(0, root)
    end_processes(processes)


def end_processes(processes: list[psutil.Process], grace_seconds: float = 2.0) -> None:
    """End processes: all are asked at once, and those still there after the grace are killed."""
    for process in processes:
        with contextlib.suppress(psutil.Error):
            process.terminate()
    _, alive = psutil.wait_procs(processes, timeout=grace_seconds)
    for process in alive:
        with contextlib.suppress(psutil.Error):
            process.kill()
    psutil.wait_procs(alive, timeout=grace_seconds)
