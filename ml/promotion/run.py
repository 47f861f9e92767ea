"""Runs of the promotion flow: the candidate, the champion, the gate's verdict, and the decision.

A run folder of this flow pins the candidate's features, training and evaluation, and names the champion as baseline, so
that stage compare can run in it. Beside `run.json` it holds `promotion.json` (candidate and champion), `verdict.json`
(the gate's verdict) and `decision.json` (the decision).
"""

from __future__ import annotations

import dataclasses
import datetime
import logging
from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import BaseModel, ConfigDict

from ml import storage
from ml.config.deployment import Deployment
from ml.config.promotion import ComparisonConfig, PromotionConfig
from ml.config.roots import Roots, validate_below
from ml.config.training import TrainingConfig
from ml.errors import ConfigurationError, DataError
from ml.metrics.records import ComparisonMetrics, ComparisonRecord, EvaluationRecord
from ml.promotion.candidates import Candidate, age, candidate_of, named_candidate, newest_candidate
from ml.promotion.comparison import copy_run
from ml.promotion.gate import Evidence, Verdict, as_of_rule, judge
from ml.report.subject import subject
from ml.tracking.registry import Decision, Registry, Version
from ml.workflow import layout
from ml.workflow.run import load_run, slug

log = logging.getLogger(__name__)
BACKFILL = "backfill"  # Airflow's type of a run


class NothingToDecideError(Exception):
    """No candidate needs a decision; the message says why."""


class Promotion(BaseModel):
    """An opened run of the promotion flow.

    Attributes:
        run: URI of the run folder.
        config: The run's parameters.
        candidate: The version that may become champion.
        champion: The current champion; None if no version was promoted yet.
        compares: Whether stage compare runs.
    """

    model_config = ConfigDict(frozen=True)

    run: str
    config: PromotionConfig
    candidate: Version
    champion: Version | None
    compares: bool


def open_promotion(
    root: str,
    run_id: str,
    values: Mapping[str, Any],
    deployment: Deployment,
    events: Sequence[Mapping[str, Any]] = (),
    roots: Roots | None = None,
) -> Promotion:
    """Validate the parameters, choose and register the candidate, and write the run folder.

    Args:
        root: The storage root.
        run_id: Id of the promotion run, such as Airflow's.
        values: The parameters, which override the deployment's.
        deployment: The deployment's settings.
        events: The extras of the asset events that triggered the run, about evaluations (see `ProcessStageOperator`).
            The run takes the candidate with the latest `as_of` among those that need a decision.
        roots: The places that parameters may name; None: any.

    Raises:
        NothingToDecideError: No candidate is named, and each is champion, was decided before, or is older than another.
        ConfigurationError: A parameter is wrong, or there is no candidate.
        DataError: Attempts of the candidate's run were removed.
    """
    config = validate_below(dict(values), deployment.promotion, roots)
    root = storage.normalize(root)
    candidate, version, champion = _choose(root, config, deployment.defaults, events)
    compares = champion is not None and config.compare
    folder = layout.run_uri(root, slug(run_id, "promotion"))
    for uri in (layout.verdict_uri(folder), layout.decision_uri(folder)):  # of a run of the same id before
        storage.remove(uri)
    baseline = champion.train if champion and compares else None
    run = copy_run(candidate, run_id, "promotion", baseline, ComparisonConfig)
    promotion = Promotion(run=run.uri, config=config, candidate=version, champion=champion, compares=compares)
    storage.write_json(layout.promotion_uri(run.uri), promotion.model_dump(mode="json"))
    return promotion


def load_promotion(run_uri: str) -> Promotion:
    """Read what `open_promotion` wrote.

    Raises:
        ConfigurationError: The run does not belong to the promotion flow.
    """
    try:
        return Promotion.model_validate(storage.read_json(layout.promotion_uri(run_uri)))
    except FileNotFoundError as error:
        raise ConfigurationError(f"{run_uri} is not a run of the promotion flow.", "Start a promotion.") from error


def gate(run_uri: str) -> Verdict:
    """Judge the candidate of a run, write the verdict, and record comparison and refusal in the registry.

    Raises:
        DataError: The run needs stage compare, which has not finished in it.
    """
    promotion, run = load_promotion(run_uri), load_run(run_uri)
    evidence = Evidence(run.pinned("evaluate").record(EvaluationRecord), subject(run.config))
    if promotion.compares:
        compared = run.pinned("compare")
        evidence = dataclasses.replace(
            evidence,
            comparison=ComparisonMetrics.model_validate(storage.read_json(compared.file("compare.json"))),
            comparison_report=compared.record(ComparisonRecord).report,
        )
        _registry(promotion).note_comparison(promotion.candidate.number, run.run_id)
    verdict = judge(promotion.candidate, promotion.champion, evidence, promotion.config)
    storage.write_json(layout.verdict_uri(run_uri), verdict.model_dump(mode="json"))
    if not verdict.passed:
        _record(promotion, "refused", f"by the gate ({verdict.reasons})")
    return verdict


def promote(run_uri: str, how: str) -> Version:
    """Make the candidate of a run champion.

    Args:
        run_uri: The run folder.
        how: By whom or what, such as `by admin`.

    Raises:
        ConfigurationError: The gate has not passed the candidate, or the champion has changed since the verdict.
    """
    promotion = load_promotion(run_uri)
    verdict = layout.verdict_uri(run_uri)
    if not storage.exists(verdict) or not storage.read_json(verdict)["passed"]:
        raise ConfigurationError(
            f"The gate has not passed {promotion.candidate.title} in {run_uri}.", "See verdict.json in that folder."
        )
    champion = promotion.champion
    _registry(promotion).promote(promotion.candidate.number, champion.number if champion else None)
    _record(promotion, "promoted", how)
    return promotion.candidate


def reject(run_uri: str, by: str | None) -> str:
    """Record that the candidate of a run was not approved.

    Args:
        run_uri: The run folder.
        by: Who rejected the candidate; None if the approval timed out.

    Returns:
        The recorded decision as a sentence.
    """
    promotion = load_promotion(run_uri)
    if by is None:
        _record(promotion, "timed out", f"no answer within {promotion.config.approval_hours:g} hours")
        return f"The approval timed out: {promotion.candidate.title} was not promoted."
    _record(promotion, "rejected", f"by {by}")
    return f"{promotion.candidate.title} was rejected by {by}."


def move_back(root: str, config: TrainingConfig, how: str, run_id: str) -> tuple[Version, Version]:
    """Make the previous champion champion again, and record it.

    Args:
        root: The storage root.
        config: The configuration whose `chip_class` names the registered model.
        how: By whom or what, such as `by admin`.
        run_id: Id of the run that moves back; a retry with the same id does not move back again.

    Returns:
        The new champion and the one that it replaces.

    Raises:
        ConfigurationError: There is no earlier champion, or another version has become champion meanwhile.
    """
    registry = Registry(storage.normalize(root), config)
    now, until_now = registry.move_back(run_id)
    registry.decide(until_now.number, "moved back", how)
    registry.decide(now.number, "promoted", f"moved back to {how}")
    return now, until_now


def _choose(
    root: str, config: PromotionConfig, defaults: TrainingConfig, events: Sequence[Mapping[str, Any]]
) -> tuple[Candidate, Version, Version | None]:
    """Return the candidate that needs a decision, its version, and the champion."""
    reasons = []
    for candidate in _candidates(root, config, defaults, events):
        registry = Registry(root, candidate.run.config)
        run = candidate.run
        version = registry.register(
            candidate.trained, candidate.evaluated, run.uri, candidate.as_of, {"run_id": run.run_id}
        )
        champion = registry.champion()
        try:
            _check_worth_deciding(version, champion, registry.versions(), config)
        except NothingToDecideError as nothing:
            reasons.append(str(nothing))
        else:
            for reason in reasons:
                log.info("passed over: %s", reason)
            return candidate, version, champion
    raise NothingToDecideError("\n".join(reasons))


def _candidates(
    root: str, config: PromotionConfig, defaults: TrainingConfig, events: Sequence[Mapping[str, Any]]
) -> list[Candidate]:
    """Return the possible candidates, at least one, latest `as_of` first."""
    if config.candidate:
        return [named_candidate(root, config.candidate, defaults)]
    events = [event for event in events if "run" in event and "attempt" in event]  # events made by hand lack these
    if not events:
        return [newest_candidate(root)]
    asked = [event for event in events if config.include_backfills or event.get("run_type") != BACKFILL]
    if not asked:
        raise NothingToDecideError(
            "All candidates were trained by a backfill; set `include_backfills` to promote them."
        )
    found, gone = {}, []
    for event in asked:
        try:
            found[event["attempt"]] = candidate_of(event["run"], event["attempt"])
        except (ConfigurationError, DataError) as error:  # removed since
            log.warning("skipped: %s", error)
            gone.append(error)
    if not found:
        raise gone[0]
    return sorted(found.values(), key=age, reverse=True)


def _check_worth_deciding(
    version: Version, champion: Version | None, versions: Sequence[Version], config: PromotionConfig
) -> None:
    if champion and version.number == champion.number:
        raise NothingToDecideError(f"{version.title} is champion already.")
    if config.candidate:
        return  # a named candidate is always judged
    how = f"to decide anyway, name it as candidate: {version.number}."
    if version.decision:
        raise NothingToDecideError(f"{version.title} was decided before ({version.decision}: {version.decided}); {how}")
    if champion and not (rule := as_of_rule(version, champion, config)).passed:
        raise NothingToDecideError(f"{version.title} is older than the champion. {rule.told} {how}")
    # Only undecided versions supersede: once the newer one is decided, an older one may be proposed.
    newer = [each for each in versions if each.as_of > version.as_of and each.decision is None]
    if newer and not config.allow_older:
        raise NothingToDecideError(
            f"{version.title} is superseded by version {newer[-1].number}, which used later deliveries and awaits "
            f"a decision; {how}"
        )


def _record(promotion: Promotion, decision: Decision, how: str) -> None:
    _registry(promotion).decide(promotion.candidate.number, decision, how)
    at = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
    storage.write_json(layout.decision_uri(promotion.run), {"decision": decision, "how": how, "at": at})


def _registry(promotion: Promotion) -> Registry:
    run = load_run(promotion.run)
    return Registry(run.root, run.config)
