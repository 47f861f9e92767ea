"""The range of a model's training faces, and which faces lie outside it.

A face may be too dark or bright, too small, too blurred or noisy, or far from all training faces in the network's
features: by the Mahalanobis distance to the nearest label's mean (Lee et al. 2018, arXiv:1807.03888).
"""

from __future__ import annotations

import dataclasses
import io
import zipfile
from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

from ml import storage
from ml.errors import DataError
from ml.vision import images
from ml.workflow.manifest import Manifest

NOVELTY = "novelty.npz"
BRIGHTNESS, SIZE, SHARPNESS, FEATURES = REASONS = ("brightness", "size", "sharpness", "features")
# The bounds leave out half a percent of the training faces at each end that counts.
LOW, HIGH = 0.005, 0.995
FAR = 0.99  # share of the validation faces within the largest usual distance
ROUNDING = 1e-6  # relative


@dataclass(frozen=True)
class Looks:
    """How faces look, whatever the network makes of them; each of shape (n,).

    Attributes:
        brightness: Mean luma of the chip, 0 to 1.
        size: Shorter side of the face's box in pixels, at most what the chip shows: larger faces look the same.
        sharpness: Variance of the chip's Laplacian.
    """

    brightness: NDArray[np.float64]
    size: NDArray[np.float64]
    sharpness: NDArray[np.float64]


def look(chips: NDArray[np.uint8], face_px: NDArray[np.floating], margin: float) -> Looks:
    """Measure how faces look.

    Args:
        chips: uint8 RGB, shape (n, side, side, 3).
        face_px: Shorter side of each face's box in pixels, shape (n,).
        margin: Margin around the face on the chip, as a share of the box's longer side.
    """
    return Looks(
        brightness=np.array([images.brightness(chip) for chip in chips], float),
        size=np.minimum(face_px, chips.shape[1] / (1 + 2 * margin)).astype(float),
        sharpness=np.array([images.sharpness(chip) for chip in chips], float),
    )


@dataclass(frozen=True)
class Novelty:
    """The range of a model's training faces.

    Attributes:
        brightness: Lowest and highest usual brightness.
        size: Lowest usual size, see `Looks`.
        sharpness: Lowest and highest usual sharpness.
        means: Mean features of the training faces of each label, shape (labels, width).
        precision: Inverse of the covariance within the labels, shape (width, width).
        distance: Largest usual distance to the nearest mean.
    """

    brightness: NDArray[np.float64]
    size: NDArray[np.float64]
    sharpness: NDArray[np.float64]
    means: NDArray[np.float64]
    precision: NDArray[np.float64]
    distance: NDArray[np.float64]

    @classmethod
    def fit(
        cls,
        looks: Looks,
        features: NDArray[np.floating],
        labels: NDArray[np.integer],
        held_out: NDArray[np.floating],
    ) -> Self:
        """Fit the range to training faces.

        Args:
            looks: How the training faces look.
            features: Their features, shape (n, width).
            labels: The index of each one's label.
            held_out: Features of validation faces, shape (m, width), m at least 1. The network knows training's too
                well, so their distances would be too small.
        """
        from sklearn.covariance import LedoitWolf

        present, of_face = np.unique(labels, return_inverse=True)  # a sample may lack a rare label
        means = np.stack([features[labels == label].mean(axis=0) for label in present]).astype(float)
        shrunk = LedoitWolf(assume_centered=True).fit(features - means[of_face])
        fitted = cls(
            brightness=np.quantile(looks.brightness, (LOW, HIGH)),
            size=np.asarray(np.quantile(looks.size, LOW)),
            sharpness=np.quantile(looks.sharpness, (LOW, HIGH)),
            means=means,
            precision=np.asarray(shrunk.precision_, float),
            distance=np.zeros(()),
        )
        usual = np.quantile(fitted.distances(held_out), FAR, method="higher")
        return dataclasses.replace(fitted, distance=np.asarray(usual))

    def distances(self, features: NDArray[np.floating]) -> NDArray[np.float64]:
        """Return the squared Mahalanobis distance of each face's features to the nearest label's mean: shape (n,)."""
        apart = features[:, None] - self.means
        squared: NDArray[np.float64] = np.einsum("nld,de,nle->nl", apart, self.precision, apart, optimize=True)
        nearest: NDArray[np.float64] = squared.min(axis=1)
        return nearest

    def reasons(self, looks: Looks, features: NDArray[np.floating]) -> list[tuple[str, ...]]:
        """Return for each face why it lies outside, of `REASONS`; empty if it does not."""
        outside = (
            _outside(looks.brightness, *self.brightness.tolist()),
            _outside(looks.size, float(self.size)),
            _outside(looks.sharpness, *self.sharpness.tolist()),
            self.distances(features) > self.distance,
        )
        return [tuple(np.array(REASONS)[list(row)].tolist()) for row in zip(*outside, strict=True)]

    def content(self) -> bytes:
        """Return the range as a file of NumPy arrays."""
        buffer = io.BytesIO()
        np.savez(buffer, **{field.name: getattr(self, field.name) for field in dataclasses.fields(self)})
        return buffer.getvalue()


def read_novelty(manifest: Manifest) -> Novelty | None:
    """Read the range of a model's training faces; None if an older version of the program trained it.

    Raises:
        DataError: The file is damaged.
    """
    if all(file.path != NOVELTY for file in manifest.files):
        return None
    try:
        with np.load(io.BytesIO(storage.read_bytes(manifest.file(NOVELTY))), allow_pickle=False) as arrays:
            return Novelty(**{field.name: arrays[field.name] for field in dataclasses.fields(Novelty)})
    except (KeyError, ValueError, OSError, zipfile.BadZipFile) as error:
        raise DataError(
            f"The range of the training faces in {manifest.file(NOVELTY)} cannot be read: {error}", "Train again."
        ) from error


def _outside(values: NDArray[np.float64], low: float, high: float = np.inf) -> NDArray[np.bool_]:
    # A face that is measured again must not fall out by rounding.
    return (values < low - ROUNDING * abs(low)) | (values > high + ROUNDING * abs(high))
