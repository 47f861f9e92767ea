"""Read docker-compose.yaml and its overrides as Docker Compose does: merged, interpolated, a profile on or off."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

MAIN = "docker-compose.yaml"
EXAMPLE = ".env.example"
PROFILES = "COMPOSE_PROFILES"
REFERENCE = re.compile(r"\$\{(?P<name>\w+)(?P<operator>:[-?+])?(?P<operand>[^}]*)\}")
REPLACED = ("command", "test")  # lists that an override replaces; it appends to others


@dataclass(frozen=True)
class Mount:
    """A volume, a file or a folder in a container; an anonymous volume has no source."""

    source: str
    target: str

    @property
    def is_volume(self) -> bool:
        """Whether the source names a volume of the file."""
        return bool(self.source) and not self.source.startswith((".", "/"))


@dataclass(frozen=True)
class Service:
    """A service of the merged file, with its variables replaced.

    Attributes:
        name: Its name, which is its address for other services.
        image: Name and tag of its image.
        is_built: Whether its image is built here.
        hostname: Its own name for itself; empty if it has the container's.
        command: The program and its arguments.
        healthcheck: The program that checks it, and its arguments.
        environment: Its variables.
        mounts: What is mounted where.
        tmpfs: Folders in memory.
        published: Ports as `address:port:target`.
        profiles: Profiles that it needs to be on.
        waits: The services that it waits for: condition, and whether they are required.
    """

    name: str
    image: str
    is_built: bool
    hostname: str
    command: tuple[str, ...]
    healthcheck: tuple[str, ...]
    environment: Mapping[str, str]
    mounts: tuple[Mount, ...]
    tmpfs: tuple[str, ...]
    published: tuple[tuple[str, int, int], ...]
    profiles: frozenset[str]
    waits: Mapping[str, tuple[str, bool]]

    @property
    def repository(self) -> str:
        """The image without its tag and digest."""
        return re.split("[:@]", self.image)[0]


@dataclass(frozen=True)
class Stack:
    """The services and the declared volumes, for one choice of overrides and profile."""

    services: Mapping[str, Service]
    volumes: frozenset[str]


def files(root: Path) -> list[Path]:
    """List the file and its overrides."""
    return [root / MAIN, *sorted(set(root.glob("docker-compose.*.yaml")))]


def example(root: Path) -> dict[str, str | None]:
    """Read the variables of `.env.example`: None for those to fill in, else the default that a comment shows."""
    text = (root / EXAMPLE).read_text()
    found: dict[str, str | None] = dict(re.findall(r"^# ([A-Z_0-9]+)=(.*)$", text, re.M))
    return found | dict.fromkeys(re.findall(r"^(\w+)=", text, re.M))


def stacks(root: Path) -> Iterator[Stack]:
    """Yield the stack for each profile and for none, without overrides and with each of them."""
    main, *overrides = files(root)
    services = read_yaml(main)["services"].values()
    profiles = sorted({profile for service in services for profile in service.get("profiles", [])})
    for profile in ("", *profiles):
        for chosen in ((main,), *((main, override) for override in overrides)):
            yield load(root, chosen, profile)


def load(root: Path, chosen: tuple[Path, ...], profile: str = "", known: Mapping[str, str] | None = None) -> Stack:
    """Merge files and replace their variables; a secret that is not known becomes `secret`."""
    values = {name: "secret" if default is None else default for name, default in example(root).items()}
    values |= {PROFILES: profile, **(known or {})}
    content: Any = {}
    for path in chosen:
        content = _merge(content, read_yaml(path))
    content = _replace(content, values)
    services = {name: _service(name, service) for name, service in content["services"].items()}
    return Stack(services, frozenset(content.get("volumes", {})))


def read_yaml(path: Path) -> Any:
    """Read a YAML file, with PyYAML's loader in C where it is installed."""
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)(path.read_bytes())
    try:
        return loader.get_single_data()
    finally:
        loader.dispose()


def interpolate(text: str, values: Mapping[str, str]) -> str:
    """Replace `${NAME}`, `${NAME:-default}`, `${NAME:?message}` and `${NAME:+replacement}`."""

    def value(match: re.Match[str]) -> str:
        found = values.get(match["name"], "")
        if match["operator"] == ":+":
            return match["operand"] if found else ""
        return found or (match["operand"] if match["operator"] == ":-" else "")

    return REFERENCE.sub(value, text)


def _replace(value: Any, values: Mapping[str, str]) -> Any:
    if isinstance(value, dict):
        return {key: _replace(item, values) for key, item in value.items()}
    if isinstance(value, list):
        return [_replace(item, values) for item in value]
    return interpolate(value, values) if isinstance(value, str) else value


def _merge(base: Any, other: Any, key: str = "") -> Any:
    if isinstance(base, dict) and isinstance(other, dict):
        return base | {name: _merge(base.get(name), item, name) for name, item in other.items()}
    if isinstance(base, list) and isinstance(other, list) and key not in REPLACED:
        return base + other
    return other


def _service(name: str, content: dict[str, Any]) -> Service:
    return Service(
        name=name,
        image=content["image"],
        is_built="build" in content,
        hostname=content.get("hostname", ""),
        command=tuple(map(str, content.get("command", ()))),
        healthcheck=tuple(content.get("healthcheck", {}).get("test", ()))[1:],
        environment={key: str(value) for key, value in content.get("environment", {}).items()},
        mounts=tuple(map(_mount, content.get("volumes", ()))),
        tmpfs=tuple(entry.split(":")[0] for entry in content.get("tmpfs", ())),
        published=tuple(map(_port, content.get("ports", ()))),
        profiles=frozenset(content.get("profiles", ())),
        waits={
            other: (wait["condition"], wait.get("required", True))
            for other, wait in content.get("depends_on", {}).items()
        },
    )


def _mount(entry: str) -> Mount:
    source, _, rest = entry.partition(":")
    return Mount(source, rest.split(":")[0]) if rest else Mount("", source)


def _port(entry: str) -> tuple[str, int, int]:
    address, port, target = entry.rsplit(":", 2)
    return address, int(port), int(target)
