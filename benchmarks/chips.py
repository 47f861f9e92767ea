"""Compare the stage chip with decoding alone and with its own loop in one process: `make bench BENCH=chips`.

    python benchmarks/chips.py [--scenes 3000] [--release FOLDER] [--memory]

The photographs are scenes with real faces from the optional folder of test data `../shared/realfaces`, or drawn scenes
without it. `--release` reads a release that exists. The job's work is the time from the attempt's start to its end,
with the start of the Python workers, without those of the JVM and of the session. With `--memory`, also prints the peak
memory of the process tree for 500 and 5,000 scenes, which must not differ.

Prints Markdown for `benchmarks/README.md`.
"""

from __future__ import annotations

import argparse
import contextlib
import resource
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from jobs import ROOT, prepare, submit

SCENES = ROOT.parent / "shared" / "realfaces" / "build_release.py"

if TYPE_CHECKING:
    from ml.workflow.run import Run
    from spark_jobs.cutting import Image

TURNS = 3  # of decoding and of the loop, of which the fastest counts: other work on the machine only adds time


def main() -> int:
    """Run the benchmark and print its figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--scenes", type=int, default=3000, help="photographs to chip")
    parser.add_argument("--release", type=Path, help="a release that exists, instead of a new one")
    parser.add_argument("--memory", action="store_true", help="measure memory for 500 and 5,000 scenes as well")
    arguments = parser.parse_args()
    prepare()
    with tempfile.TemporaryDirectory() as folder:
        release = arguments.release or make_release(Path(folder, "release"), arguments.scenes)
        compare(release, Path(folder, "storage"))
        if arguments.memory:
            print("| scenes | photographs | peak memory of the process tree, MB |\n|---|---|---|")
            for scenes in (500, 5000):
                made = make_release(Path(folder, f"release-{scenes}"), scenes)
                run = prepared_run(made, Path(folder, f"storage-{scenes}"))
                peak = peak_memory(run.uri)
                print(f"| {scenes:,} | {photographs_of(run):,} | {peak >> 20:,} |")
    return 0


def make_release(folder: Path, scenes: int) -> Path:
    """Write a release of scenes with real faces, or of drawn scenes if there is no test data."""
    if SCENES.exists():
        command = [sys.executable, str(SCENES), str(folder), "--scenes", str(scenes)]
        subprocess.run(command, check=True, stdout=sys.stderr)
    else:
        from ml.sample.release import write_sample_release

        print("Drawn scenes, because ../shared/realfaces with real faces does not exist.\n")
        write_sample_release(folder, scenes)
    return folder


def prepared_run(release: Path, storage: Path) -> Run:
    """Open a run on a release, and execute the stages before `chip`."""
    from ml.workflow.opening import open_run

    run = open_run(str(storage), "bench", {"release": str(release)})
    for stage in ("extract", "join_labels"):
        submit(stage, run.uri)
    return run


def compare(release: Path, storage: Path) -> None:
    """Print photographs per second of decoding alone, of the bare loop and of the stage."""
    from jobs import work

    run = prepared_run(release, storage)
    images = by_image(run.pinned("join_labels").table("faces"))
    decoding, loop = bare(run, images)
    before = children_cpu()
    seconds = submit("chip", run.uri).seconds
    whole = Spent(seconds, children_cpu() - before)
    worked, count = Spent(work(run.pinned("chip"))), len(images)
    print("| chips | photographs | seconds | CPU seconds | photographs/s | |\n|---|---|---|---|---|---|")
    for what, spent, share in (
        ("reading and decoding alone, 1 process", decoding, ""),
        ("bare loop, 1 process", loop, f"{decoding.cpu / loop.cpu:.0%} of decoding alone, by CPU seconds"),
        ("stage `chip`, its work, 2 cores", worked, f"{loop.seconds / worked.seconds:.2f} times the bare loop"),
        ("stage `chip`, whole spark-submit", whole, ""),
    ):
        cpu = f"{spent.cpu:.1f}" if spent.cpu else ""
        print(f"| {what} | {count:,} | {spent.seconds:.1f} | {cpu} | {count / spent.seconds:.0f} | {share} |")
    print()


class Spent(NamedTuple):
    """Seconds, and CPU seconds if they were measured."""

    seconds: float
    cpu: float = 0.0


def children_cpu() -> float:
    """Return the CPU seconds of the processes that this one has waited for."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def bare(run: Run, images: list[Image]) -> tuple[Spent, Spent]:
    """Return the time of reading and decoding the photographs, and of the loop that cuts their faces too."""
    import cv2

    from ml.release.release import find_release
    from ml.vision.images import UnreadableImageError, decode
    from spark_jobs.cutting import cut_image

    cv2.setNumThreads(1)
    photographs = find_release(run.config.release).photographs

    def read_and_decode(image: Image) -> None:
        with contextlib.suppress(FileNotFoundError, UnreadableImageError):  # the stage counts these
            decode(photographs.read(image.subset, image.image_id))

    def cut(image: Image) -> None:
        def content() -> bytes:
            return photographs.read(image.subset, image.image_id)

        cut_image(image, content, run.config.margin, run.config.min_face_size)

    spent: dict[str, list[Spent]] = {"decode": [], "cut": []}
    for _ in range(TURNS):
        for name, work in (("decode", read_and_decode), ("cut", cut)):
            started, worked = time.perf_counter(), time.process_time()
            for image in images:
                work(image)
            spent[name].append(Spent(time.perf_counter() - started, time.process_time() - worked))
    return min(spent["decode"]), min(spent["cut"])


def by_image(faces: list[str]) -> list[Image]:
    """Return the labeled faces of a `faces` table by image, grouped as in the stage chip."""
    from spark_jobs import chip, chipping

    return list(chipping.by_image(chip.read_faces(faces, "release")))


def photographs_of(run: Run) -> int:
    """Return the number of photographs that the stage chip read."""
    from ml.flow.records import ChipsRecord

    return run.pinned("chip").record(ChipsRecord).images


def peak_memory(run: str) -> int:
    """Execute the stage chip; return the largest sum of the proportional set sizes of its processes, in bytes."""
    import psutil

    peak, stop = 0, threading.Event()

    def watch() -> None:
        nonlocal peak
        while not stop.wait(0.5):
            used = 0
            for process in psutil.Process().children(recursive=True):
                try:
                    used += process.memory_full_info().pss
                except psutil.Error:
                    continue  # it has ended
            peak = max(peak, used)

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        submit("chip", run)
    finally:
        stop.set()
        watcher.join()
    return peak


if __name__ == "__main__":
    sys.exit(main())
