"""The command `predict`: classifies the faces of photographs; writes annotated copies, a CSV file and a JSON file."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from ml.config.training import TrainingConfig
from ml.errors import ConfigurationError, DataError, ResourceError
from ml.metrics.decision import UNKNOWN
from ml.prediction.files import Outcome, PredictionFiles
from ml.prediction.listing import SUFFIXES, escaped
from ml.prediction.predictor import Predictor, annotate, describe, load_predictor
from ml.prediction.run import default_model, train_attempt
from ml.storage import write_bytes
from ml.vision import images
from ml.vision.detection import decode_upright, find_faces

LISTED_FAULTS = 20  # the error's message only counts any more; the files name all


def predict_photos(
    given: list[Path], out: Path, model: str | None, storage: str, min_confidence: float, defaults: TrainingConfig
) -> None:
    """Find the faces of photographs, classify them, and write annotated copies, `predictions.csv` and `.json`.

    Photographs are read one after the other, so memory does not grow with their number. Unreadable photographs are
    reported at the end, after all others. If no face is found, nothing is written.

    Args:
        given: Photographs, and folders that are searched recursively for JPEG and PNG files.
        out: Folder for the output, created if needed. Copies keep their path below the given folder. A copy never
            overwrites a photograph: if names clash, a number is added.
        model: Attempt folder of stage `train`; None for the champion, or the newest model if none was promoted.
        storage: Storage root that is searched for the champion or the newest model.
        min_confidence: Predictions with a lower confidence become `unknown`.
        defaults: The deployment's defaults, whose `chip_class` names the champion's registered model.

    Raises:
        ConfigurationError: There is no model, or `out` is not usable.
        DataError: A photograph is missing or unreadable, or the detector finds no face on any photograph.
        ResourceError: `out` cannot be written.
    """
    _check_out(given, out)
    attempt = train_attempt(model or default_model(storage, defaults))
    predictor = load_predictor(attempt, min_confidence)
    faults: list[str] = []
    seen: Counter[str] = Counter()
    taken = {str(path.resolve()) for path in given}
    with PredictionFiles(predictor, attempt, out) as files:
        for path, below in find_photographs(given, out):
            try:
                photo = read_photo(path)
            except DataError as error:
                outcome = Outcome(escaped(path), "unreadable")
                if len(faults) < LISTED_FAULTS:
                    faults.append(error.message)
            else:
                outcome = _predict_one(predictor, photo, path, out / escaped(below), taken)
            seen[outcome.status] += 1
            seen.update(f"label {answer.label}" for answer in outcome.answers)
            files.add(outcome)
            _print(outcome)
        _finish(predictor, seen, faults, files, out)


def find_photographs(given: list[Path], out: Path) -> Iterator[tuple[Path, Path]]:
    """Yield each photograph to read, and the folder below `out` for its copy.

    Hidden files and files in `out` are skipped when a folder is searched. A folder without photographs is yielded
    itself, so that it is reported as unreadable.
    """
    for path in given:
        if not path.is_dir():
            yield path, Path()
            continue
        found = False
        for folder, folders, files in os.walk(path):
            folders[:] = sorted(
                name for name in folders if name[0] != "." and Path(folder, name).resolve() != out.resolve()
            )
            for name in sorted(files):
                if name[0] != "." and name.lower().endswith(SUFFIXES):
                    found = True
                    yield Path(folder, name), Path(folder).relative_to(path)
        if not found:
            yield path, Path()


def _check_out(given: list[Path], out: Path) -> None:
    if out.exists() and not out.is_dir():
        raise ConfigurationError(
            f"{out} is a file, not a folder.", "Name another folder for the annotated photographs."
        )
    for path in given:
        if path.is_dir() and path.resolve().is_relative_to(out.resolve()):
            raise ConfigurationError(
                f"{out} is or holds the folder {path}, whose photographs the copies could overwrite.",
                "Name another folder for the annotated photographs.",
            )


def read_photo(path: Path) -> images.Pixels:
    """Read a photograph upright.

    Raises:
        DataError: There is no such file, it is too large, or it cannot be decoded completely.
    """
    name = escaped(path)
    if path.is_dir():
        raise DataError(f"{name}: holds no JPEG or PNG file")
    try:
        return decode_upright(path.read_bytes())
    except FileNotFoundError as error:
        raise DataError(f"{name}: there is no such file") from error
    except OSError as error:
        raise DataError(f"{name}: cannot be read ({error.strerror})") from error
    except images.ImageTooLargeError as error:
        raise DataError(f"{name}: {error}") from error
    except images.UnreadableImageError as error:
        raise DataError(f"{name}: is not a readable photograph (a complete JPEG or PNG is needed)") from error


def _predict_one(predictor: Predictor, photo: images.Pixels, path: Path, folder: Path, taken: set[str]) -> Outcome:
    """Classify the faces of a photograph, and write its annotated copy into the folder."""
    faces = find_faces(photo)
    if not faces:
        return Outcome(escaped(path), "no face")
    answers = predictor.answer([predictor.cut_chip(photo, face) for face in faces])
    drawn = annotate(photo, faces, answers, predictor.description.labels)
    # A PNG may be a drawing or a screenshot, which JPEG would blur.
    suffix = ".png" if path.suffix.lower() == ".png" else ".jpg"
    target = _free_name(folder, escaped(path.stem), suffix, taken)
    try:
        write_bytes(str(target), images.encode_png(drawn) if suffix == ".png" else images.encode_jpeg(drawn))
    except OSError as error:
        raise ResourceError(f"{target} cannot be written: {error.strerror}.", "Name another folder.") from error
    return Outcome(escaped(path), "classified", tuple(faces), tuple(answers), target)


def _free_name(folder: Path, stem: str, suffix: str, taken: set[str]) -> Path:
    """Return a path in `folder` that no given photograph and no earlier copy has, and add it to `taken`."""
    number, target = 1, folder / f"{stem}{suffix}"
    while str(target.resolve()) in taken:
        number += 1
        target = folder / f"{stem}-{number}{suffix}"
    taken.add(str(target.resolve()))
    return target


def _print(outcome: Outcome) -> None:
    if outcome.status != "unreadable":
        found = ", ".join(
            f"{describe(answer)} at {face[0]},{face[1]} - {face[2]},{face[3]}"
            for face, answer in zip(outcome.faces, outcome.answers, strict=True)
        )
        print(f"{outcome.photo}: {found or 'no face was found'}")


def _finish(predictor: Predictor, seen: Counter[str], faults: list[str], files: PredictionFiles, out: Path) -> None:
    """Keep the files and print a summary, or raise the error that says what failed."""
    total = sum(seen[status] for status in ("classified", "no face", "unreadable"))
    if seen["classified"]:
        files.keep()
        faces = ", ".join(f"{seen['label ' + label]} {label}" for label in [*predictor.description.labels, UNKNOWN])
        print(f"faces: {faces}; labels are {predictor.description.meaning}")
        print(f"{UNKNOWN}: the model's confidence is below {predictor.min_confidence:.0%}")
        print(f"annotated photographs, predictions.csv and predictions.json are in {escaped(out)}")
    if seen["unreadable"]:
        which = f"{seen['unreadable']} of {total} photographs" if total > 1 else "The photograph"
        more = seen["unreadable"] - len(faults)
        listed = "; ".join(faults) + (f"; and {more} more" if more else "")
        raise DataError(f"{which} could not be used: {listed}.", "" if seen["classified"] else "Nothing was written.")
    if not seen["classified"]:
        which = f"any of {total} photographs" if total > 1 else "the photograph"
        raise DataError(f"No face was found on {which}.", "Nothing was written. The detector misses small faces.")
