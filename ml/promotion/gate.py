"""The gate of a promotion: whether a candidate may become champion, by which rules, and in numbers for people.

A rule about the whole test split asks for the measured difference itself, which a margin then bounds. A rule about
slices asks besides that the interval leave out zero: of twenty slices of fifty faces some are worse by chance.
"""

from __future__ import annotations

import datetime
from collections.abc import Iterator
from dataclasses import dataclass

from pydantic import BaseModel, ConfigDict, computed_field

from ml.config.promotion import PromotionConfig
from ml.metrics.estimate import Estimate, Proportion
from ml.metrics.records import ComparisonMetrics, EvaluationRecord
from ml.metrics.slices import ENOUGH_FACES
from ml.report.formats import fixed, instant, number, percent, points, signed
from ml.report.subject import Subject
from ml.tracking.registry import Version

ROUNDING = 1e-9  # of a difference of two shares, which would else miss a margin that it equals


@dataclass(frozen=True)
class Evidence:
    """What the gate judges by.

    Attributes:
        evaluation: What stage evaluate states of the candidate.
        subject: What the labels are about.
        comparison: `compare.json` of candidate and champion; None where they were not compared.
        comparison_report: URI of the page of that comparison.
    """

    evaluation: EvaluationRecord
    subject: Subject
    comparison: ComparisonMetrics | None = None
    comparison_report: str | None = None


class Rule(BaseModel):
    """A rule of the gate.

    Attributes:
        name: Its name, the same in all verdicts.
        title: What it asks for, for people.
        value: What was measured; None where there was nothing to measure.
        threshold: What the value must reach.
        passed: Whether it does.
        told: The same as a sentence.
    """

    model_config = ConfigDict(frozen=True)

    name: str
    title: str
    value: float | str | None
    threshold: float | str
    passed: bool
    told: str


class Row(BaseModel):
    """A metric of both models on the same faces, and candidate less champion with its 95% interval."""

    model_config = ConfigDict(frozen=True)

    metric: str
    candidate: float | None
    champion: float | None = None
    difference: float | None = None
    low: float | None = None
    high: float | None = None
    faces: int


class Verdict(BaseModel):
    """What the gate says of a candidate.

    Attributes:
        candidate: The version that may become champion.
        champion: The one that it would follow; None where nothing was promoted yet.
        rules: All rules that apply.
        rows: The metrics of both.
        reports: URI of the candidate's report, and of that of the comparison where there is one.
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
        """Whether every rule is kept."""
        return all(rule.passed for rule in self.rules)

    @property
    def reasons(self) -> str:
        """The rules that are not kept, as sentences."""
        return " ".join(rule.told for rule in self.rules if not rule.passed)

    def markdown(self) -> str:
        """The verdict as Markdown: who stands against whom, the rules, and a table of the metrics."""
        champion = _named(self.champion) if self.champion else "none yet"
        lines = [
            f"**Candidate:** {_named(self.candidate)}",
            "",
            f"**Champion:** {champion}",
            "",
            "| rule | kept | |",
            "|---|---|---|",
            *(
                f"| {_cell(rule.title)} | {'yes' if rule.passed else '**no**'} | {_cell(rule.told)} |"
                for rule in self.rules
            ),
            "",
            "| metric | candidate | champion | difference | 95% interval | faces |",
            "|---|---:|---:|---:|---:|---:|",
            *(_line(row) for row in self.rows),
            "",
            *(f"{name}: `{uri}`  " for name, uri in self.reports.items()),
            "",
            self.about,
        ]
        return "\n".join(lines)


def judge(candidate: Version, champion: Version | None, evidence: Evidence, config: PromotionConfig) -> Verdict:
    """Apply the rules to a candidate.

    Args:
        candidate: The version that may become champion.
        champion: The one that is; None where nothing was promoted yet.
        evidence: What was measured.
        config: Margins and what is allowed.
    """
    evaluation, comparison, about = evidence.evaluation, evidence.comparison, evidence.subject
    rules = [_floor(evaluation, config)]
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
    """That the candidate knew at least what the champion knew, unless an older one is allowed."""
    newer = datetime.datetime.fromisoformat(candidate.as_of) >= datetime.datetime.fromisoformat(champion.as_of)
    told = f"The candidate saw deliveries before {_time(candidate.as_of)}, the champion before {_time(champion.as_of)}."
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
        title="surely better than always the commonest label",
        value=accuracy.low,
        threshold=threshold,
        passed=accuracy.low >= threshold,
        told=f"Accuracy is at least {percent(accuracy.low)} (interval's low end); asked for is {percent(threshold)}: "
        f"always {majority.label} has {percent(majority.value)}.",
    )


def _difference(comparison: ComparisonMetrics, config: PromotionConfig) -> Rule:
    found = comparison.accuracy_difference
    return Rule(
        name="difference",
        title="not worse than the champion",
        value=found.value,
        threshold=-config.margin,
        passed=found.value >= -config.margin - ROUNDING,
        told=f"Accuracy on the same faces differs by {points(found.value)} points ({points(found.low)} to "
        f"{points(found.high)}); asked for is {points(-config.margin)} or more.",
    )


def _slices(comparison: ComparisonMetrics, config: PromotionConfig) -> Rule:
    title = "no slice clearly worse"
    lowest = -config.slice_margin - ROUNDING
    slices = list(_large_slices(comparison))
    worse = [each for each in slices if each[1].defined < lowest and each[1].ends[1] < 0]
    worst = min(worse or slices, key=lambda each: each[1].defined, default=None)
    if worst is None:
        told = f"No slice has {ENOUGH_FACES} faces."
        return Rule(name="slices", title=title, value=None, threshold=-config.slice_margin, passed=True, told=told)
    name, found, _ = worst
    others = f" So are {len(worse) - 1} more." if len(worse) > 1 else ""
    return Rule(
        name="slices",
        title=title,
        value=found.value,
        threshold=-config.slice_margin,
        passed=not worse,
        told=f"{'Clearly worse' if worse else 'The lowest difference'}: {name}, {points(found.value)} points "
        f"({points(found.low)} to {points(found.high)}) on {found.count} faces; allowed are "
        f"{points(-config.slice_margin)}.{others}",
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


def _line(row: Row) -> str:
    interval = "" if row.low is None or row.high is None else f"{signed(row.low)} to {signed(row.high)}"
    values = [fixed(row.candidate), fixed(row.champion), signed(row.difference), interval, number(row.faces)]
    return f"| {_cell(row.metric)} | {' | '.join(values)} |"


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


def _named(version: Version) -> str:
    return f"{version.title}, as of {_time(version.as_of)}, accuracy {fixed(version.accuracy)}"


def _time(moment: str) -> str:
    return instant(datetime.datetime.fromisoformat(moment))
