"""Run the stages' jobs for the benchmarks, and measure time and memory of whole process trees."""

from __future__ import annotations

import contextlib
import datetime
import os
import platform
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import psutil

if TYPE_CHECKING:
    from ml.workflow.manifest import Manifest

ROOT = Path(__file__).resolve().parents[1]
SAMPLES_PER_SECOND = 5


@dataclass(frozen=True)
class Measured:
    """What a command needed.

    Attributes:
        seconds: Wall time.
        cpu: CPU seconds of the command and all its descendants, as far as they lived when last sampled.
        megabytes: The largest sum of the resident sizes of the command and its descendants. Pages that they share count
            once for each.
        output: What it printed.
    """

    seconds: float
    cpu: float
    megabytes: float
    output: str


def prepare() -> None:
    """Set the environment of this project's jobs, without a deployment's settings, and print the machine."""
    sys.path.insert(0, str(ROOT / "scripts"))
    from airflow_environment import environment

    os.environ.update(environment(ROOT))
    del os.environ["OPEN_IMAGES_CONFIG"]  # a deployment's settings must not affect a benchmark
    print(
        f"{datetime.date.today()}, {os.cpu_count()} cores, {platform.machine()}, Python {platform.python_version()}\n",
        flush=True,
    )


def measure(command: Sequence[str | Path]) -> Measured:
    """Run a command to its end and measure it.

    Raises:
        CalledProcessError: It fails; the error shows the end of what it printed.
    """
    started = time.perf_counter()
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as process:
        tree = _Tree(process.pid)
        output = process.communicate()[0]
        seconds = time.perf_counter() - started
        tree.stop()
    if process.returncode:
        print(output[-3000:], file=sys.stderr)
        raise subprocess.CalledProcessError(process.returncode, list(command))
    return Measured(seconds, tree.cpu, tree.megabytes, output)


class _Tree:
    """Samples a process and its descendants until it is stopped."""

    def __init__(self, pid: int) -> None:
        self.megabytes = 0.0
        self._cpu: dict[tuple[int, float], float] = {}
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._watch, args=(psutil.Process(pid),), daemon=True)
        self._thread.start()

    @property
    def cpu(self) -> float:
        """CPU seconds of all processes that were seen."""
        return sum(self._cpu.values())

    def stop(self) -> None:
        self._stopped.set()
        self._thread.join()

    def _watch(self, root: psutil.Process) -> None:
        while not self._stopped.wait(1 / SAMPLES_PER_SECOND):
            resident = 0
            with contextlib.suppress(psutil.NoSuchProcess):
                for process in [root, *root.children(recursive=True)]:
                    with contextlib.suppress(psutil.NoSuchProcess, psutil.AccessDenied):
                        times = process.cpu_times()
                        self._cpu[process.pid, process.create_time()] = times.user + times.system
                        resident += process.memory_info().rss
            self.megabytes = max(self.megabytes, resident / 1e6)


def submit(stage: str, run: str) -> Measured:
    """Run a stage's Spark job with spark-submit on two cores."""
    conf = {"spark.ui.enabled": "false", "spark.log.level": "WARN", "spark.driver.memory": "2g"}
    options = [part for name, value in conf.items() for part in ("--conf", f"{name}={value}")]
    return measure(
        ["spark-submit", "--master", "local[2]", *options, ROOT / "spark_jobs" / f"{stage}.py", "--run", run]
    )


def work(manifest: Manifest) -> float:
    """Return the seconds that a stage worked: from its claim to its manifest, without the start of the JVM."""
    start, end = (datetime.datetime.fromisoformat(text) for text in (manifest.started, manifest.finished))
    return (end - start).total_seconds()
