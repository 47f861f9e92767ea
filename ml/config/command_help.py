"""The help of a command with the values in force, which are those of the deployment's file."""

from __future__ import annotations

import copy
import json
import os
from typing import Any, ClassVar

from typer.core import TyperCommand, TyperOption

from ml.config.parameter import FlowConfig
from ml.errors import ConfigurationError


class CommandInForce(TyperCommand):
    """A command whose help shows the values that its options have if they are not given.

    The deployment's file is read only when the help is asked for, so that a file with a fault spoils no other command.
    """

    flow: ClassVar[type[FlowConfig] | None] = None

    def format_help(self, ctx: Any, formatter: Any) -> None:
        """Write the help, with the values of the deployment's file in the descriptions of the options."""
        values, source = values_in_force(self.flow)
        plain, self.params = self.params, [_with_value(param, values) for param in self.params]
        self.epilog = source if self.params != plain else None
        try:
            super().format_help(ctx, formatter)
        finally:
            self.params = plain


def in_force(flow: type[FlowConfig] | None = None) -> type[CommandInForce]:
    """Return the class of a command whose options are parameters of a flow, of the deployment, or both."""

    class Command(CommandInForce):
        pass

    Command.flow = flow
    return Command


def values_in_force(flow: type[FlowConfig] | None) -> tuple[dict[str, Any], str]:
    """Return the values of parameters by name as JSON values, and a sentence that says where they are from."""
    from rich.markup import escape  # imported late, as is the deployment: few commands show their help

    from ml.config.deployment import DEPLOYMENT_VARIABLE, Deployment, load_deployment

    path = os.environ.get(DEPLOYMENT_VARIABLE)
    deployment, source = Deployment(), f"Defaults are the program's: {DEPLOYMENT_VARIABLE} names no deployment file."
    try:
        deployment = load_deployment()
    except ConfigurationError as error:
        source = f"Defaults are the program's, because the deployment file has a fault. {error}"
    else:
        if path:
            source = f"Defaults are those of {path}."
    values: dict[str, Any] = {"storage": deployment.storage}
    if flow:
        values |= deployment.of(flow).model_dump(mode="json")
    return values, escape(source)


def _with_value(param: Any, values: dict[str, Any]) -> Any:
    """Return an option with its value in the help; anything else, and an option that is empty, as it is."""
    if not isinstance(param, TyperOption) or values.get(param.name or "") is None:
        return param
    from rich.markup import escape

    value = values[param.name or ""]
    shown = value if isinstance(value, str) else json.dumps(value)
    changed = copy.copy(param)
    changed.help = f"{param.help} {escape(f'[default: {shown}]')}"
    return changed
