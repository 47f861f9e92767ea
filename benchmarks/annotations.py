"""Compare extract and join_labels with DuckDB and the original notebook's way: `make bench BENCH=annotations`.

    python benchmarks/annotations.py [--scales 0.01 0.1 1] [--notebook 0.1]

Both work on the same generated annotation files; scale 1 has the published row counts and needs 3 GB of disk. DuckDB
answers the same question with the same null counts and vetoes (`benchmarks/peer_annotations.py`). The notebook's way
takes minutes and runs at one scale.
Needs the optional folder of test data `../shared/scale`, and is skipped with a message without it.

Prints Markdown for `benchmarks/README.md`.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
from pathlib import Path

from jobs import ROOT, measure, prepare, submit, work

SHARED = ROOT.parent / "shared" / "scale"
STAGES = ("extract", "join_labels")


def main() -> int:
    """Run the benchmark and print its figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--scales", type=float, nargs="*", default=[0.01, 0.1, 1], help="shares of the published rows")
    parser.add_argument("--notebook", type=float, default=0.1, help="scale of the notebook's way; 0 for none")
    arguments = parser.parse_args()
    if not (SHARED / "make_annotations.py").exists():
        print("annotations: skipped, because ../shared/scale with the generator does not exist.")
        return 0
    prepare()
    print("| scale | rows | what | seconds | CPU seconds | peak MB | times DuckDB |\n|---|---|---|---|---|---|---|")
    answers = []
    for scale in arguments.scales:
        with tempfile.TemporaryDirectory() as folder:
            answers.append(compare(Path(folder), scale, scale == arguments.notebook))
    print("\n" + "\n".join(answers))
    return 0


def compare(folder: Path, scale: float, notebook: bool) -> str:
    """Print the rows of one scale, and return how many faces each labels."""
    from ml.flow.records import ExtractRecord
    from ml.workflow.opening import open_run

    release = folder / "release"
    subprocess.run([sys.executable, SHARED / "make_annotations.py", release, str(scale)], check=True, stdout=sys.stderr)
    uv = [ROOT / ".tools" / "uv" / "bin" / "uv", "run", "--quiet", "--no-project", "--with", "duckdb", "python"]
    subprocess.run([*uv, "-c", "import duckdb"], check=True)  # its download is not part of the time
    peer = measure([*uv, Path(__file__).with_name("peer_annotations.py"), release, folder / "peer.parquet"])
    seconds = float(printed(peer.output, "seconds"))
    run = open_run(str(folder / "storage"), "bench", {"release": str(release)})
    ours = {stage: submit(stage, run.uri) for stage in STAGES}
    rows = sum(run.pinned("extract").record(ExtractRecord).rows.values())
    worked = {stage: work(run.pinned(stage)) for stage in STAGES}
    start = f"| {scale:g} | {rows:,} |"
    print(f"{start} DuckDB, two threads | {seconds:.1f} | {peer.cpu:.0f} | {peer.megabytes:,.0f} | 1 |")
    for stage, measured in ours.items():
        print(
            f"{start} `{stage}`, without the JVM's start | {worked[stage]:.1f} | | {measured.megabytes:,.0f} "
            f"| {worked[stage] / seconds:.2f} |"
        )
    total, cpu = sum(worked.values()), sum(measured.cpu for measured in ours.values())
    print(f"{start} both, without the JVM's start | {total:.1f} | | | {total / seconds:.2f} |")
    whole = sum(measured.seconds for measured in ours.values())
    print(f"{start} both, whole spark-submits | {whole:.1f} | {cpu:.0f} | | {whole / seconds:.2f} |", flush=True)
    if notebook:
        way = measure([sys.executable, SHARED / "original_notebook_etl.py", release, folder / "notebook.parquet"])
        took = float(printed(way.output, "TOTAL"))
        print(
            f"{start} the notebook's way | {took:.1f} | {way.cpu:.0f} | {way.megabytes:,.0f} | {took / seconds:.1f} |"
        )
    ours_labeled, its_labeled = run.pinned("join_labels").ledger["labelled"], int(printed(peer.output, "labeled"))
    return f"Faces labeled at scale {scale:g}: {ours_labeled:,} by the stages, {its_labeled:,} by DuckDB."


def printed(output: str, name: str) -> str:
    """Return the first value of the last line that begins with a name."""
    return next(line.split()[1] for line in reversed(output.splitlines()) if line.startswith(name))


if __name__ == "__main__":
    sys.exit(main())
