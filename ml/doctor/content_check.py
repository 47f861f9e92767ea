"""Check that work which was done twice gave the same content."""

from __future__ import annotations

from ml import storage
from ml.doctor.finding import Answer, State
from ml.flow.table import STAGES
from ml.workflow.content import first_difference
from ml.workflow.layout import attempt_id
from ml.workflow.manifest import Manifest, load_manifest
from ml.workflow.repeats import find_repeats

# The stages on Spark write data alone. Reports hold the time when they were written, and a training depends on the
# processor to the last bit.
EQUAL = tuple(name for name, stage in STAGES.items() if stage.engine == "spark")
COMPARED = 8  # pairs of attempts
COMPARED_BYTES = 1 << 29  # of all pairs together; on a busy machine more would exceed the time limit of a check


def check_content(root: str) -> Answer:
    """Compare the two newest attempts of keys that have several, the newest keys first, as time allows."""
    pairs, others = _choose(storage.normalize(root))
    left_out = f"; {others} more not compared" if others else ""
    for left, right in pairs:
        if answer := _compare(left, right):
            state, found, advice = answer
            return state, found, f"{advice} See: python -m ml compare-content {left.uri} {right.uri}"
    if not pairs and not others:
        return "ok", "no work was done twice", ""
    return "ok", f"{len(pairs)} repeated attempts have the same content{left_out}", ""


def _choose(root: str) -> tuple[list[tuple[Manifest, Manifest]], int]:
    """Return the pairs to compare, those of the first stages first, and the number of the others."""
    pairs: list[tuple[Manifest, Manifest]] = []
    others = total = 0
    for repeat in find_repeats(root, EQUAL):
        left, right = load_manifest(repeat.before), load_manifest(repeat.newest)
        if left.parts or right.parts:  # these hold no files; their parts have keys of their own
            continue
        size = sum(file.bytes for file in (*left.files, *right.files))
        if len(pairs) < COMPARED and total + size <= COMPARED_BYTES:
            pairs.append((left, right))
            total += size
        else:
            others += 1
    # What differs in one stage differs in those that read it: the first of them is the cause.
    return sorted(pairs, key=lambda pair: EQUAL.index(pair[0].stage)), others


def _compare(left: Manifest, right: Manifest) -> Answer | None:
    """Return what is wrong with two attempts of a key, or None if they have the same content."""
    for manifest in (left, right):
        if not manifest.whole():
            found = f"{manifest.uri}: files are missing or cut off"
            return "fault", found, "Remove the attempt and run its stage again."
    difference = first_difference(left, right)
    if difference is None:
        return None
    state: State = "fault"
    advice = "Work that is done again must give the same. Compare the processors and the libraries of both machines."
    if other := _other_versions(left, right):
        state, advice = "warning", f"They were written with other versions ({other}), which may be why."
    return state, f"{attempt_id(left.uri)} and {attempt_id(right.uri)} differ: {difference}", advice


def _other_versions(left: Manifest, right: Manifest) -> str:
    """Return the libraries whose versions differ between two attempts, with both versions."""
    names = sorted(left.versions.keys() | right.versions.keys())
    both = ((name, left.versions.get(name, "none"), right.versions.get(name, "none")) for name in names)
    return ", ".join(f"{name} {one} and {other}" for name, one, other in both if one != other)
