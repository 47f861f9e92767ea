"""Compare photographs in a folder, in Parquet files and in tar archives: `make bench BENCH=sources`.

    python benchmarks/sources.py [--scenes 2000] [--release FOLDER] [--entries 200000] [--turns 3]

Executes the stage chip on the same photographs from each source, in turn. Its work is the time from the attempt's start
to its end, without the start of the JVM and of the session. Then tells what listing costs in a folder of many entries,
and in a Parquet file of as many. `--release` reads a release that exists.

Prints Markdown for `benchmarks/README.md`.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

from jobs import prepare

if TYPE_CHECKING:
    from ml.workflow.run import Run

FORMATS = ("parquet", "tar")


def main() -> int:
    """Run the benchmark and print its figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--scenes", type=int, default=2000, help="photographs to chip")
    parser.add_argument("--release", type=Path, help="a release that exists, instead of a new one")
    parser.add_argument("--entries", type=int, default=200_000, help="photographs in the folder that is listed")
    parser.add_argument("--turns", type=int, default=3, help="executions from each source")
    arguments = parser.parse_args()
    from chips import make_release

    prepare()
    with tempfile.TemporaryDirectory() as folder:
        release = arguments.release or make_release(Path(folder, "release"), arguments.scenes)
        chip_from_each(Path(folder), release, arguments.turns)
        list_many(Path(folder), arguments.entries)
    return 0


def chip_from_each(folder: Path, release: Path, turns: int) -> None:
    """Print the seconds of the stage chip for each source."""
    from chips import photographs_of, prepare
    from jobs import submit, work

    from ml.photographs.pack import pack

    places = {"folder": release}
    for form in FORMATS:
        places[form] = folder / form
        started = time.perf_counter()
        note = pack(str(release), str(places[form]), form)
        seconds = time.perf_counter() - started
        print(f"Packed {note.photographs:,} photographs, {note.bytes / 1e6:,.0f} MB, as {form} in {seconds:.1f} s.\n")
    first = prepare(release, folder / "storage")
    seconds_of: dict[str, list[float]] = {name: [] for name in places}
    for turn in range(turns):
        for name, place in places.items():
            run = reopened(first, f"{name}-{turn}", release, place)
            submit("chip", run.uri)
            seconds_of[name].append(work(run.pinned("chip")))
    base = statistics.median(seconds_of["folder"])
    print("| photographs in | photographs | seconds of `chip`: each, median | times the folder |\n|---|---|---|---|")
    for name, seconds in seconds_of.items():
        middle = statistics.median(seconds)
        each = ", ".join(f"{value:.1f}" for value in seconds)
        print(f"| {name} | {photographs_of(run):,} | {each}; {middle:.1f} | {middle / base:.2f} |")
    print()


def reopened(first: Run, name: str, release: Path, place: Path) -> Run:
    """Open a run on the same release with photographs elsewhere, and pin the stages before `chip`, found done."""
    from ml.flow.table import STAGES
    from ml.workflow.opening import open_run

    run = open_run(first.root, name, {"release": str(release), "photographs": str(place), "force": "chip"})
    for stage in ("extract", "join_labels"):
        run.find_or_adopt(STAGES[stage])
    return run


def list_many(folder: Path, entries: int) -> None:
    """Print the seconds that a listing and a digest take."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    from ml.photographs.opening import open_photographs

    names = [f"{number:016x}" for number in range(entries)]
    (folder / "many" / "train").mkdir(parents=True)
    for name in names:
        (folder / "many" / "train" / f"{name}.jpg").touch()
    table = pa.table({"ImageID": names, "Subset": ["train"] * entries, "Data": pa.array([b""] * entries, pa.binary())})
    pq.write_table(table, folder / "many.parquet", row_group_size=100)
    print("| source | entries | seconds to list | seconds to digest |\n|---|---|---|---|")
    for name in ("many", "many.parquet"):
        source = open_photographs(str(folder / name))
        spent = []
        for work in (lambda source=source: sum(1 for _ in source.list()), source.digest):
            started = time.perf_counter()
            work()
            spent.append(time.perf_counter() - started)
        print(f"| {'folder' if name == 'many' else 'Parquet file'} | {entries:,} | {spent[0]:.1f} | {spent[1]:.1f} |")


if __name__ == "__main__":
    sys.exit(main())
