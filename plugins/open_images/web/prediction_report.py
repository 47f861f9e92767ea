"""The data of the tab 'Report' of a prediction run."""

from __future__ import annotations

from typing import Any

from ml.config.training import TrainingConfig
from ml.metrics.promise import Promise
from ml.prediction.record import SAMPLE
from ml.report.subject import subject
from ml.workflow.layout import attempt_name
from open_images.web.airflow_runs import AirflowRun
from open_images.web.answers import CATEGORIES
from open_images.web.folders import RunFolder
from open_images.web.report import about, pages, run_state


def prediction_report(run: AirflowRun, folder: RunFolder | None, defaults: TrainingConfig) -> dict[str, Any]:
    """Return what a prediction run found, as JSON values; `predictions` is None as long as it has found nothing.

    Args:
        run: The run in Airflow's database.
        folder: Its folder; None if the run has not listed its photographs yet.
        defaults: The deployment's defaults, whose labels are described if the model's are the same.
    """
    shown = run_state(run, folder)
    if folder is None:
        return shown
    config, manifest = folder.record.config, folder.manifest("predict")
    known = {
        **shown,
        "photographs": config["photographs"],
        "min_confidence": config["min_confidence"],
        "promise": None,
        "model": attempt_name(str(config["model"])),
        "about": None,
        "predictions": None,
    }
    if manifest is None:
        return known
    metrics = manifest.metrics
    if metrics["meaning"] == subject(defaults).meaning:
        known["about"] = about(defaults.chip_class, defaults.labels)
    if metrics.get("promise"):
        promise = Promise.model_validate(metrics["promise"])
        known |= {"min_confidence": promise.min_confidence, "promise": promise.sentence}
    return {
        **known,
        "predictions": {
            **{name: metrics[name] for name in ("photographs", "faces", "labels", "meaning", "threshold")},
            "detector": metrics.get("detector"),  # older versions did not record it
        },
        "unusual": metrics.get("unusual"),  # None too in what older versions wrote
        "ledger": manifest.ledger,
        "pages": pages(folder.manifests()),
        "tables": {name: manifest.rows(name) for name in CATEGORIES},
        "sample": sorted(file.path for file in manifest.files if file.path.startswith(f"{SAMPLE}/")),
    }
