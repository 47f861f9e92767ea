"""Compare the locked packages with the known vulnerabilities at osv.dev: `make audit`.

`security/audit-exceptions.yaml` lists the vulnerabilities that are accepted until a day, each with the reason. The
audit fails on a vulnerability that is not listed, on an exception past its day, and on one for a package that is no
longer locked. Where osv.dev cannot be reached, it says NOT AUDITED and checks the exceptions only.
"""

from __future__ import annotations

import datetime
import json
import subprocess
import sys
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer
import yaml
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

ROOT = Path(__file__).resolve().parent.parent
UV = ROOT / ".tools" / "uv" / "bin" / "uv"
EXCEPTIONS = "security/audit-exceptions.yaml"
SERVICE = "https://api.osv.dev"
SECONDS = 600


class AuditException(BaseModel):
    """A vulnerability that is accepted for a while.

    Attributes:
        id: Its id, or one of its other names, such as its CVE.
        package: The package.
        reason: Why it is accepted.
        until: The last day of the exception.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    id: Annotated[str, Field(min_length=1)]
    package: Annotated[str, Field(min_length=1)]
    reason: Annotated[str, Field(min_length=10)]
    until: datetime.date


class Dependency(BaseModel):
    """A locked package."""

    name: str
    version: str


class Vulnerability(BaseModel):
    """A known vulnerability of a locked package, as `uv audit` tells it."""

    dependency: Dependency
    id: str
    aliases: list[str] = []
    summary: str | None = None
    fix_versions: list[str] = []

    def is_named(self, exception: AuditException) -> bool:
        """Return whether an exception names this vulnerability of this package."""
        return exception.package == self.dependency.name and exception.id in (self.id, *self.aliases)

    def __str__(self) -> str:
        names, fixed = ", ".join([self.id, *self.aliases]), ", ".join(self.fix_versions) or "no version"
        return f"{self.dependency.name} {self.dependency.version}: {names}: {self.summary or ''} (fixed in: {fixed})"


@dataclass(frozen=True)
class Audit:
    """The outcome of an audit.

    Attributes:
        packages: Number of packages that were compared.
        found: Their vulnerabilities.
    """

    packages: int
    found: list[Vulnerability]


class NotAuditedError(Exception):
    """The service cannot be asked; the message says why."""


def main(
    service: Annotated[str, typer.Option(help="Address of a service that speaks OSV's protocol.")] = SERVICE,
    project: Annotated[Path, typer.Option(help="Folder of pyproject.toml, uv.lock and the exceptions.")] = ROOT,
    uv: Annotated[Path, typer.Option(help="The program uv.")] = UV,
) -> None:
    """Audit the locked packages; exit 1 on a vulnerability or on a wrong exception."""
    exceptions = read_exceptions(project / EXCEPTIONS)
    faults = wrong_exceptions(exceptions, locked_packages(project / "uv.lock"), datetime.datetime.now(datetime.UTC))
    try:
        audit = ask(service, project, uv)
    except NotAuditedError as error:
        typer.echo(f"audit: NOT AUDITED: {service} cannot be asked: {error}", err=True)
    else:
        faults += [str(each) for each in audit.found if not any(map(each.is_named, exceptions))]
        typer.echo(
            f"audit: {audit.packages} packages, {len(audit.found)} known vulnerabilities, {len(exceptions)} exceptions"
        )
    for fault in faults:
        typer.echo(f"audit: {fault}", err=True)
    if faults:
        raise typer.Exit(1)


def read_exceptions(file: Path) -> list[AuditException]:
    """Read the list of exceptions.

    Raises:
        SystemExit: An entry is invalid.
    """
    try:
        return TypeAdapter(list[AuditException]).validate_python(yaml.safe_load(file.read_text()) or [])
    except (ValidationError, yaml.YAMLError) as error:
        sys.exit(f"audit: {file}: {error}")


def locked_packages(lock: Path) -> set[str]:
    """Return the names of the locked packages."""
    return {package["name"] for package in tomllib.loads(lock.read_text())["package"]}


def wrong_exceptions(exceptions: list[AuditException], locked: set[str], now: datetime.datetime) -> list[str]:
    """Return what is wrong with the exceptions: past their day, or for a package that is not locked."""
    past = [each for each in exceptions if each.until < now.date()]
    unused = [each for each in exceptions if each.package not in locked]
    return [
        *(f"The exception {each.id} of {each.package} ended on {each.until}: update the package." for each in past),
        *(f"The exception {each.id} is for {each.package}, which is not locked: remove it." for each in unused),
    ]


def ask(service: str, project: Path, uv: Path) -> Audit:
    """Compare all locked packages, with those of all groups, with a service's vulnerabilities.

    Raises:
        NotAuditedError: The service cannot be reached.
    """
    features = "audit-command,json-output"
    command = [uv, "audit", "--frozen", "--preview-features", features, "--output-format", "json"]
    try:
        done = subprocess.run(
            [*map(str, command), "--service-url", service],
            cwd=project,
            capture_output=True,
            text=True,
            timeout=SECONDS,
            check=False,
        )
        content = json.loads(done.stdout)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise NotAuditedError(str(error)) from error
    except json.JSONDecodeError as error:  # uv writes JSON only if the service has answered
        raise NotAuditedError(" ".join(done.stderr.split())) from error
    found = TypeAdapter(list[Vulnerability]).validate_python(content["vulnerabilities"])
    return Audit(content["summary"]["audited_packages"], found)


if __name__ == "__main__":
    typer.run(main)
