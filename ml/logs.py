"""How the command line and the Spark jobs log: our own lines in full, other packages' only where something is wrong."""

from __future__ import annotations

import logging


def log_to_stderr() -> None:
    """Log to standard error, which Airflow's task log takes in."""
    logging.basicConfig(level=logging.WARNING, format="%(asctime)s %(levelname)s %(message)s", datefmt="%H:%M:%S")
    for package in ("ml", "spark_jobs"):
        logging.getLogger(package).setLevel(logging.INFO)
