"""Options that several commands have."""

from __future__ import annotations

import uuid
from typing import Annotated

import typer

StorageOption = Annotated[str | None, typer.Option("--storage", metavar="<path or URI>", help="Storage root.")]
RunIdOption = Annotated[
    str | None, typer.Option("--run-id", metavar="<text>", help="Name of the run; by default a new one.")
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON, for programs.")]
AttemptOption = Annotated[
    str | None, typer.Option("--attempt", help="Name of the attempt; by default a new one.", hidden=True)
]
RUN_HELP = "Id of a run, the name of its folder, or the folder's path or URI."
MODEL_HELP = "champion, previous, the number of a version, the id of a run, or a path."


def run_uri(name: str) -> str:
    """Return the folder of the run that an option names.

    Raises:
        ConfigurationError: There is no such run. The message lists the newest ones.
    """
    from ml.config.deployment import load_deployment
    from ml.workflow.find import find_run

    return find_run(load_deployment().storage, name)


def new_run_id() -> str:
    """Return a new id for a run from the command line."""
    return f"shell-{uuid.uuid4().hex[:8]}"
