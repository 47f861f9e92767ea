"""The command `run` does everything without Airflow, and finds done work again."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

from ml.flow.table import STAGES

pytestmark = pytest.mark.slow
VALUES = {"epochs": 2, "chip-size": 32, "min-face-size": 24, "min-faces": 5, "network": "compact"}


def states_in(printed):
    """What a run's lines say of each stage."""
    lines = [line.split(maxsplit=1) for line in printed.splitlines()]
    return {line[0]: line[1].strip() for line in lines if len(line) == 2 and line[0] in STAGES}


def test_a_run_from_release_to_report(sample_release, tmp_path):
    storage = tmp_path / "storage"

    def ml(*arguments):
        # As a user's shell: without what the tests set for Spark.
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("PYSPARK", "SPARK", "JAVA"))}
        done = subprocess.run(
            [sys.executable, "-m", "ml", *map(str, arguments), "--storage", storage],
            capture_output=True,
            text=True,
            env={**kept, "COLUMNS": "200"},
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    options = [part for name, value in VALUES.items() for part in (f"--{name}", value)]
    run = ("run", "--release", sample_release, *options)
    printed = ml(*run, "--run-id", "first")
    states = states_in(printed)
    assert list(states) == list(STAGES)
    assert states["compare"] == "skipped"
    assert all(state.endswith(" s") for name, state in states.items() if name != "compare")
    assert "accuracy" in printed
    assert "report.html" in printed

    printed = ml(*run, "--run-id", "second", "--seed", 7, "--baseline", "first")
    states = states_in(printed)
    assert {name for name, state in states.items() if state == "found"} == {
        *("extract", "join_labels", "chip", "featurize", "explore"),
    }
    assert states["compare"].endswith(" s")
    assert "difference" in ml("compare", "first", "second")
    assert [row["id"] for row in json.loads(ml("runs", "--json", "--flow", "training"))] == ["second", "first"]
