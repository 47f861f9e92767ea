"""Logging of the command line and the Spark jobs: everything from this project, only warnings from other packages."""

from __future__ import annotations

import logging


def log_to_stderr() -> None:
    """Log to standard error, which Airflow captures in the task's log."""
    logging.basicConfig(level=logging.WARNING, format="%(asctime)s %(levelname)s %(message)s", datefmt="%H:%M:%S")
    for package in ("ml", "spark_jobs"):
        logging.getLogger(package).setLevel(logging.INFO)
