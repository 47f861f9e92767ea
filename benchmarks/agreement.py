"""Compare a prediction by the DAG with one by the command, with each detector: `make bench BENCH=agreement`.

    python benchmarks/agreement.py [--scenes 200] [--model NAME_OR_PATH] [--storage URI]

The photographs are scenes with real faces from the optional test data `../shared/realfaces`, some of them with planted
faults, or drawn scenes without it, which the output says. The model is the champion or the newest one, such as that of
`make demo`. The DAG `open_images_prediction` predicts them in bulk with TensorFlow, and `python -m ml predict` one by
one with ONNX Runtime. Both should say the same of each photograph, and of each face.

Prints Markdown for `benchmarks/README.md`. Ends with status 1 if any answer differs.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
import yaml
from chips import make_release
from jobs import ROOT, prepare

CLOSE = 1e-3  # difference of probabilities that the two programs may have: they order their sums differently
COLUMNS = (
    *("photographs", "unreadable", "without a face", "other status", "faces", "by one program only", "other label"),
    *("otherwise unusual", "probabilities differ by at most"),
)
FACE = ["photograph", "left", "top", "right", "bottom"]
# Runs in a process of its own: Airflow reads its settings as it is imported.
RUN = """
import json, sys
sys.path[:0] = sys.argv[2:]
from open_images_prediction import dag
run = dag.test(run_conf=json.loads(sys.argv[1]))
assert run.state == "success", run.state
print(run.run_id, file=sys.__stderr__)
"""


@dataclass(frozen=True)
class Answers:
    """What a program says.

    Attributes:
        status: By photograph, below the folder of all: `classified`, `no face` or `unreadable`.
        faces: A row for each face: `FACE`, label, unusual, and the probability of each label.
    """

    status: dict[str, str]
    faces: pd.DataFrame


def main() -> int:
    """Run the benchmark and print its table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", help="the model, as `ml predict` takes it")
    parser.add_argument("--storage", default=str(ROOT / "var" / "storage"), help="storage root that has the model")
    parser.add_argument("--scenes", type=int, default=200, help="scenes to make photographs of")
    arguments = parser.parse_args()
    prepare()
    from ml.config.deployment import Deployment
    from ml.prediction.run import choose_model
    from ml.vision.detectors.table import DETECTORS

    model = choose_model(arguments.storage, arguments.model, Deployment().defaults)
    differ = False
    with tempfile.TemporaryDirectory() as name:
        root = Path(name)
        photographs = make_release(root / "release", arguments.scenes)
        variables = prepare_airflow(root)
        print(f"| detector | {' | '.join(COLUMNS)} |\n|---{'|---' * len(COLUMNS)}|")
        for detector in (name for name, row in DETECTORS.items() if not row.needs_file):
            values = {"photographs": str(photographs), "model": model, "detector": detector}
            same, row = compare(by_dag(root, variables, values), by_command(root, values))
            print(f"| {detector} | {row} |", flush=True)
            differ |= not same
    return int(differ)


def prepare_airflow(root: Path) -> dict[str, str]:
    """Make an Airflow root with the project's DAGs and a storage root of its own; return its environment."""
    from airflow_environment import environment, migrate

    for name in ("dags", "plugins"):
        (root / name).symlink_to(ROOT / name)
    deployment = root / "var" / "deployment.yaml"
    deployment.parent.mkdir()
    content = {"storage": str(root / "var" / "storage"), "release": str(root / "release"), "roots": ["/"]}
    deployment.write_text(yaml.safe_dump(content))
    migrate(root)
    return {**os.environ, **environment(root), "OPEN_IMAGES_CONFIG": str(deployment)}


def by_dag(root: Path, variables: dict[str, str], values: dict[str, str]) -> Answers:
    """Run the DAG, and read its tables."""
    from ml import open_storage

    folders = [str(root / name) for name in ("dags", "plugins")]
    done = subprocess.run(
        [sys.executable, "-c", RUN, json.dumps(values), *folders],
        env=variables,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    if done.returncode:
        sys.exit(f"The DAG failed:\n{done.stdout[-4000:]}")
    run = open_storage(str(root / "var" / "storage")).run(done.stdout.splitlines()[-1])
    photographs = run.table("photographs").pandas()
    faces = run.table("faces").pandas().rename(columns={"photo": "photograph"})
    return Answers(dict(zip(photographs["photo"], photographs["status"], strict=True)), faces)


def by_command(root: Path, values: dict[str, str]) -> Answers:
    """Run the command, and read its `predictions.csv`."""
    out = root / "out" / values["detector"]
    options = ["--model", values["model"], "--detector", values["detector"], "--out", str(out)]
    command = [sys.executable, "-m", "ml", "predict", values["photographs"], *options]
    done = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    if not (out / "predictions.csv").exists():  # its status is 1 because some photographs are unreadable
        sys.exit(f"The command failed:\n{done.stdout[-4000:]}")
    rows = pd.read_csv(out / "predictions.csv", keep_default_na=False)
    rows["photograph"] = [os.path.relpath(path, values["photographs"]) for path in rows["photograph"]]
    faces = rows[rows["status"] == "classified"].rename(
        columns=lambda name: name.replace("probability ", "probability_")
    )
    probabilities = [name for name in faces.columns if name.startswith("probability_")]
    faces = faces.astype({**dict.fromkeys(FACE[1:], int), **dict.fromkeys(probabilities, float)})
    return Answers(dict(zip(rows["photograph"], rows["status"], strict=True)), faces)


def compare(dag: Answers, command: Answers) -> tuple[bool, str]:
    """Return whether the answers are the same, and the cells that say so."""
    photographs = dag.status.keys() | command.status.keys()
    statuses = sum(dag.status.get(photo) != command.status.get(photo) for photo in photographs)
    kinds = [sum(status == kind for status in dag.status.values()) for kind in ("unreadable", "no face")]
    both = dag.faces.merge(command.faces, on=FACE, suffixes=("_dag", "_command"))
    alone = len(dag.faces) + len(command.faces) - 2 * len(both)
    labels = int((both["label_dag"] != both["label_command"]).sum())
    unusual = int((both["unusual_dag"].fillna("") != both["unusual_command"]).sum())
    names = [name for name in dag.faces.columns if name.startswith("probability_")]
    apart = max(float((both[f"{name}_dag"] - both[f"{name}_command"]).abs().max()) for name in names)
    same = not (statuses or alone or labels or unusual) and apart <= CLOSE
    cells = (len(photographs), *kinds, statuses, len(dag.faces), alone, labels, unusual, f"{apart:.1e}")
    return same, " | ".join(map(str, cells))


if __name__ == "__main__":
    sys.exit(main())
