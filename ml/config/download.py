"""The parameters of a download of annotations and photographs."""

from __future__ import annotations

import datetime
import json
from typing import Annotated, Any, Literal, Self

from pydantic import Field, field_validator, model_validator

from ml.config.parameter import FlowConfig, field, labels_in_order, place_field
from ml.config.training import FACE

Share = Annotated[float, Field(ge=0.0, le=1.0)]
SOURCE = r"^(https?|s3)://\S+$"


class DownloadConfig(FlowConfig):
    """The parameters of one download, which adds a delivery to a landing."""

    classes: list[str] = field(
        [FACE],
        "Images",
        "Classes",
        "Pick images that have a box of at least one of these Open Images classes. Boxes of groups and of depictions "
        "do not count. On the command line, separate them by commas.",
        min_length=1,
        examples=[[FACE], ["Cat", "Dog"]],
    )
    images: int = field(
        1000,
        "Images",
        "Images",
        "Number of images to pick for the delivery, among those that no other delivery of the landing holds.",
        ge=1,
        le=10_000_000,
    )
    subsets: dict[Literal["train", "validation", "test"], Share] = field(
        {"train": 0.7, "validation": 0.15, "test": 0.15},
        "Images",
        "Subsets",
        "Share of the images to pick from each official subset; the shares add up to 1. The annotation files of a "
        "subset without a share are not fetched.",
    )
    balance: dict[str, list[str]] = field(
        {"female": ["Woman", "Girl"], "male": ["Man", "Boy"]},
        "Images",
        "Balance",
        "Labels, each with the Open Images classes that stand for it. Pick only images with a box of a label, and "
        "equally many for each label. Empty ({}): do not balance.",
    )
    landing: str | None = place_field(
        None,
        "Delivery",
        "Landing",
        "Path or URI of the landing to which the delivery is added. Empty: the deployment's `release`.",
        min_length=1,
        examples=["/data/landing", "s3://bucket/landing"],
    )
    date: datetime.date | None = field(
        None,
        "Delivery",
        "Date",
        "Date of the delivery. Empty: today (UTC). Scheduled and backfilled runs always use the last day of their "
        "interval.",
    )
    max_missing_share: float = field(
        0.05,
        "Delivery",
        "Maximum share of missing photographs",
        "Fail when more than this share of the picked photographs cannot be fetched. The next call continues.",
        ge=0.0,
        le=1.0,
    )
    annotations_url: str = place_field(
        "https://storage.googleapis.com/openimages",
        "Sources",
        "Annotations",
        "Address (http, https or s3) under which the annotation files have their official paths.",
        pattern=SOURCE,
    )
    photographs_url: str = place_field(
        "https://s3.amazonaws.com/open-images-dataset",
        "Sources",
        "Photographs",
        "Address (http, https or s3) under which the photographs are {train,validation,test}/<ImageID>.jpg.",
        pattern=SOURCE,
        examples=["https://s3.amazonaws.com/open-images-dataset", "s3://open-images-dataset"],
    )
    originals: bool = field(
        True,
        "Sources",
        "Original addresses",
        "If the address above lacks a photograph, fetch it from its original address. Its digest must be the one "
        "that the image list states.",
    )
    cache: str | None = place_field(
        None,
        "Sources",
        "Cache of annotation files",
        "Local folder that keeps the annotation files for later downloads. Empty: `annotations` in the storage root.",
        min_length=1,
    )
    connections: int = field(
        32, "Transfer", "Connections", "Number of photographs fetched at the same time.", ge=1, le=1024
    )
    timeout_seconds: float = field(
        60.0,
        "Transfer",
        "Time limit (seconds)",
        "Time allowed for a photograph, and for each block of an annotation file.",
        gt=0.0,
        le=3600.0,
    )
    retries: int = field(
        5,
        "Transfer",
        "Retries",
        "How often to try again after a time-out, a lost connection or a server error. A damaged file gets one retry.",
        ge=0,
        le=100,
    )
    backoff_seconds: float = field(
        1.0,
        "Transfer",
        "Back-off (seconds)",
        "Longest wait before the first retry; it doubles with each further one. Waits are random up to that.",
        ge=0.0,
        le=600.0,
    )
    max_wait_seconds: float = field(
        120.0,
        "Transfer",
        "Longest wait (seconds)",
        "Longest wait before a retry. A server that asks (Retry-After) for a longer one is given up for this run.",
        ge=0.0,
        le=86_400.0,
    )
    dry_run: bool = field(
        False,
        "Run",
        "Dry run",
        "Only tell the number of images, bytes, free disk space and the estimated time. Writes nothing.",
    )

    @field_validator("classes", mode="before")
    @classmethod
    def _parse_classes(cls, value: Any) -> Any:
        if not isinstance(value, str):
            return value
        return [name.strip() for name in value.split(",") if name.strip()]

    @field_validator("subsets", "balance", mode="before")
    @classmethod
    def _parse_object(cls, value: Any) -> Any:
        if not isinstance(value, str):
            return value
        try:
            return json.loads(value)
        except json.JSONDecodeError as error:
            raise ValueError(f"must be a JSON object ({error})") from error

    @field_validator("balance")
    @classmethod
    def _check_balance(cls, value: dict[str, list[str]]) -> dict[str, list[str]]:
        if len(value) == 1 or not all(value.values()):
            raise ValueError("must hold at least two labels, each with at least one class, or be empty")
        return labels_in_order(value)

    @model_validator(mode="after")
    def _check_shares(self) -> Self:
        if abs(sum(self.subsets.values()) - 1) > 1e-6:
            raise ValueError(f"subsets: the shares must add up to 1, not to {sum(self.subsets.values()):g}")
        return self


# The parameters that decide which images are picked. A download that was interrupted continues under the same ones.
PICKING = ("classes", "images", "subsets", "balance", "annotations_url")
