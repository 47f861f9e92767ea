"""Ends a job when the task or process that started it ends.

Spark's Python driver survives the end of its JVM, and a JVM survives the end of the Airflow task that started it.
Therefore a job gets its supervisor's identity in its environment. A thread ends the job soon after the supervisor
ends, and the job refuses to commit.
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
TOLERANCE = 1.5  # seconds; the system tells the time of its own start to the second
EXIT_CODE = 75  # EX_TEMPFAIL: a retry may help


def identity() -> str:
    """Identify this process as `host|pid|start`, the value of `SUPERVISOR_VARIABLE` in a job's environment."""
    return f"{socket.gethostname()}|{os.getpid()}|{start_of(psutil.Process())}"


def lives(job: str) -> bool:
    """Return whether the process with this `identity` is running on this host; False for other hosts."""
    process = _on_this_host(job)
    return process is not None and find_process(*process) is not None


def ended(job: str) -> bool:
    """Return whether the process with this `identity` ran on this host and has ended; False for other hosts."""
    process = _on_this_host(job)
    return process is not None and find_process(*process) is None


def _on_this_host(job: str) -> tuple[int, float] | None:
    """Return the process id and start of an `identity`, or None for a process of another host."""
    host, _, rest = job.partition("|")
    pid, _, started = rest.partition("|")
    return (int(pid), float(started)) if host == socket.gethostname() and pid else None


class Supervision:
    """Watches a job's parent process and the supervisor that its environment names.

    A job without a supervisor (started from a shell, perhaps under nohup), or with one on another host, is not watched.
    """

    def __init__(self) -> None:
        self._parent = os.getppid()
        self._supervisor = _on_this_host(os.environ.get(SUPERVISOR_VARIABLE, ""))

    def alive(self) -> bool:
        """Return whether the job's parent and its supervisor are running; True for a job that is not watched."""
        if self._supervisor is None:
            return True
        if os.getppid() != self._parent:
            return False
        return find_process(*self._supervisor) is not None

    def check(self) -> None:
        """Check that the job's parent and supervisor are still running.

        Raises:
            TransientError: The parent or the supervisor has ended.
        """
        if not self.alive():
            raise TransientError(
                "The task that started this job has ended, so the job does not commit its work.",
                "A retry of the task does the work again.",
            )

    def start(self) -> None:
        """Start a thread that ends this process soon after its parent or supervisor ends."""
        if self._supervisor is not None:
            threading.Thread(target=self._watch, name="supervision", daemon=True).start()

    def _watch(self) -> None:
        while self.alive():
            time.sleep(POLL_SECONDS)
        end_process_tree(os.getpid(), include_root=False)
        os._exit(EXIT_CODE)


def start_of(process: psutil.Process) -> float:
    """Return when a process started, in seconds since the machine did.

    Its time of day would change when the machine's clock is set, and the process would look like another one.
    """
    return process.create_time() - psutil.boot_time()


def find_process(pid: int, started: float) -> psutil.Process | None:
    """Return the process with this id and `start_of`, or None if it has ended; the system reuses ids."""
    with contextlib.suppress(psutil.Error):
        process = psutil.Process(pid)
        if abs(start_of(process) - started) < TOLERANCE and process.status() != psutil.STATUS_ZOMBIE:
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
    """Terminate processes, and kill those that are still running after the grace period."""
    for process in processes:
        with contextlib.suppress(psutil.Error):
            process.terminate()
    _, alive = psutil.wait_procs(processes, timeout=grace_seconds)
    for process in alive:
        with contextlib.suppress(psutil.Error):
            process.kill()
    psutil.wait_procs(alive, timeout=grace_seconds)
