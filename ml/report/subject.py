"""The subject of a run's labels, in words that claim no more than the annotations do."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ml.config.training import FACE, TrainingConfig

WOMEN, MEN = frozenset(("Woman", "Girl")), frozenset(("Man", "Boy"))
PEOPLE = WOMEN | MEN | {"Person"}
CHIPS_OF_PEOPLE = PEOPLE | {FACE, "Human head", "Human body"}


@dataclass(frozen=True)
class Subject:
    """What a run's labels are about.

    Attributes:
        title: A short title, such as 'perceived gender presentation' or 'tame or wild'.
        name: The title as part of a model's name.
        noun: What a chip shows, such as 'face'.
        people: Whether the labels or the chips are about people.
        meaning: What the labels stand for, as stored in a model's description.
        statement: What the labels are, as a sentence.
        limits: What the labels are not, as sentences; empty for subjects other than people.
        purpose: What the data or a model may be used for, completing 'may be used'.
        must_not: Prohibited uses, each completing 'must not be used'.
        cue: By what `ml.sample` shows the label in its drawings; empty if it does not.
    """

    title: str
    name: str
    noun: str
    people: bool
    meaning: str
    statement: str
    limits: str
    purpose: str
    must_not: tuple[str, ...]
    cue: str = ""

    @property
    def heading(self) -> str:
        """The title with a capital."""
        return self.title[:1].upper() + self.title[1:]

    @property
    def plural(self) -> str:
        """What the chips are called when they are counted, such as 'faces' or 'cat chips'."""
        return "faces" if self.noun == "face" else f"{self.noun} chips"


def subject(config: TrainingConfig) -> Subject:
    """Return what the labels of a run are about."""
    return subject_of(config.chip_class, config.labels)


def subject_of(chip_class: str, labels: Mapping[str, Sequence[str]]) -> Subject:
    """Return what labels are about.

    Args:
        chip_class: Open Images class whose boxes are cut out.
        labels: The classes of each label.
    """
    groups = [frozenset(classes) for classes in labels.values()]
    noun = chip_class.lower().removeprefix("human ")
    if len(groups) == 2 and any(one <= WOMEN and other <= MEN for one, other in (groups, groups[::-1])):
        return _gender_presentation(noun)
    if chip_class in CHIPS_OF_PEOPLE or PEOPLE.issuperset(frozenset().union(*groups)):
        return _people(noun, labels)
    return _other(noun, labels)


def _gender_presentation(noun: str) -> Subject:
    return Subject(
        title="perceived gender presentation",
        name="perceived-gender-presentation",
        noun=noun,
        people=True,
        meaning="gender presentation as perceived by annotators; never identity",
        statement="The labels are gender presentation as annotators perceived it in one photograph, in the two words "
        "that the data set offers.",
        limits="They are not a person's gender or identity, which no photograph shows. People whose presentation fits "
        "neither word are absent from the labels, not from the world.",
        purpose="to study the data set, this method and their flaws: how well gender presentation as annotators "
        f"perceived it can be predicted from a {noun}, and for whom that fails",
        must_not=("to infer, record or check the gender or identity of any person", *_DECISIONS),
        cue=f"each drawn {noun} has a badge on its forehead, a ring or a cross",
    )


def _people(noun: str, labels: Mapping[str, Sequence[str]]) -> Subject:
    title = " or ".join(sorted(labels))
    return Subject(
        title=title,
        name=_name(labels),
        noun=noun,
        people=True,
        meaning=f"{title}, as perceived by annotators; never identity",
        statement=f"The labels are what annotators perceived in one photograph: {_classes(labels)}.",
        limits="They are not facts about any person, which no photograph shows. People who fit neither word are absent "
        "from the labels, not from the world.",
        purpose=_STUDY,
        must_not=(f"to infer, record or check whether the labels {title} apply to any person", *_DECISIONS),
    )


def _other(noun: str, labels: Mapping[str, Sequence[str]]) -> Subject:
    return Subject(
        title=" or ".join(sorted(labels)),
        name=_name(labels),
        noun=noun,
        people=False,
        meaning="the label that annotators gave",
        statement=f"The labels are what annotators saw in the photographs: {_classes(labels)}.",
        limits="",
        purpose=_STUDY,
        must_not=("to make or support decisions about people or animals",),
    )


_STUDY = "to study the data set, this method and their flaws"
_DECISIONS = (
    "to make or support decisions about people, such as hiring, credit, access, services or prices",
    "for surveillance, access control, profiling, targeting or advertising",
)


def _name(labels: Mapping[str, Sequence[str]]) -> str:
    return "-or-".join(sorted(labels))


def _classes(labels: Mapping[str, Sequence[str]]) -> str:
    return "; ".join(f"{label} for the classes {', '.join(classes)}" for label, classes in sorted(labels.items()))
