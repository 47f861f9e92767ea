"""Execute a stage: do its work in a new attempt and commit it, or find it already done.

A stage's output is stored by key, in `stages/<stage>/<key>/` of the storage root. Each execution writes to a new
attempt folder. It writes the manifest last, never changes it, and then sets the key's pointer `current.json` to the
attempt. Readers use manifests only, so they never see the output of a killed attempt.
"""

from __future__ import annotations

import contextlib
import datetime
import errno
import functools
import logging
import os
import re
import traceback
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Generic, cast

from ml import storage
from ml.config.training import TrainingConfig
from ml.errors import ResourceError, StageError, TransientError
from ml.flow.record import Record
from ml.flow.stage import Stage
from ml.flow.table import ALL_STAGES
from ml.redaction import without_secrets
from ml.release.delivery import Delivery
from ml.release.release import Release
from ml.store_faults import explain
from ml.workflow import layout, lease
from ml.workflow.attempt import check_claim, new_attempt
from ml.workflow.manifest import Manifest, commit, list_files, versions
from ml.workflow.run import C, FlowRun
from ml.workflow.supervision import Supervision, identity
from ml.workflow.views import ConfigView, InputsView, RunView

log = logging.getLogger(__name__)
JAVA_FRAME = re.compile(r"at [\w.$]+[\w$<>./]*\(|\.\.\. \d+ more|Driver stacktrace:")
SHOWN = 400  # characters of the beginning and of the end of a long error
NO_SPACE = (os.strerror(errno.ENOSPC), os.strerror(errno.EDQUOT))


@dataclass(frozen=True)
class Result:
    """The return value of a stage's body.

    Attributes:
        record: The stage's record of its output.
        ledger: Counts of rows by outcome.
        spark_application: The id of the Spark application that did the work, as in Spark's history server.
    """

    record: Record = field(default_factory=Record)
    ledger: dict[str, int] = field(default_factory=dict)
    spark_application: str | None = None

    @property
    def metrics(self) -> dict[str, Any]:
        """The JSON values to store in the manifest."""
        application = {"spark_application": self.spark_application} if self.spark_application else {}
        return self.record.json_values() | application


@dataclass(frozen=True)
class FlowContext(Generic[C]):
    """The argument of a stage's body.

    Attributes:
        run: A view of the run.
        config: The run's configuration, limited to the fields that the stage's row declares.
        inputs: The manifests of the stages that the row declares, by name.
        key: The stage's key in this run.
        uri: The attempt folder. The body writes nowhere else, except for checkpoints.
        checkpoints: The folder of this run's checkpoints under the stage's key, which outlives a killed attempt.
        delivery: The delivery to process, for a stage done by delivery; None for other stages.
    """

    run: RunView
    config: C
    inputs: Mapping[str, Manifest]
    key: str
    uri: str
    checkpoints: str
    delivery: Delivery | None = None

    @property
    def release(self: FlowContext[TrainingConfig]) -> Release:
        """The files of the delivery to process."""
        assert self.delivery is not None
        return self.run.release(self.delivery)

    def path(self, *parts: str) -> str:
        """Return a URI in the attempt folder."""
        return storage.join(self.uri, *parts)


Context = FlowContext[TrainingConfig]  # for stages of the training flow


def run_stage(
    run: FlowRun[C], stage: Stage, body: Callable[[FlowContext[C]], Result], attempt: str | None = None
) -> Manifest:
    """Do a stage's work for a run, unless it is already done, and pin the attempt in the run.

    If a job of another run is doing the work, wait for it and use its attempt. A stage done by delivery calls the body
    for each delivery whose work is not yet done. Each delivery is committed separately, so that a retry continues with
    the remaining ones.

    Raises:
        StageError: The work failed; the attempt's `error.json` holds the same error.
    """
    attempt = attempt or new_attempt()
    supervision = Supervision()
    supervision.start()
    uri = attempt_uri(run, stage, attempt)
    work = functools.partial(_execute, run, stage, body, attempt, supervision)
    find = functools.partial(run.find_or_adopt, stage)
    try:
        with _lease(run, stage, run.key(stage), find) as found:
            if found:
                log.info("%s: already done, attempt %s", stage.name, found.attempt)
                return found
            manifest = run.collect(stage, _parts(run, stage, work), attempt) if stage.by_delivery else work()
            run.pin(manifest)
    except Exception as error:
        raise _record(error, uri, run.slug) from error
    return manifest


def wait_for_others(run: FlowRun[C], stage: Stage) -> Manifest | None:
    """Return the stage's finished attempt, or None if this run should start a job.

    While a job of another run is doing the work, wait for it, so that this run starts no job only to wait.
    """
    if run.forces(stage):
        return run.find_or_adopt(stage)
    found, _ = lease.wait(run.key_uri(stage), lambda: run.find_or_adopt(stage))
    return found


def _parts(run: FlowRun[C], stage: Stage, work: Callable[[Delivery], Manifest]) -> dict[str, Manifest]:
    """Do the parts of a stage that are not done yet, and return all parts by delivery."""
    parts = {}
    for delivery in run.deliveries:
        find = functools.partial(run.find_or_adopt_part, stage, delivery)
        with _lease(run, stage, run.part_key(stage, delivery), find) as part:
            if part is None:
                log.info("%s: delivery %s", stage.name, delivery.uri)
                part = work(delivery)
                run.pin(part, delivery)
        parts[delivery.name] = part
    return parts


def _lease(
    run: FlowRun[C], stage: Stage, key: str, find: Callable[[], Manifest | None]
) -> contextlib.AbstractContextManager[Manifest | None]:
    """Hold the lease of a key, or wait and find the work done; a forced run waits for no other."""
    if run.forces(stage):
        return contextlib.nullcontext(find())
    return lease.hold(layout.key_uri(run.root, stage.name, key), run.slug, find)


def attempt_uri(run: FlowRun[C], stage: Stage, attempt: str) -> str:
    """Return the folder of an attempt, where its `error.json` is; for a stage done by delivery, the collecting one."""
    return layout.attempt_uri(run.key_uri(stage), attempt)


def make_context(run: FlowRun[C], stage: Stage, attempt: str, delivery: Delivery | None = None) -> FlowContext[C]:
    """Return the context of a stage's body.

    Raises:
        DataError: The run has not done an input stage.
    """
    key = run.part_key(stage, delivery) if delivery else run.key(stage)
    key_uri = layout.key_uri(run.root, stage.name, key)
    names = [name for name in ALL_STAGES if name in stage.inputs or (name in stage.reads and run.has_pinned(name))]
    return FlowContext(
        run=run.view,
        config=cast(C, ConfigView(run.config, stage)),
        inputs=InputsView({name: run.pinned(name) for name in names}, stage),
        key=key,
        uri=layout.attempt_uri(key_uri, attempt),
        checkpoints=layout.checkpoints_uri(key_uri, run.slug),
        delivery=delivery,
    )


def _execute(
    run: FlowRun[C],
    stage: Stage,
    body: Callable[[FlowContext[C]], Result],
    attempt: str,
    supervision: Supervision,
    delivery: Delivery | None = None,
) -> Manifest:
    """Do a stage's work, or its part for one delivery, in a new attempt, and commit it."""
    started = datetime.datetime.now(datetime.UTC)
    context = make_context(run, stage, attempt, delivery)
    storage.write_json(layout.claim_uri(context.uri), {"run": run.slug, "job": identity()})
    result = body(context)
    sources = run.sources_of(stage, delivery) if delivery else run.sources
    manifest = Manifest(
        stage=stage.name,
        version=stage.version,
        key=context.key,
        attempt=attempt,
        uri=context.uri,
        config=run.config.part(stage.fields),
        inputs={name: context.inputs[name].uri for name in stage.inputs},
        sources={name: sources[name] for name in stage.sources},
        files=list_files(context.uri),
        metrics=result.metrics,
        ledger=result.ledger,
        versions=versions(),
        started=started.isoformat(),
        finished=datetime.datetime.now(datetime.UTC).isoformat(),
    )
    supervision.check()
    commit(layout.key_of_attempt(context.uri), manifest)
    check_claim(context.uri)
    storage.remove(context.checkpoints)
    return manifest


def _no_space(error: BaseException) -> str | None:
    """Return what an error says of a full disk or an exhausted quota, None if it is about something else.

    An error in one of Spark's tasks, in Python or in the JVM, arrives as the text of another exception.
    """
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
        return str(error)
    lines = str(error).splitlines()
    return next((line.strip() for line in lines if any(text in line for text in NO_SPACE)), None)


def _shortened(text: str) -> str:
    """Return the text of an error on one line, without the frames of Java's stack; of a long one, beginning and end."""
    lines = [line.strip() for line in text.splitlines()]
    told = " ".join(line for line in lines if line and not JAVA_FRAME.match(line))
    return told if len(told) <= 2 * SHOWN else f"{told[:SHOWN]} [...] {told[-SHOWN:]}"


def _record(error: Exception, uri: str, run: str) -> StageError:
    """Write the attempt's `error.json` and return the error as a `StageError`."""
    failure: StageError
    if isinstance(error, StageError):
        failure = error
    elif explained := explain(error):
        failure = explained
    elif isinstance(error, MemoryError):
        failure = ResourceError("The job ran out of memory.", "Give it more, or lower batch_size or chip_size.")
    elif told := _no_space(error):
        failure = ResourceError(
            f"No space left: {told.strip(' .:')}.",
            "Free space under the storage root, or where Spark's executors keep their shuffles, then clear the task.",
        )
    else:
        failure = TransientError(
            f"{type(error).__name__}: {_shortened(str(error))}", "The task's log has the full traceback."
        )
    content = {
        "run": run,
        "kind": failure.kind,
        "message": without_secrets(failure.message),
        "advice": failure.advice,
        "traceback": without_secrets("".join(traceback.format_exception(error))),
    }
    try:
        storage.write_json(layout.error_uri(uri), content)
    except Exception as unwritable:  # object stores' libraries raise other errors than OSError
        log.warning("Cannot write error.json: %s", explain(unwritable) or _shortened(str(unwritable)))
    return failure
