"""The command `predict`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from ml.commands.options import MODEL_HELP, StorageOption

MinConfidence = Annotated[
    float | None,
    typer.Option(metavar="<number>", help="Predict 'unknown' below this probability.", min=0.5, max=0.999),
]
MaxRisk = Annotated[
    float | None,
    typer.Option(
        metavar="<share>",
        help="Predict 'unknown' wherever needed so that at most this share of the other labels is wrong, with 95% "
        "confidence. Not with --min-confidence.",
        min=0.001,
        max=0.5,
    ),
]
DetectorName = Annotated[
    str | None,
    typer.Option(metavar="<name>", help="What finds the faces; docs/detection.md names the detectors."),
]
MinFace = Annotated[
    int | None,
    typer.Option(metavar="<pixels>", help="Smallest face to look for; the smaller, the longer it takes."),
]
DetectorFile = Annotated[
    str | None,
    typer.Option(metavar="<path or URI>", help="File of the detector yunet."),
]


def predict(
    photos: Annotated[
        list[Path],
        typer.Argument(metavar="PHOTO_OR_FOLDER...", help="JPEG or PNG photographs, or folders of them."),
    ],
    out: Annotated[
        Path,
        typer.Option(metavar="<path>", help="Folder for the annotated photographs, predictions.csv and .json."),
    ],
    model: Annotated[
        str | None,
        typer.Option(
            metavar="<name, path or URI>",
            help=f"{MODEL_HELP} By default the champion, or the newest model if there is no champion.",
        ),
    ] = None,
    storage: StorageOption = None,
    min_confidence: MinConfidence = None,
    max_risk: MaxRisk = None,
    detector: DetectorName = None,
    min_face: MinFace = None,
    detector_file: DetectorFile = None,
    watch: Annotated[
        bool, typer.Option("--watch", help="Then wait for photographs that appear in the folders, until Ctrl-C.")
    ] = False,
    every: Annotated[
        float, typer.Option(metavar="<seconds>", help="With --watch: time between two looks.", min=0.1)
    ] = 2.0,
) -> None:
    """Find faces, predict the gender presentation that annotators would perceive, and draw both on the photographs."""
    from ml.errors import ConfigurationError
    from ml.prediction.given import check_given, check_watched

    if min_confidence is not None and max_risk is not None:
        raise ConfigurationError("--min-confidence and --max-risk exclude each other.", "Give one of them.")
    (check_watched if watch else check_given)(photos, out)  # before anything slow is imported
    from ml.config.deployment import load_deployment
    from ml.config.parameter import validate
    from ml.prediction.finding import Finding
    from ml.prediction.photos import predict_photos

    deployment = load_deployment()
    options = {
        **{"min_confidence": min_confidence, "max_risk": max_risk},
        **{"detector": detector, "min_face": min_face, "detector_file": detector_file},
    }
    values: dict[str, Any] = {name: value for name, value in options.items() if value is not None}
    if min_confidence is not None:
        values["max_risk"] = None  # which would override it, if the deployment sets one
    config = validate(values, deployment.prediction)
    root, defaults, finding = storage or deployment.storage, deployment.defaults, Finding.of(config)
    again = every if watch else None
    predict_photos(photos, out, model, root, config.min_confidence, defaults, config.max_risk, finding, again)
