"""The promotion gate: rules that decide whether a candidate may become champion, and the verdict.

The rule about the whole test split compares the measured difference with a margin. The rule about slices also requires
that the interval exclude zero, because some of twenty slices of fifty faces are worse by chance.
"""

from __future__ import annotations

import datetime
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from pydantic import BaseModel, ConfigDict, computed_field

from ml.config.promotion import PromotionConfig
from ml.metrics.estimate import Estimate, Proportion
from ml.metrics.records import ComparisonMetrics, EvaluationRecord
from ml.metrics.slices import ENOUGH_FACES
from ml.report.formats import fixed, instant, number, percent, points, signed
from ml.report.subject import Subject
from ml.tracking.registry import Version

ROUNDING = 1e-9  # rounding error of a difference of two shares, which could otherwise miss a margin that it equals


@dataclass(frozen=True)
class Evidence:
    """The evidence on which the gate decides.

    Attributes:
        evaluation: The candidate's record of stage evaluate.
        subject: What the labels are about.
        comparison: `compare.json` of candidate and champion; None if they were not compared.
        comparison_report: URI of the comparison's page.
    """

    evaluation: EvaluationRecord
    subject: Subject
    comparison: ComparisonMetrics | None = None
    comparison_report: str | None = None


class Rule(BaseModel):
    """A rule of the gate.

    Attributes:
        name: Name of the rule, the same in all verdicts.
        title: What the rule requires, for people.
        value: The measured value; None if there was nothing to measure.
        threshold: The value required.
        passed: Whether the candidate passes the rule.
        told: The result as a sentence.
    """

    model_config = ConfigDict(frozen=True)

    name: str
    title: str
    value: float | str | None
    threshold: float | str
    passed: bool
    told: str


class Row(BaseModel):
    """A metric of both models on the same faces, and candidate minus champion with its 95% interval."""

    model_config = ConfigDict(frozen=True)

    metric: str
    candidate: float | None
    champion: float | None = None
    difference: float | None = None
    low: float | None = None
    high: float | None = None
    faces: int


@dataclass(frozen=True)
class Column:
    """A column of the table of metrics: its title, and the text for a row, empty if the row has no such value."""

    title: str
    text: Callable[[Row], str]


def _interval(row: Row) -> str:
    return "" if row.low is None or row.high is None else f"{signed(row.low)} to {signed(row.high)}"


COLUMNS = (
    Column("candidate", lambda row: fixed(row.candidate)),
    Column("champion", lambda row: "" if row.champion is None else fixed(row.champion)),
    Column("difference", lambda row: "" if row.difference is None else signed(row.difference)),
    Column("95% interval", _interval),
    Column("faces", lambda row: number(row.faces)),
)


class Verdict(BaseModel):
    """The gate's verdict on a candidate.

    Attributes:
        candidate: The version that may become champion.
        champion: The current champion; None if no version was promoted yet.
        rules: All rules that apply.
        rows: The metrics of both models.
        reports: URI of the candidate's report, and of the comparison's page if there is one.
        about: What the labels are and are not, as sentences.
    """

    model_config = ConfigDict(frozen=True)

    candidate: Version
    champion: Version | None
    rules: list[Rule]
    rows: list[Row]
    reports: dict[str, str]
    about: str = ""

    @computed_field  # type: ignore[prop-decorator]
    @property
    def passed(self) -> bool:
        """Whether the candidate passes every rule."""
        return all(rule.passed for rule in self.rules)

    @property
    def reasons(self) -> str:
        """The results of the rules that the candidate fails, as sentences."""
        return " ".join(rule.told for rule in self.rules if not rule.passed)

    def markdown(self) -> str:
        """Return the verdict as Markdown: candidate and champion, the rules, and a table of the metrics.

        The table has only columns in which a row has a value: without a champion, those of the candidate.
        """
        champion = _named(self.champion) if self.champion else "none yet"
        columns = [column for column in COLUMNS if any(column.text(row) for row in self.rows)]
        lines = [
            f"**Candidate:** {_named(self.candidate)}",
            "",
            f"**Champion:** {champion}",
            "",
            "| rule | passed | |",
            "|---|---|---|",
            *(
                f"| {_cell(rule.title)} | {'yes' if rule.passed else '**no**'} | {_cell(rule.told)} |"
                for rule in self.rules
            ),
            "",
            f"| metric | {' | '.join(column.title for column in columns)} |",
            f"|---|{'---:|' * len(columns)}",
            *(f"| {_cell(row.metric)} | {' | '.join(column.text(row) for column in columns)} |" for row in self.rows),
            "",
            self.about,
        ]
        return "\n".join(lines)


def judge(candidate: Version, champion: Version | None, evidence: Evidence, config: PromotionConfig) -> Verdict:
    """Apply the rules to a candidate.

    Args:
        candidate: The version that may become champion.
        champion: The current champion; None if no version was promoted yet.
        evidence: The measured metrics.
        config: The margins, and whether older candidates are allowed.
    """
    evaluation, comparison, about = evidence.evaluation, evidence.comparison, evidence.subject
    rules = [_floor(evaluation, config)]
    if config.slice_floor is not None:
        rules.append(_slice_floor(evaluation, config.slice_floor))
    if champion:
        rules.insert(0, as_of_rule(candidate, champion, config))
    if comparison:
        rules += [_difference(comparison, config), _slices(comparison, config)]
    reports = {"report": evaluation.report}
    if evidence.comparison_report:
        reports["comparison"] = evidence.comparison_report
    return Verdict(
        candidate=candidate,
        champion=champion,
        rules=rules,
        rows=list(_compared_rows(comparison) if comparison else _rows(evaluation)),
        reports=reports,
        about=f"{about.statement} {about.limits}".strip(),
    )


def as_of_rule(candidate: Version, champion: Version, config: PromotionConfig) -> Rule:
    """Require that the candidate used at least the champion's deliveries, unless older candidates are allowed."""
    newer = datetime.datetime.fromisoformat(candidate.as_of) >= datetime.datetime.fromisoformat(champion.as_of)
    told = (
        f"The candidate used deliveries before {_time(candidate.as_of)}, the champion before {_time(champion.as_of)}."
    )
    return Rule(
        name="as_of",
        title="not older than the champion" + (" (an older one is allowed)" if config.allow_older else ""),
        value=candidate.as_of,
        threshold=champion.as_of,
        passed=newer or config.allow_older,
        told=told,
    )


def _floor(evaluation: EvaluationRecord, config: PromotionConfig) -> Rule:
    accuracy, majority = evaluation.accuracy, evaluation.majority
    threshold = majority.value + config.floor
    return Rule(
        name="floor",
        title="significantly better than always predicting the most frequent label",
        value=accuracy.low,
        threshold=threshold,
        passed=accuracy.low >= threshold,
        told=f"Accuracy is at least {percent(accuracy.low)} (lower end of the interval); required: "
        f"{percent(threshold)}. Always predicting {majority.label} reaches {percent(majority.value)}.",
    )


def _slice_floor(evaluation: EvaluationRecord, floor: float) -> Rule:
    """Require an accuracy of the worst slice; one of few faces, whose accuracy is mostly chance, does not count."""
    title, worst = "accurate enough in every slice", evaluation.worst_slice
    unknown = "" if evaluation.age else " Accuracy by age is not measured: nothing here is about children."
    if worst is None:
        told = f"No slice has {ENOUGH_FACES} chips.{unknown}"
        return Rule(name="slice_floor", title=title, value=None, threshold=floor, passed=True, told=told)
    accuracy = worst.accuracy
    by_age = [each for part in evaluation.age for each in part.slices]
    few = [f"{each.name} ({each.faces})" for each in by_age if each.faces < ENOUGH_FACES]
    left_out = f" Too few chips to count, by age: {', '.join(few)}." if few else ""
    return Rule(
        name="slice_floor",
        title=title,
        value=accuracy.value,
        threshold=floor,
        passed=accuracy.value >= floor - ROUNDING,
        told=f"The worst slice is {worst.title}: {worst.name}, accuracy {percent(accuracy.value)} "
        f"({percent(accuracy.low)} to {percent(accuracy.high)}) on {worst.faces} chips; required: "
        f"{percent(floor)}.{unknown}{left_out}",
    )


def _difference(comparison: ComparisonMetrics, config: PromotionConfig) -> Rule:
    found = comparison.accuracy_difference
    return Rule(
        name="difference",
        title="not worse than the champion",
        value=found.value,
        threshold=-config.margin,
        passed=found.value >= -config.margin - ROUNDING,
        told=f"Accuracy on the same test split differs by {points(found.value)} points ({points(found.low)} to "
        f"{points(found.high)}); required: at least {points(-config.margin)}.",
    )


def _slices(comparison: ComparisonMetrics, config: PromotionConfig) -> Rule:
    title = "no slice significantly worse"
    lowest = -config.slice_margin - ROUNDING
    slices = list(_large_slices(comparison))
    worse = [each for each in slices if each[1].defined < lowest and each[1].ends[1] < 0]
    worst = min(worse or slices, key=lambda each: each[1].defined, default=None)
    if worst is None:
        told = f"No slice has {ENOUGH_FACES} chips."
        return Rule(name="slices", title=title, value=None, threshold=-config.slice_margin, passed=True, told=told)
    name, found, _ = worst
    remark = ""
    if len(worse) > 1:
        remark = f" So are {len(worse) - 1} more."
    elif not worse and found.defined < lowest:
        remark = " That may be chance, because the interval contains zero."
    return Rule(
        name="slices",
        title=title,
        value=found.value,
        threshold=-config.slice_margin,
        passed=not worse,
        told=f"{'Significantly worse' if worse else 'The lowest difference'}: {name}, {points(found.value)} points "
        f"({points(found.low)} to {points(found.high)}) on {found.count} chips; allowed: "
        f"{points(-config.slice_margin)}.{remark}",
    )


def _large_slices(comparison: ComparisonMetrics) -> Iterator[tuple[str, Estimate, dict[str, float]]]:
    """Yield name, difference and accuracies of each slice of enough faces."""
    for part in comparison.slices:
        for each in part.slices:
            if each.difference.count >= ENOUGH_FACES:
                yield f"{part.title}: {each.name}", each.difference, each.accuracy


def _compared_rows(comparison: ComparisonMetrics) -> Iterator[Row]:
    accuracy, loss = comparison.accuracy, comparison.log_loss
    yield _row("accuracy", comparison.accuracy_difference, accuracy.model.value, accuracy.baseline.value)
    yield _row("log loss", comparison.log_loss_difference, loss.model.value, loss.baseline.value)
    for name, found, both in _large_slices(comparison):
        yield _row(f"accuracy, {name}", found, both["model"], both["baseline"])


def _row(metric: str, found: Estimate, candidate: float | None, champion: float | None) -> Row:
    return Row(
        metric=metric,
        candidate=candidate,
        champion=champion,
        difference=found.value,
        low=found.low,
        high=found.high,
        faces=found.count,
    )


def _rows(evaluation: EvaluationRecord) -> Iterator[Row]:
    """Yield the metrics of the candidate alone."""
    metrics: dict[str, Proportion] = {
        "accuracy": evaluation.accuracy,
        "balanced accuracy": evaluation.balanced_accuracy,
        "auc": evaluation.auc,
        "log loss": evaluation.log_loss,
    }
    for name, found in metrics.items():
        yield Row(metric=name, candidate=found.value, faces=evaluation.faces)
    if worst := evaluation.worst_slice:
        yield Row(metric=f"accuracy, {worst.title}: {worst.name}", candidate=worst.accuracy.value, faces=worst.faces)


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


def _named(version: Version) -> str:
    return f"{version.title}, as of {_time(version.as_of)}, accuracy {fixed(version.accuracy)}"


def _time(moment: str) -> str:
    return instant(datetime.datetime.fromisoformat(moment))
