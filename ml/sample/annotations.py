"""The annotations of a drawn scene, with the quirks of the published files that mislead a reader."""

from __future__ import annotations

import base64
import hashlib

import numpy as np

from ml.sample.cartoons import Sitter
from ml.sample.geometry import Box
from ml.sample.people import Portrait
from ml.sample.tables import MIDS, Row

PEOPLE = {("female", False): "Woman", ("male", False): "Man", ("female", True): "Girl", ("male", True): "Boy"}
# Classes that no scene shows, so raters verify them as absent.
NEVER_DRAWN = ("Toy", "Bird", "Bicycle", "Chair", "Cat", "Food", "Table", "Plant", "Tree", "Vehicle", "Dog", "Building")

PRESENTATION = {"female": "Predominantly Feminine", "male": "Predominantly Masculine"}
OLDER_SHARE = 0.25  # of the adults, chosen at random: a drawing shows who is a child but not who is older
UNKNOWN_SHARE = 0.08  # of MIAP's boxes, for presentation and age each

TITLES = (
    "Scene {n}",
    'Portraits, "drawn" no. {n}',
    "Pens &amp; paper {n}",
    "It&#39;s number {n}",
    "",
    "Étude {n}, in colour",
    "&quot;Sitters&quot;, {n}",
)


class Boxes:
    """The box rows of one image, which is stored rotated clockwise by `quarters` quarter turns."""

    def __init__(self, image_id: str, quarters: int) -> None:
        self.rows: list[Row] = []
        self.classes: list[str] = []  # names, in the order of first appearance
        self.image_id, self._quarters = image_id, quarters

    def corners(self, box: Box) -> tuple[str, ...]:
        """Return the four numbers to write for a box given in upright coordinates."""
        return tuple(f"{value:.6f}" for value in box.turn(self._quarters))

    def add(
        self,
        name: str,
        box: Box,
        *,
        occluded: bool = False,
        truncated: bool = False,
        group: bool = False,
        depiction: bool = False,
        mechanical: bool = False,
    ) -> tuple[str, ...]:
        """Add a box given in upright coordinates, and return the four numbers as written.

        `mechanical` boxes come from a model (`activemil`) and their flags were never verified, so all flags are -1.
        """
        flags = [-1] * 5 if mechanical else [int(flag) for flag in (occluded, truncated, group, depiction, False)]
        corners = self.corners(box)
        self.rows.append((self.image_id, "activemil" if mechanical else "xclick", MIDS[name], 1, *corners, *flags))
        if name not in self.classes:
            self.classes.append(name)
        return corners


def annotate_sitter(
    rng: np.random.Generator, boxes: Boxes, sitter: Sitter, portrait: Portrait, kind: str, mechanical: bool
) -> tuple[str, ...]:
    """Add the boxes of one sitter, with slightly inaccurate edges, and return the face box as written."""
    depiction, group = kind == "depiction", kind == "group"
    occluded = portrait.glasses is not None or bool(rng.random() < 0.1)
    face = boxes.add(
        "Human face",
        _unsteady(rng, portrait.face).clip(portrait.person),
        occluded=occluded,
        truncated=portrait.truncated,
        group=group,
        depiction=depiction,
    )
    cut = portrait.person.y_max >= 1
    name = PEOPLE[sitter.label, sitter.child]
    if kind != "no person box":
        boxes.add(
            name,
            portrait.person,
            occluded=occluded,
            truncated=cut,
            group=group,
            depiction=depiction,
            mechanical=mechanical,
        )
    if kind == "two labels":  # another annotator boxed the same person under the other label
        other = PEOPLE["male" if sitter.label == "female" else "female", sitter.child]
        wider = portrait.person._replace(x_min=portrait.person.x_min - 0.01, y_min=portrait.person.y_min - 0.01)
        boxes.add(other, wider.clip(), truncated=cut)
    # Boxes of other classes overlap the faces, so a reader that ignores LabelName takes them for faces.
    boxes.add("Clothing", portrait.clothing, truncated=cut, group=group, depiction=depiction)
    if portrait.glasses:
        boxes.add("Glasses", portrait.glasses, depiction=depiction)
    if portrait.frame:
        boxes.add("Picture frame", portrait.frame)
    return face


def miap_row(rng: np.random.Generator, boxes: Boxes, sitter: Sitter, portrait: Portrait, age: str) -> Row:
    """Return MIAP's own box of one sitter; presentation and age are sometimes Unknown."""
    is_unknown = rng.random(2) < UNKNOWN_SHARE
    wider = portrait.person._replace(x_min=portrait.person.x_min - 0.005, x_max=portrait.person.x_max + 0.005).clip()
    flags = (0, int(portrait.person.y_max >= 1), int(sitter.kind == "group"), int(sitter.kind == "depiction"), 0)
    words = (
        "Unknown" if unknown else word
        for unknown, word in zip(is_unknown, (PRESENTATION[sitter.label], age), strict=True)
    )
    return (boxes.image_id, MIDS["Person"], 1, *boxes.corners(wider), *flags, *words)


def _unsteady(rng: np.random.Generator, box: Box) -> Box:
    width, height = box.x_max - box.x_min, box.y_max - box.y_min
    left, right, top, bottom = rng.uniform(-0.03, 0.03, 4) * (width, width, height, height)
    return Box(box.x_min + left, box.x_max + right, box.y_min + top, box.y_max + bottom)


def image_labels(rng: np.random.Generator, image_id: str, present: list[str], contradicted: bool) -> list[Row]:
    """Return the verified image-level labels: each class that has a box is present (1), some others are absent (0).

    On a `contradicted` image, a man, woman, boy or girl that has a box is verified as absent.
    """
    verdicts = dict.fromkeys(present, 1)
    people = list(PEOPLE.values())
    absent = [name for name in people if name not in verdicts and rng.random() < 0.3]
    verdicts |= dict.fromkeys(absent + [str(name) for name in rng.choice(NEVER_DRAWN, 3, replace=False)], 0)
    boxed = [name for name in present if name in people]
    if contradicted and boxed:
        verdicts[boxed[0]] = 0
    source = "verification" if rng.random() < 0.8 else "crowdsource-verification"
    return [(image_id, source, MIDS[name], verdict) for name, verdict in verdicts.items()]


def image_row(rng: np.random.Generator, image_id: str, subset: str, number: int, rotation: int, jpeg: bytes) -> Row:
    """Return the row of metadata; size and checksum belong to a larger original, which does not exist."""
    stated = "" if rotation == 0 and number % 17 == 4 else f"{rotation:.1f}"
    author = "" if number % 20 == 2 else f"Cartoonist {rng.integers(1, 60)}"
    thumbnail = "" if number % 40 == 7 else f"https://drawn.invalid/{image_id}_z.jpg"
    checksum = base64.b64encode(hashlib.md5(jpeg + b"original", usedforsecurity=False).digest()).decode()
    return (
        image_id,
        subset,
        f"https://drawn.invalid/{image_id}_o.jpg",
        f"https://drawn.invalid/photos/{image_id}",
        "https://creativecommons.org/licenses/by/2.0/",
        f"https://drawn.invalid/people/{number % 60}",
        author,
        TITLES[number % len(TITLES)].format(n=number),
        len(jpeg) * 9,
        checksum,
        thumbnail,
        stated,
    )
