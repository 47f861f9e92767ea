"""What the models of `transfer.py` predict for the faces that they have not learned from."""

from __future__ import annotations

import argparse
import os
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from jobs import ROOT, prepare
from numpy.typing import NDArray

if TYPE_CHECKING:
    from ml.model.classifier import Classifier
    from ml.workflow.run import Run


def asked(description: str | None) -> tuple[list[Run], int]:
    """Read the options of a benchmark that deals predictions; return the trained runs of `transfer.py`, and the deals.

    Says so if there is no such run.
    """
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, default=ROOT / "var" / "benchmark-learning", help="transfer's folder")
    parser.add_argument("--deals", type=int, default=200, help="number of random deals")
    arguments = parser.parse_args()
    if arguments.deals < 1:
        parser.error("--deals: at least one is needed")
    prepare()
    os.environ["TF_CPP_MIN_LOG_LEVEL"] = "2"
    runs = trained(arguments.folder)
    if not runs:
        print(f"skipped, because {arguments.folder} has no finished training of transfer.py")
    return runs, arguments.deals


def trained(folder: Path) -> list[Run]:
    """Return the runs whose training has ended; name the others."""
    from ml.errors import DataError
    from ml.workflow.run import load_run

    found = []
    for place in sorted((folder / "storage" / "runs").glob("transfer-*")):
        run = load_run(str(place))
        try:
            run.pinned("train")
        except DataError as error:
            print(f"{run.run_id} is left out: {error}\n")
        else:
            found.append(run)
    return found


def predicted(run: Run, classifier: Classifier) -> tuple[NDArray[np.float64], NDArray[np.int64], NDArray[np.object_]]:
    """Return calibrated probabilities (n, 2), label indices and ImageIDs of a run's validation and test faces."""
    from ml.features.reader import FeatureReader

    parts = [
        (classifier.predict(batch.pixels), batch.labels, batch.columns["image_id"])
        for split in ("validation", "test")
        for batch in FeatureReader(run.pinned("featurize"), split, columns=("image_id",)).batches(256)
    ]
    probabilities, truth, images = (np.concatenate(column) for column in zip(*parts, strict=True))
    return probabilities, truth, images
