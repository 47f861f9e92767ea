"""Guards against learning or predicting from something else than what was prepared. Each raises by name."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from ml.errors import LabelOrderError, MetricsError, PreprocessingError, ProvenanceError, SplitLeakError


def check_label_order(expected: Sequence[str], found: Sequence[str], where: str) -> None:
    """Check that index stands for the same label in two places.

    Raises:
        LabelOrderError: It does not.
    """
    if list(expected) != list(found):
        raise LabelOrderError(
            f"{where} numbers the labels {list(found)}, expected {list(expected)}.",
            "Train again on features made with the same labels.",
        )


def check_split(images_by_split: Mapping[str, Iterable[str]]) -> None:
    """Check that no image lies on two sides of the split.

    Raises:
        SplitLeakError: Some do; it names a few.
    """
    seen: dict[str, str] = {}
    leaks: list[str] = []
    for split, images in images_by_split.items():
        leaks += [
            f"{image} ({seen[image]}, {split})" for image in set(images) if seen.setdefault(image, split) != split
        ]
    if leaks:
        raise SplitLeakError(
            f"{len(leaks)} images lie on two sides of the split: {', '.join(sorted(leaks)[:5])}.",
            "An image may be listed in one subset only.",
        )


def check_count(expected: int, found: int, what: str) -> None:
    """Check that no row was lost or doubled on its way from one stage to the next.

    Raises:
        ProvenanceError: The numbers differ.
    """
    if expected != found:
        raise ProvenanceError(f"{what}: expected {expected}, found {found}.", "Run the stage before again.")


def check_faults(faults: Mapping[str, int], where: str) -> None:
    """Check that no face is at fault.

    Args:
        faults: Number of faces by what would be wrong with them.
        where: The table.

    Raises:
        ProvenanceError: Some are; it names all faults.
    """
    if told := ", ".join(f"{count} {fault}" for fault, count in faults.items() if count):
        raise ProvenanceError(f"Of the faces of {where}, {told}.", "Nothing can be learned from them.")


def check_pixels(pixels: NDArray[np.generic], chip_size: int) -> None:
    """Check that a batch is what the network takes: raw uint8 chips, shape (n, chip_size, chip_size, 3).

    Raises:
        PreprocessingError: The type, the shape or the range shows that something was done to the pixels before.
    """
    if pixels.dtype != np.uint8:
        raise PreprocessingError(
            f"The network takes raw uint8 pixels and scales them itself, but was given {pixels.dtype}.",
            "Feed chips as they are, without division by 255 or any other scaling.",
        )
    if pixels.ndim != 4 or pixels.shape[1:] != (chip_size, chip_size, 3):
        raise PreprocessingError(
            f"The network takes chips of shape ({chip_size}, {chip_size}, 3), but was given {pixels.shape[1:]}.",
            "Use features made with the model's chip_size.",
        )
    if pixels.size and int(pixels.max()) <= 1:
        raise PreprocessingError("All pixels are 0 or 1: they were scaled before.", "Feed chips as they are.")


def check_channel_sums(expected: Sequence[int], found: Sequence[int], where: str) -> None:
    """Check that the pixels read are those that were written: the exact sums of red, green and blue.

    Raises:
        PreprocessingError: A channel differs; a swap of red and blue is named.
    """
    if list(expected) == list(found):
        return
    swapped = list(expected) == list(found)[::-1]
    raise PreprocessingError(
        f"{where}: the sums of red, green and blue are {list(found)}, the features' manifest states {list(expected)}"
        + (": red and blue are swapped." if swapped else "."),
        "The reader must hand over the stored RGB bytes unchanged.",
    )


def check_reference(expected: NDArray[np.floating], found: NDArray[np.floating], tolerance: float = 1e-3) -> None:
    """Check that the chips stored with a model still give the probabilities that they gave after training.

    Args:
        expected: Probabilities stored with the model, shape (n, labels).
        found: Probabilities by the way of decoding, scaling and predicting that is about to be used.
        tolerance: Largest difference that rounding explains.

    Raises:
        PreprocessingError: They differ, so channel order, scaling or the model itself is not what it was; or there are
            no chips to tell by.
    """
    if np.shape(expected) != np.shape(found) or not np.size(expected):
        raise PreprocessingError(
            f"The model's reference has probabilities of shape {np.shape(expected)}, predicted were {np.shape(found)}.",
            "The model's files do not belong together, or hold no reference chips: train again.",
        )
    difference = float(np.abs(np.asarray(expected) - np.asarray(found)).max())
    if not difference <= tolerance:
        raise PreprocessingError(
            f"The model's reference chips give probabilities that differ by {difference:.4f} from those stored.",
            "Channel order, scaling or the model file changed since training.",
        )


def check_probabilities(probabilities: NDArray[np.floating]) -> None:
    """Check that each face's probabilities sum to 1, as those of two sigmoids do not.

    NaN passes: what gives it says so itself.

    Raises:
        MetricsError: Some do not.
    """
    wrong = np.abs(probabilities.sum(axis=1) - 1) > 1e-3
    if wrong.any():
        raise MetricsError(
            f"{int(wrong.sum())} of {len(wrong)} faces have probabilities that do not sum to 1.",
            "The network's last layer must be a softmax over the labels.",
        )
