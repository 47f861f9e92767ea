"""Write a small release in the layout of Open Images V5 whose faces are drawn cartoons.

Served over HTTP or opened as a folder, it stands in for both official hosts, so that the whole pipeline can be tried
without the published photographs. Official names, folders and columns are kept, those of MIAP too, and so are the
habits of the published files that mislead a reader: people of different labels on one image, faces that no single
person box explains, unknown flags, labels verified absent, images stored turned, files absent or cut short. See
`ml/cartoons.py` for what the faces show. `truth.csv` says what each face really is; only tests may read it.
"""

from __future__ import annotations

import base64
import csv
import hashlib
import io
import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
from PIL import Image

from ml.errors import ConfigurationError
from ml.sample.cartoons import LABELS, Box, Portrait, Sitter, draw_scene

SUBSETS = ("train", "validation", "test")
SUBSETS_OF_TWENTY = ("train",) * 14 + ("validation",) * 3 + ("test",) * 3

# Twenty-six of the 601 boxable classes with their real MIDs.
# fmt: off
CLASSES = {
    "/m/0138tl": "Toy", "/m/015p6": "Bird", "/m/0199g": "Bicycle", "/m/01bl7v": "Boy", "/m/01g317": "Person",
    "/m/01mzpv": "Chair", "/m/01yrx": "Cat", "/m/02wbm": "Food", "/m/03bt1vf": "Woman", "/m/03q69": "Human hair",
    "/m/04bcr3": "Table", "/m/04yx4": "Man", "/m/05r655": "Girl", "/m/05s2s": "Plant", "/m/06z37_": "Picture frame",
    "/m/07j7r": "Tree", "/m/07yv9": "Vehicle", "/m/09j2d": "Clothing", "/m/0bt9lr": "Dog", "/m/0c9ph5": "Flower",
    "/m/0c_jw": "Furniture", "/m/0cgh4": "Building", "/m/0d4v4": "Window", "/m/0dzct": "Human face",
    "/m/0jyfg": "Glasses", "/m/0k4j": "Car",
}
# fmt: on
Row = tuple[object, ...]  # in the order of the file's columns, the image ID first
MIDS = {name: mid for mid, name in CLASSES.items()}
PEOPLE = {("female", False): "Woman", ("male", False): "Man", ("female", True): "Girl", ("male", True): "Boy"}
# What no scene shows, hence what raters verify to be absent.
NEVER_DRAWN = ("Toy", "Bird", "Bicycle", "Chair", "Cat", "Food", "Table", "Plant", "Tree", "Vehicle", "Dog", "Building")

LABEL_COLUMNS = ("ImageID", "Source", "LabelName", "Confidence")
CORNERS = ("XMin", "XMax", "YMin", "YMax")
BOX_COLUMNS = (*LABEL_COLUMNS, *CORNERS, "IsOccluded", "IsTruncated", "IsGroupOf", "IsDepiction", "IsInside")
IMAGE_COLUMNS = (
    *("ImageID", "Subset", "OriginalURL", "OriginalLandingURL", "License", "AuthorProfileURL", "Author", "Title"),
    *("OriginalSize", "OriginalMD5", "Thumbnail300KURL", "Rotation"),
)
MIAP_COLUMNS = (
    *("ImageID", "LabelName", "Confidence", *CORNERS, "IsOccluded", "IsTruncated", "IsGroupOf", "IsDepictionOf"),
    *("IsInsideOf", "GenderPresentation", "AgePresentation"),
)
TRUTH_COLUMNS = ("ImageID", "Subset", *CORNERS, "label", "age", "kind")

PRESENTATION = {"female": "Predominantly Feminine", "male": "Predominantly Masculine"}
OLDER_SHARE = 0.25  # of the adults: children are drawn small, but nothing in a drawing tells an older adult
UNTOLD_SHARE = 0.08  # of MIAP's boxes whose annotators could not tell the presentation, or else the age

# What is planted goes by the number of the scene, so that a small release holds each kind. The first sitter of these
# scenes out of every fifty is special: with two faces a scene, 2% depictions, 2% groups and 3% of each of the others.
KIND_OF_SCENE = (
    dict.fromkeys((3, 28), "depiction")
    | dict.fromkeys((11, 36), "group")
    | dict.fromkeys((6, 23, 40), "no person box")
    | dict.fromkeys((15, 31, 48), "two labels")
)
TITLES = (
    "Scene {n}",
    'Portraits, "drawn" no. {n}',
    "Pens &amp; paper {n}",
    "It&#39;s number {n}",
    "",
    "Étude {n}, in colour",
    "&quot;Sitters&quot;, {n}",
)


@dataclass(frozen=True)
class SampleSummary:
    """What was written: `images` listed, of which `absent` have no file and `cut_short` a file that cannot be decoded.

    `photographs` counts the JPEG files, cut ones included; `faces` the Human face boxes; `kinds` the faces by kind.
    """

    out: Path
    images: int
    photographs: int
    absent: int
    cut_short: int
    turned: int
    faces: int
    kinds: dict[str, int]
    megabytes: float

    def __str__(self) -> str:
        kinds = ", ".join(f"{count} {kind}" for kind, count in self.kinds.items())
        images = f"{self.images} images ({self.turned} turned, {self.absent} absent, {self.cut_short} cut short)"
        return f"{self.out}: {images}, {self.faces} faces ({kinds}), {self.megabytes} MB"


@dataclass
class _Tables:
    """The rows gathered for the CSV files."""

    boxes: dict[str, list[Row]] = field(default_factory=lambda: {s: [] for s in SUBSETS})
    labels: dict[str, list[Row]] = field(default_factory=lambda: {s: [] for s in SUBSETS})
    images: dict[str, list[Row]] = field(default_factory=lambda: {s: [] for s in SUBSETS})
    miap: dict[str, list[Row]] = field(default_factory=lambda: {s: [] for s in SUBSETS})
    truth: list[Row] = field(default_factory=list)


def write_sample_release(out: str | Path, scenes: int = 240, seed: int = 0) -> SampleSummary:
    """Write a drawn release; the same scenes and seed give the same bytes.

    Scene n looks the same whatever the number of scenes; about 70% are train, 15% validation and 15% test. Every kind
    of planted trouble is present from 60 scenes on. The folder appears whole or not at all.

    Args:
        out: Folder to create; it may exist if it is empty.
        scenes: How many images to list, at least 10. Defaults to 240, which holds about 480 faces in some 15 MB.
        seed: Source of all that varies, at least 0. Defaults to 0.

    Raises:
        ConfigurationError: `out` is a file or holds something, `scenes` is below 10, or `seed` is negative.
    """
    out = Path(out).resolve()
    if scenes < 10:
        raise ConfigurationError(f"scenes = {scenes}: a sample release needs at least 10.")
    if seed < 0:
        raise ConfigurationError(f"seed = {seed}: the seed must not be negative.")
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise ConfigurationError(f"{out} exists and is not an empty folder.", "Choose another or remove it.")
    tables, turned, absent, cut_short = _Tables(), 0, 0, 0
    with _whole_folder(out) as folder:
        for number in range(scenes):
            jpeg, rotation = _scene(tables, number, seed)
            name = folder / _subset(number, seed) / f"{_image_id(number, seed)}.jpg"
            name.parent.mkdir(exist_ok=True)
            turned += rotation != 0
            if number % 100 == 21:  # listed, but gone
                absent += 1
            elif number % 100 == 37:
                cut_short += 1
                name.write_bytes(jpeg[: len(jpeg) // 3])
            else:
                name.write_bytes(jpeg)
        _write_tables(folder, tables)
        size = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    kinds = [str(row[-1]) for row in tables.truth]
    return SampleSummary(
        out=out,
        images=scenes,
        photographs=scenes - absent,
        absent=absent,
        cut_short=cut_short,
        turned=turned,
        faces=len(kinds),
        kinds={kind: kinds.count(kind) for kind in ("labelled", *dict.fromkeys(KIND_OF_SCENE.values()))},
        megabytes=round(size / 1e6, 1),
    )


@contextmanager
def _whole_folder(out: Path) -> Iterator[Path]:
    """Give a folder beside `out` to fill, and move it to `out` when all went well."""
    out.parent.mkdir(parents=True, exist_ok=True)
    partial = out.with_name(f".{out.name}.partial-{secrets.token_hex(4)}")
    partial.mkdir()
    try:
        yield partial
        os.replace(partial, out)  # replaces an empty folder, refuses one that was filled meanwhile
    except BaseException:
        shutil.rmtree(partial, ignore_errors=True)
        raise


def _image_id(number: int, seed: int) -> str:
    return hashlib.blake2b(f"sample release {seed}, scene {number}".encode(), digest_size=8).hexdigest()


def _subset(number: int, seed: int) -> str:
    """Shuffle the subsets within every twenty scenes, so that shares hold and what is planted reaches each subset."""
    order = np.random.default_rng([seed, 1, number // 20]).permutation(20)
    return SUBSETS_OF_TWENTY[order[number % 20]]


def _rotation(number: int) -> int:
    return (90, 270, 180)[number // 20 % 3] if number % 20 == 9 else 0


def _scene(tables: _Tables, number: int, seed: int) -> tuple[bytes, int]:
    """Draw one scene, add its rows to the tables, and return its JPEG and its Rotation in degrees."""
    rng = np.random.default_rng([seed, 0, number])
    kind = KIND_OF_SCENE.get(number % 50, "labelled")
    sitters = [
        Sitter(label=LABELS[int(rng.random() < 0.5)], child=bool(rng.random() < 0.25))
        for _ in range(int(rng.choice([1, 2, 3, 4], p=[0.4, 0.3, 0.2, 0.1])))
    ]
    if kind in ("depiction", "group"):
        sitters[0] = replace(sitters[0], kind=kind)
    image, portraits = draw_scene(rng, sitters)

    # Rotation says how far counterclockwise to turn the stored image, so it is stored turned clockwise by as much.
    rotation = _rotation(number)
    if rotation:
        transposed = {90: Image.Transpose.ROTATE_270, 180: Image.Transpose.ROTATE_180, 270: Image.Transpose.ROTATE_90}
        image = image.transpose(transposed[rotation])
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=int(rng.integers(80, 93)))
    jpeg = buffer.getvalue()

    image_id, subset = _image_id(number, seed), _subset(number, seed)
    kinds = [kind] + ["labelled"] * (len(sitters) - 1)
    boxes = _Boxes(image_id, rotation // 90)
    annotators = np.random.default_rng([seed, 2, number])
    for place, (sitter, portrait, kind) in enumerate(zip(sitters, portraits, kinds, strict=True)):
        face = _annotate(rng, boxes, sitter, portrait, kind, mechanical=(number + place) % 10 == 0)
        age = "Young" if sitter.child else "Older" if annotators.random() < OLDER_SHARE else "Middle"
        tables.truth.append((image_id, subset, *face, sitter.label, age, kind))
        tables.miap[subset].append(_miap_row(annotators, boxes, sitter, portrait, age))
    tables.boxes[subset] += boxes.rows
    tables.labels[subset] += _image_labels(rng, image_id, boxes.classes, contradicted=number % 33 == 18)
    tables.images[subset].append(_image_row(rng, image_id, subset, number, rotation, jpeg))
    return jpeg, rotation


class _Boxes:
    """The box rows of one image, which is stored turned clockwise by so many quarter turns."""

    def __init__(self, image_id: str, quarters: int) -> None:
        self.rows: list[Row] = []
        self.classes: list[str] = []  # names, in the order of first appearance
        self.image_id, self._quarters = image_id, quarters

    def corners(self, box: Box) -> tuple[str, ...]:
        """The four numbers, as written, of a box given in upright coordinates."""
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
        """Add a box given in upright coordinates; return the four numbers as written.

        `mechanical` boxes were drawn by a model (`activemil`), and nobody looked at their flags: all are -1.
        """
        flags = [-1] * 5 if mechanical else [int(flag) for flag in (occluded, truncated, group, depiction, False)]
        corners = self.corners(box)
        self.rows.append((self.image_id, "activemil" if mechanical else "xclick", MIDS[name], 1, *corners, *flags))
        if name not in self.classes:
            self.classes.append(name)
        return corners


def _annotate(
    rng: np.random.Generator, boxes: _Boxes, sitter: Sitter, portrait: Portrait, kind: str, mechanical: bool
) -> tuple[str, ...]:
    """Add the boxes of one sitter, drawn with a slightly unsteady hand; return the face box as written."""
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
    if kind == "two labels":  # somebody else boxed the same person under the other label
        other = PEOPLE["male" if sitter.label == "female" else "female", sitter.child]
        wider = portrait.person._replace(x_min=portrait.person.x_min - 0.01, y_min=portrait.person.y_min - 0.01)
        boxes.add(other, wider.clip(), truncated=cut)
    # Other classes overlap the faces too: a reader that forgets LabelName takes them for faces.
    boxes.add("Clothing", portrait.clothing, truncated=cut, group=group, depiction=depiction)
    if portrait.glasses:
        boxes.add("Glasses", portrait.glasses, depiction=depiction)
    if portrait.frame:
        boxes.add("Picture frame", portrait.frame)
    return face


def _miap_row(rng: np.random.Generator, boxes: _Boxes, sitter: Sitter, portrait: Portrait, age: str) -> Row:
    """MIAP's box of one sitter: its annotators boxed everybody anew, and say Unknown where they could not tell."""
    untold = rng.random(2) < UNTOLD_SHARE
    wider = portrait.person._replace(x_min=portrait.person.x_min - 0.005, x_max=portrait.person.x_max + 0.005).clip()
    flags = (0, int(portrait.person.y_max >= 1), int(sitter.kind == "group"), int(sitter.kind == "depiction"), 0)
    words = (
        "Unknown" if unknown else word for unknown, word in zip(untold, (PRESENTATION[sitter.label], age), strict=True)
    )
    return (boxes.image_id, MIDS["Person"], 1, *boxes.corners(wider), *flags, *words)


def _unsteady(rng: np.random.Generator, box: Box) -> Box:
    width, height = box.x_max - box.x_min, box.y_max - box.y_min
    left, right, top, bottom = rng.uniform(-0.03, 0.03, 4) * (width, width, height, height)
    return Box(box.x_min + left, box.x_max + right, box.y_min + top, box.y_max + bottom)


def _image_labels(rng: np.random.Generator, image_id: str, present: list[str], contradicted: bool) -> list[Row]:
    """What raters verified: each class that has a box is present (1), some others are absent (0).

    On a `contradicted` image a rater denies a man, woman, boy or girl that somebody boxed.
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


def _image_row(rng: np.random.Generator, image_id: str, subset: str, number: int, rotation: int, jpeg: bytes) -> Row:
    """The row of metadata; size and checksum are those of a larger original, which nobody holds."""
    stated = "" if rotation == 0 and number % 17 == 4 else f"{rotation:.1f}"
    author = "" if number % 20 == 2 else f"Cartoonist {rng.integers(1, 60)}"
    thumbnail = "" if number % 40 == 7 else f"https://example.invalid/{image_id}_z.jpg"
    checksum = base64.b64encode(hashlib.md5(jpeg + b"original", usedforsecurity=False).digest()).decode()
    return (
        image_id,
        subset,
        f"https://example.invalid/{image_id}_o.jpg",
        f"https://example.invalid/photos/{image_id}",
        "https://creativecommons.org/licenses/by/2.0/",
        f"https://example.invalid/people/{number % 60}",
        author,
        TITLES[number % len(TITLES)].format(n=number),
        len(jpeg) * 9,
        checksum,
        thumbnail,
        stated,
    )


def _write_tables(folder: Path, tables: _Tables) -> None:
    for subset in SUBSETS:
        short = "val" if subset == "validation" else subset
        train = subset == "train"
        boxes = f"{'2018_04/train' if train else 'v5'}/{subset}-annotations-bbox.csv"
        images = f"2018_04/{subset}/{subset}-images-{'boxable-' if train else ''}with-rotation.csv"
        labels = f"v5/{subset}-annotations-human-imagelabels-boxable.csv"
        _write_csv(folder / boxes, BOX_COLUMNS, tables.boxes[subset])
        _write_csv(folder / images, IMAGE_COLUMNS, tables.images[subset])
        _write_csv(folder / labels, LABEL_COLUMNS, tables.labels[subset])
        miap = f"open_images_extended_miap/open_images_extended_miap_boxes_{short}.csv"
        _write_csv(folder / miap, MIAP_COLUMNS, tables.miap[subset])
    _write_csv(folder / "truth.csv", TRUTH_COLUMNS, tables.truth)
    # The official list of classes has no header and the line ends of Windows.
    classes = "".join(f"{mid},{name}\r\n" for mid, name in CLASSES.items())
    (folder / "v5" / "class-descriptions-boxable.csv").write_bytes(classes.encode())


def _write_csv(path: Path, columns: tuple[str, ...], rows: list[Row]) -> None:
    """Write rows in the order of their image IDs, as the official files do; an image's rows keep their order."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(columns)
        rows.sort(key=lambda row: str(row[0]))
        writer.writerows(rows)
