"""The command `predict`: classifies the faces of photographs; writes annotated copies, a CSV file and a JSON file."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from time import sleep

from ml.config.training import TrainingConfig
from ml.errors import DataError, ResourceError
from ml.metrics.decision import UNKNOWN
from ml.model.novelty import REASONS
from ml.prediction.files import Outcome, PredictionFiles
from ml.prediction.finder import detector_record, load_finder
from ml.prediction.finding import DEFAULT, Finding
from ml.prediction.given import Given, arrivals, check_given, check_watched, find_photographs
from ml.prediction.listing import escaped
from ml.prediction.predictor import Predictor, annotate, describe, load_quick_predictor
from ml.prediction.run import choose_model
from ml.storage import write_bytes
from ml.vision import images
from ml.vision.detection import FaceFinder, decode_upright

LISTED_FAULTS = 20  # the error's message only counts any more; the files name all


def predict_photos(
    given: list[Path],
    out: Path,
    model: str | None,
    storage: str,
    min_confidence: float,
    defaults: TrainingConfig,
    max_risk: float | None = None,
    finding: Finding = DEFAULT,
    every: float | None = None,
) -> None:
    """Find the faces of photographs, classify them, and write annotated copies, `predictions.csv` and `.json`.

    Photographs are read one after the other, so memory does not grow with their number. Unreadable photographs are
    reported at the end, after all others. If no face is found, nothing is written.

    With `every`, those in the folders come first, and then those that appear or change, until the process is
    interrupted. The files are complete after each look into the folders.

    Args:
        given: Photographs, and folders that are searched recursively for JPEG and PNG files; only folders with `every`.
        out: Folder for the output, created if needed. Copies keep their path below the given folder. A copy never
            overwrites a photograph: if names clash, a number is added.
        model: The model's name, see `ml.tracking.models.find_model`; None for the champion, or the newest model if none
            was promoted. The same model predicts until the end.
        storage: Storage root that is searched for the model.
        min_confidence: Predictions with a lower confidence become `unknown`.
        defaults: The deployment's defaults, whose `chip_class` names the champion's registered model.
        max_risk: The tolerated share of wrong labels, which then decides instead of `min_confidence`.
        finding: How to find faces.
        every: Seconds between two looks into the folders; None to look once and end.

    Raises:
        ConfigurationError: There is no such folder or model, it cannot promise `max_risk`, `out` is not usable, or the
            detector's file is missing or wrong.
        DataError: The model is damaged; or, without `every`, a photograph is missing or unreadable, or the detector
            finds no face on any photograph.
        ResourceError: `out` cannot be written.
    """
    (check_given if every is None else check_watched)(given, out)
    attempt = choose_model(storage, model, defaults)
    predictor = load_quick_predictor(attempt, min_confidence, max_risk)
    box_aspect = predictor.description.box_aspect
    finder = load_finder(finding, box_aspect)
    with PredictionFiles(predictor, attempt, out, detector_record(finding, box_aspect)) as files:
        work = _Work(predictor, finder, files, given, out)
        if every is not None:
            _watch(work, given, out, every)
            return
        for each in find_photographs(given, out):
            work.classify(each)
        work.finish()


def _watch(work: _Work, given: list[Path], out: Path, every: float) -> None:
    print(f"watching {', '.join(map(escaped, given))}; Ctrl-C ends it", flush=True)
    try:
        for ready in arrivals(given, out, lambda: sleep(every)):
            for each in ready:
                if fault := work.classify(each):
                    print(fault, flush=True)
            if ready:
                work.publish()
    except KeyboardInterrupt:
        work.publish()
        work.summarize()


class _Work:
    """Classifies photographs one by one and counts what becomes of them.

    Args:
        predictor: The model.
        finder: Finds the faces.
        files: The files that hold every outcome.
        given: The photographs and folders of the command, whose files no copy may overwrite.
        out: Folder for the annotated copies.
    """

    def __init__(
        self, predictor: Predictor, finder: FaceFinder, files: PredictionFiles, given: list[Path], out: Path
    ) -> None:
        self._predictor, self._finder, self._files, self._out = predictor, finder, files, out
        self._taken = {str(path.resolve()) for path in given}
        self._seen: Counter[str] = Counter()
        self._faults: list[str] = []

    def classify(self, given: Given) -> str | None:
        """Classify the faces of a photograph, write its annotated copy, and print the outcome.

        Returns:
            Why the photograph is unreadable, which is not printed; None if it was read.
        """
        fault = None
        try:
            photo = read_photo(given.path)
        except DataError as error:
            fault, outcome = error.message, Outcome(escaped(given.path), "unreadable")
            if len(self._faults) < LISTED_FAULTS:
                self._faults.append(fault)
        else:
            outcome = self._outcome(photo, given)
            _print(outcome)
        self._seen[outcome.status] += 1
        self._seen.update(f"label {answer.label}" for answer in outcome.answers)
        self._seen.update(f"unusual {reason}" for answer in outcome.answers for reason in answer.unusual or ())
        self._seen["unusual"] += sum(bool(answer.unusual) for answer in outcome.answers)
        self._files.add(outcome)
        return fault

    def _outcome(self, photo: images.Pixels, given: Given) -> Outcome:
        found = self._finder.detect(photo)
        if not found:
            return Outcome(escaped(given.path), "no face")
        faces = [face.rectangle() for face in found]
        chips = [self._predictor.cut_chip(photo, face.rectangle(), face.rotation) for face in found]
        answers = self._predictor.answer(chips, faces)
        drawn = annotate(photo, faces, answers, self._predictor.description.labels)
        # A PNG may be a drawing or a screenshot, which JPEG would blur.
        suffix = ".png" if given.path.suffix.lower() == ".png" else ".jpg"
        target = _free_name(self._out / escaped(given.below), escaped(given.path.stem), suffix, self._taken)
        try:
            write_bytes(str(target), images.encode_png(drawn) if suffix == ".png" else images.encode_jpeg(drawn))
        except OSError as error:
            raise ResourceError(f"{target} cannot be written: {error.strerror}.", "Name another folder.") from error
        return Outcome(escaped(given.path), "classified", tuple(faces), tuple(answers), target)

    def publish(self) -> None:
        """Bring the files in the output folder up to date."""
        self._files.publish()

    def summarize(self) -> None:
        """Print how many faces have each label."""
        labels = [*self._predictor.description.labels, UNKNOWN]
        faces = ", ".join(f"{self._seen['label ' + label]} {label}" for label in labels)
        print(f"faces: {faces}; labels are {self._predictor.description.meaning}")
        validation = self._predictor.description.validation
        if validation.accuracy is not None and validation.accuracy <= validation.majority:
            print(
                f"do not rely on these labels: on its {validation.faces:,} validation faces the model is right about "
                f"{validation.accuracy:.1%}, and the more common label alone about {validation.majority:.1%}"
            )
        print(f"{UNKNOWN}: the model's confidence is below {100 * self._predictor.min_confidence:.4g}%")
        if promise := self._predictor.promise:
            print(promise.sentence)
        if self._predictor.novelty is not None:
            by_reason = ", ".join(f"{reason} {self._seen['unusual ' + reason]}" for reason in REASONS)
            print(f"outside the range of the training faces: {self._seen['unusual']} ({by_reason})")
        print(f"annotated photographs, predictions.csv and predictions.json are in {escaped(self._out)}")

    def finish(self) -> None:
        """Keep the files and print a summary, or raise the error that says what failed."""
        seen, faults = self._seen, self._faults
        total = sum(seen[status] for status in ("classified", "no face", "unreadable"))
        if seen["classified"]:
            self.publish()
            self.summarize()
        if seen["unreadable"]:
            which = f"{seen['unreadable']} of {total} photographs" if total > 1 else "The photograph"
            more = seen["unreadable"] - len(faults)
            listed = "; ".join(faults) + (f"; and {more} more" if more else "")
            raise DataError(
                f"{which} could not be used: {listed}.", "" if seen["classified"] else "Nothing was written."
            )
        if not seen["classified"]:
            which = f"any of {total} photographs" if total > 1 else "the photograph"
            raise DataError(f"No face was found on {which}.", "Nothing was written. For smaller faces, set --min-face.")


def read_photo(path: Path) -> images.Pixels:
    """Read a photograph upright.

    Raises:
        DataError: There is no such file, it is too large, or it cannot be decoded completely.
    """
    name = escaped(path)
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


def _free_name(folder: Path, stem: str, suffix: str, taken: set[str]) -> Path:
    """Return a path in `folder` that no given photograph and no earlier copy has, and add it to `taken`."""
    number, target = 1, folder / f"{stem}{suffix}"
    while str(target.resolve()) in taken:
        number += 1
        target = folder / f"{stem}-{number}{suffix}"
    taken.add(str(target.resolve()))
    return target


def _print(outcome: Outcome) -> None:
    found = ", ".join(
        f"{describe(answer)} at {face[0]},{face[1]} - {face[2]},{face[3]}"
        for face, answer in zip(outcome.faces, outcome.answers, strict=True)
    )
    print(f"{outcome.photo}: {found or 'no face was found'}", flush=True)
