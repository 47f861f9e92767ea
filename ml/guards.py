"""Checks that training and prediction use the data that the earlier stages prepared. Each raises its own error."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from ml.errors import LabelOrderError, MetricsError, PreprocessingError, ProvenanceError, SplitLeakError


def check_label_order(expected: Sequence[str], found: Sequence[str], where: str) -> None:
    """Check that two places number the labels the same way.

    Raises:
        LabelOrderError: The orders differ.
    """
    if list(expected) != list(found):
        raise LabelOrderError(
            f"{where} numbers the labels {list(found)}, expected {list(expected)}.",
            "Train again on features made with the same labels.",
        )


def check_split(images_by_split: Mapping[str, Iterable[str]]) -> None:
    """Check that no image is in two splits.

    Raises:
        SplitLeakError: Some images are; the message names up to five.
    """
    seen: dict[str, str] = {}
    leaks: list[str] = []
    for split, images in images_by_split.items():
        leaks += [
            f"{image} ({seen[image]}, {split})" for image in set(images) if seen.setdefault(image, split) != split
        ]
    if leaks:
        raise SplitLeakError(
            f"{len(leaks)} images are in two splits: {', '.join(sorted(leaks)[:5])}.",
            "List each image in one subset only.",
        )


def check_near_duplicates(crossing: Sequence[str]) -> None:
    """Check that no photograph is a near-duplicate of one in another split.

    Args:
        crossing: The pairs of such photographs, as text.

    Raises:
        SplitLeakError: Some are; the message names up to five pairs.
    """
    if crossing:
        raise SplitLeakError(
            f"{len(crossing)} pairs of near-duplicate photographs are in two splits: {'; '.join(crossing[:5])}.",
            "Run stage featurize again: it leaves one of each pair out.",
        )


def check_count(expected: int, found: int, what: str) -> None:
    """Check that no row was lost or duplicated between two stages.

    Raises:
        ProvenanceError: The counts differ.
    """
    if expected != found:
        raise ProvenanceError(f"{what}: expected {expected}, found {found}.", "Run the previous stage again.")


def check_faults(faults: Mapping[str, int], where: str) -> None:
    """Check that no face has a fault.

    Args:
        faults: Number of faces by fault.
        where: The table.

    Raises:
        ProvenanceError: Some faces have faults; the message lists all faults.
    """
    if found := ", ".join(f"{count} {fault}" for fault, count in faults.items() if count):
        raise ProvenanceError(f"{where} holds invalid faces: {found}.", "A model cannot be trained on them.")


def check_pixels(pixels: NDArray[np.generic], chip_size: int) -> None:
    """Check that a batch is what the network expects: raw uint8 chips of shape (n, chip_size, chip_size, 3).

    Raises:
        PreprocessingError: The type, shape or range is wrong, so the pixels were processed before.
    """
    if pixels.dtype != np.uint8:
        raise PreprocessingError(
            f"The network expects raw uint8 pixels, which it scales itself, but got {pixels.dtype}.",
            "Pass chips unchanged, without division by 255 or any other scaling.",
        )
    if pixels.ndim != 4 or pixels.shape[1:] != (chip_size, chip_size, 3):
        raise PreprocessingError(
            f"The network expects chips of shape ({chip_size}, {chip_size}, 3), but got {pixels.shape[1:]}.",
            "Use features made with the model's chip_size.",
        )
    if pixels.size and int(pixels.max()) <= 1:
        raise PreprocessingError("All pixels are 0 or 1, so they were already scaled.", "Pass chips unchanged.")


def check_channel_sums(expected: Sequence[int], found: Sequence[int], where: str) -> None:
    """Check that the pixels read are the pixels written, by their exact sums of red, green and blue.

    Raises:
        PreprocessingError: A sum differs; the message says if red and blue are swapped.
    """
    if list(expected) == list(found):
        return
    swapped = list(expected) == list(found)[::-1]
    raise PreprocessingError(
        f"{where}: the sums of red, green and blue are {list(found)}, but the features' manifest says {list(expected)}"
        + (": red and blue are swapped." if swapped else "."),
        "The reader must return the stored RGB bytes unchanged.",
    )


def check_reference(expected: NDArray[np.floating], found: NDArray[np.floating], tolerance: float = 1e-3) -> None:
    """Check that the reference chips stored with a model have the same probabilities as after training.

    Args:
        expected: Probabilities stored with the model, shape (n, labels).
        found: Probabilities predicted now, shape (n, labels).
        tolerance: Largest difference that rounding explains.

    Raises:
        PreprocessingError: The probabilities differ, so channel order, scaling or the model has changed; or the model
            has no reference chips.
    """
    if np.shape(expected) != np.shape(found) or not np.size(expected):
        raise PreprocessingError(
            f"The model's reference probabilities have shape {np.shape(expected)}, the predicted {np.shape(found)}.",
            "The model's files do not belong together, or have no reference chips. Train again.",
        )
    difference = float(np.abs(np.asarray(expected) - np.asarray(found)).max())
    if not difference <= tolerance:
        raise PreprocessingError(
            f"The probabilities of the model's reference chips differ by {difference:.4f} from those stored.",
            "Channel order, scaling or the model file has changed since training.",
        )


def check_probabilities(probabilities: NDArray[np.floating]) -> None:
    """Check that each face's probabilities sum to 1; those of two sigmoids would not.

    NaN passes, because its source reports it.

    Raises:
        MetricsError: Some do not.
    """
    wrong = np.abs(probabilities.sum(axis=1) - 1) > 1e-3
    if wrong.any():
        raise MetricsError(
            f"{int(wrong.sum())} of {len(wrong)} faces have probabilities that do not sum to 1.",
            "The network's last layer must be a softmax over the labels.",
        )
