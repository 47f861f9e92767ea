"""The page 'Try it': what the champion says about a photograph, asked of a child process that loads TensorFlow.

The photograph exists in the memory of the web server and of its child while it is answered, and nowhere else. Each
process of the web server has at most one child, which answers one photograph at a time and ends when nobody asks.
"""

from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
import threading
from dataclasses import asdict
from typing import Any

from ml.config.deployment import Deployment
from ml.config.prediction import PredictionConfig
from ml.errors import ConfigurationError
from ml.prediction.finding import Finding
from ml.prediction.run import newest_model
from ml.tracking.registry import Registry
from ml.workflow.layout import attempt_name
from open_images.web.report import about

log = logging.getLogger(__name__)
LARGEST = 15 << 20  # bytes of a photograph
SIGNATURES = {"image/jpeg": b"\xff\xd8\xff", "image/png": b"\x89PNG\r\n\x1a\n"}
COMMAND = (sys.executable, "-m", "ml.prediction.interactive")
ANSWER_SECONDS = 120.0  # the first answer waits for TensorFlow and the model
TURN_SECONDS = 20.0
IDLE_SECONDS = 600.0
LENGTH = 4  # bytes before each message, see `ml.prediction.interactive`


class BusyError(Exception):
    """Other photographs are being answered."""


class NoAnswerError(Exception):
    """The child process ended, or it was ended because it took too long."""


class Explainer:
    """Answers photographs with a child process, which it starts when needed.

    Args:
        answer_seconds: Time for one answer; a child that takes longer is ended.
        turn_seconds: Time that a photograph waits for others.
        idle_seconds: Time after the last answer until the child is ended, which frees its memory.
    """

    def __init__(
        self,
        answer_seconds: float = ANSWER_SECONDS,
        turn_seconds: float = TURN_SECONDS,
        idle_seconds: float = IDLE_SECONDS,
    ) -> None:
        self._answer_seconds, self._turn_seconds, self._idle_seconds = answer_seconds, turn_seconds, idle_seconds
        self._turn = threading.Lock()
        self._child: subprocess.Popen[bytes] | None = None
        self._idle: threading.Timer | None = None

    def ask(self, model: str, config: PredictionConfig, photograph: bytes) -> dict[str, Any]:
        """Return what the model says about a photograph: `ml.prediction.interactive.Reply` as JSON values.

        Raises:
            BusyError: Others have been asking all the time.
            NoAnswerError: The child ended, or took too long.
        """
        if not self._turn.acquire(timeout=self._turn_seconds):
            raise BusyError
        try:
            if self._idle:
                self._idle.cancel()
            decides = config.model_dump(include={"min_confidence", "max_risk"})
            request = {"model": model, **decides, "finding": asdict(Finding.of(config)), "bytes": len(photograph)}
            return self._exchange(json.dumps(request).encode(), photograph)
        finally:
            self._idle = threading.Timer(self._idle_seconds, self._end_if_idle)
            self._idle.daemon = True
            self._idle.start()
            self._turn.release()

    def _exchange(self, header: bytes, photograph: bytes) -> dict[str, Any]:
        child = self._running_child()
        assert child.stdin
        assert child.stdout
        watch = threading.Timer(self._answer_seconds, child.kill)
        watch.start()
        try:
            child.stdin.write(len(header).to_bytes(LENGTH, "big") + header + photograph)
            child.stdin.flush()
            length = int.from_bytes(child.stdout.read(LENGTH), "big")
            reply = json.loads(child.stdout.read(length))
        except (OSError, ValueError) as error:  # the pipe is broken, or ended early
            self.end()
            raise NoAnswerError from error
        finally:
            watch.cancel()
        return dict(reply)

    def _running_child(self) -> subprocess.Popen[bytes]:
        if self._child is None or self._child.poll() is not None:
            # It decodes what users send, so it must not know Airflow's secrets.
            environment = {name: value for name, value in os.environ.items() if not name.startswith("AIRFLOW")}
            self._child = subprocess.Popen(
                COMMAND, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=os.getcwd()
            )
        return self._child

    def _end_if_idle(self) -> None:
        if self._turn.acquire(blocking=False):
            try:
                self.end()
            finally:
                self._turn.release()

    def end(self) -> None:
        """End the child, if there is one."""
        child, self._child = self._child, None
        if child is not None:
            child.kill()
            child.wait()
            for pipe in (child.stdin, child.stdout):
                if pipe:
                    try:
                        pipe.close()
                    except OSError:  # what was not sent cannot be sent any more
                        log.debug("a pipe of the child was broken")


def current_model(deployment: Deployment) -> dict[str, Any] | None:
    """Return the model that predictions use: `train`, `model` and `number`, which is None if it is no champion.

    Return None if nothing was trained yet.
    """
    champion = Registry(deployment.storage, deployment.defaults).champion()
    try:
        train = champion.train if champion else newest_model(deployment.storage)
    except ConfigurationError:
        return None
    return {"train": train, "model": attempt_name(train), "number": champion.number if champion else None}


def introduction(deployment: Deployment) -> dict[str, Any]:
    """Return what the page shows before a photograph is chosen."""
    model = current_model(deployment)
    return {
        "about": about(deployment.defaults.chip_class, deployment.defaults.labels),
        "model": {name: model[name] for name in ("model", "number")} if model else None,
        "max_risk": deployment.prediction.max_risk,
        "largest": LARGEST,
    }
