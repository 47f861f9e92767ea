"""Check docker-compose.yaml without Docker: everything that it names exists and agrees.

`python scripts/compose_check.py` prints what is wrong: services, variables, ports, volumes, images, programs and files
that are misspelled or that contradict each other, for each profile and each override. `make lint` runs it.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

from compose_files import EXAMPLE, MAIN, PROFILES, REFERENCE, Service, Stack, example, files, read_yaml, stacks
from compose_programs import (
    FOREIGN,
    command_problems,
    copied,
    image_folders,
    listens,
    variable_problems,
    workdir,
)

ROOT = Path(__file__).resolve().parent.parent
ADDRESS = re.compile(r"(?P<scheme>[a-z][a-z0-9+]*)://(?:[^\s/@\"]*@)?(?P<host>[\w.-]+)(?::(?P<port>\d+))?")
DEFAULT_PORTS = {"postgresql+psycopg2": 5432, "http": 80, "https": 443, "spark": 7077}
LOOPBACK = ("127.0.0.1", "localhost")
FULL_VERSION = re.compile(r":v?\d+\.\d+[\w.-]*(@sha256:[0-9a-f]{64})?$|@sha256:[0-9a-f]{64}$")
CONFIG = "OPEN_IMAGES_CONFIG"


def main() -> None:
    problems = check(ROOT)
    print("\n".join(problems) or "docker-compose.yaml and what it names agree.")
    sys.exit(bool(problems))


def check(root: Path) -> list[str]:
    """Return what is wrong with the compose files of a project, each problem once."""
    problems = [*references(root), *overrides(root)]
    if problems:  # without which the rest cannot be read
        return problems
    for stack in stacks(root):
        problems += [problem for rule in RULES for problem in rule(root, stack)]
    return list(dict.fromkeys(problems))


def references(root: Path) -> Iterator[str]:
    """Check that the files and `.env.example` have the same variables, with the same defaults."""
    known, used = example(root), {PROFILES}
    for path in files(root):
        for match in REFERENCE.finditer(path.read_text()):
            name, default = match["name"], match["operand"] if match["operator"] == ":-" else None
            used.add(name)
            if name not in known:
                yield f"{path.name}: {EXAMPLE} has no variable {name}"
            elif match["operator"] != ":+" and known[name] != default:
                yield f"{path.name}: {name} has the default {default}, and in {EXAMPLE} {known[name]}"
    for name in sorted(set(known) - used):
        yield f"{EXAMPLE}: no file uses the variable {name}"


def overrides(root: Path) -> Iterator[str]:
    """Check that overrides change services, and add none."""
    main, *others = (read_yaml(path)["services"] for path in files(root))
    for path, services in zip(files(root)[1:], others, strict=True):
        for name in sorted(set(services) - set(main)):
            yield f"{path.name} changes {name}, which is no service of {MAIN}"


def dependencies(root: Path, stack: Stack) -> Iterator[str]:
    """Check that what a service waits for exists, can come to pass, and is there with the service's profiles."""
    for service in stack.services.values():
        for name, (condition, required) in service.waits.items():
            other = stack.services.get(name)
            if other is None:
                yield f"{service.name} waits for {name}, which is no service"
            elif condition == "service_healthy" and not other.healthcheck:
                yield f"{service.name} waits for the health of {name}, which has no health check"
            elif other.profiles and not (service.profiles and service.profiles <= other.profiles) and required:
                yield f"{service.name} requires {name}, which is off without the profile {min(other.profiles)}"


def addresses(root: Path, stack: Stack) -> Iterator[str]:
    """Check the host and the port of each address in variables, commands, health checks and deployment files."""
    published = {port for service in stack.services.values() for _, port, _ in service.published}
    for service in stack.services.values():
        if service.hostname not in ("", service.name):
            yield f"{service.name} calls itself {service.hostname}"
        try:
            texts = list(_texts(root, service))
        except ValueError as error:
            yield f"{service.name} has a connection that is no JSON: {error}"
            continue
        for text, is_health in texts:
            for match in ADDRESS.finditer(text):
                scheme, host = match["scheme"], match["host"]
                if scheme == "s3":
                    continue
                port = int(match["port"] or DEFAULT_PORTS.get(scheme, 0))
                if host not in LOOPBACK:
                    yield from _reached(stack, service, host, port)
                elif port not in (listens(service) if is_health else published):
                    yield f"{service.name} names {match[0]}, where nothing listens"


def _texts(root: Path, service: Service) -> Iterator[tuple[str, bool]]:
    """Yield the texts of a service in which addresses are, and whether each is of its health check."""
    for word in service.healthcheck:
        yield word, True
    for value in service.environment.values():
        if value.startswith("{"):  # an Airflow connection
            connection = json.loads(value)
            if "port" in connection:
                yield f"{connection['host']}:{connection['port']}", False
        yield re.sub(r'"host":"[^"]*"', "", value), False
    command = iter(service.command)
    for word in command:
        yield word, False
        if word == "--host" and (host := next(command)) != "0.0.0.0":
            yield f"http://{host}:{min(listens(service))}", False
        if word == "--allowed-hosts":
            yield from ((f"http://{host}", False) for host in next(command).split(","))
    if deployment := _deployment(root, service):
        yield str(deployment.get("mlflow", "")), False


def _reached(stack: Stack, service: Service, host: str, port: int) -> Iterator[str]:
    other = stack.services.get(host)
    if other is None:
        yield f"{service.name} names {host}, which is no service"
    elif port not in listens(other):
        yield f"{service.name} names port {port} of {host}, which listens on {sorted(listens(other))}"


def ports(root: Path, stack: Stack) -> Iterator[str]:
    """Check that published ports are bound to loopback, are free of each other, and lead to a program."""
    taken: dict[int, str] = {}
    for service in stack.services.values():
        for address, port, target in service.published:
            if address != "127.0.0.1":
                yield f"{service.name} publishes a port on {address}"
            if target not in listens(service):
                yield f"{service.name} publishes its port {target}, and listens on {sorted(listens(service))}"
            if taken.setdefault(port, service.name) != service.name:
                yield f"{service.name} and {taken[port]} both publish port {port}"


def volumes(root: Path, stack: Stack) -> Iterator[str]:
    """Check that volumes are declared and used, that their folders are in the image, and what is written is on one."""
    used = set()
    for service in stack.services.values():
        foreign = FOREIGN.get(service.repository)
        folders = (foreign.folders | set(service.command)) if foreign else image_folders(root)
        for mount in service.mounts:
            if mount.is_volume:
                used.add(mount.source)
                if mount.source not in stack.volumes:
                    yield f"{service.name} mounts the volume {mount.source}, which is not declared"
            elif mount.source and not mount.source.startswith("./var/") and not (root / mount.source).exists():
                yield f"{service.name} mounts {mount.source}, which does not exist"
            if mount.target not in folders:
                yield f"{service.name} mounts something on {mount.target}, which its image does not have"
        writable = (*(mount.target for mount in service.mounts), *service.tmpfs, workdir(root))
        for text in (*service.command, *service.environment.values()):
            if text.startswith("/") and not text.startswith(writable):
                yield f"{service.name} names {text}, which is on none of its volumes"
    for name in sorted(stack.volumes - used):
        yield f"no service mounts the volume {name}"


def images(root: Path, stack: Stack) -> Iterator[str]:
    """Check that images are built here or pinned, and that services agree about the version of an image."""
    tags: dict[str, str] = {}
    for service in stack.services.values():
        if not service.is_built:
            if service.repository not in FOREIGN:
                yield f"{service.name} runs {service.image}, which is neither built here nor known"
            if not FULL_VERSION.search(service.image):
                yield f"{service.name} runs {service.image}, which names no full version"
        if tags.setdefault(service.repository, service.image) != service.image:
            yield f"{service.name} runs {service.image}, and another service {tags[service.repository]}"


def programs(root: Path, stack: Stack) -> Iterator[str]:
    """Check commands, health checks and the names of variables."""
    for service in stack.services.values():
        for problem in (*command_problems(root, service), *variable_problems(root, service)):
            yield f"{service.name}: {problem}"


def deployments(root: Path, stack: Stack) -> Iterator[str]:
    """Check the deployment file of the profile: the image has it, and its folders, bucket and connection exist."""
    buckets = {
        service.command[2] for service in stack.services.values() if "docker/make_bucket.py" in service.command[1:2]
    }
    for service in stack.services.values():
        matches = [match for word in service.command for match in ADDRESS.finditer(word)]
        wanted = {match["host"] for match in matches if match["scheme"] == "s3"}
        deployment = _deployment(root, service)
        if deployment is None:
            yield f"{service.name} names {service.environment[CONFIG]}, which is not in the image"
        for key in ("storage", "release"):
            place = (deployment or {}).get(key, "")
            if place.startswith("s3://"):
                wanted.add(place.split("/")[2])
            elif place and place not in {mount.target for mount in service.mounts}:
                yield f"{service.name} mounts nothing on {place}, the {key} of its deployment file"
        connection = (deployment or {}).get("object_store_connection")
        if connection and f"AIRFLOW_CONN_{connection.upper()}" not in service.environment:
            yield f"{service.name} has no connection {connection}, which its deployment file names"
        for bucket in sorted(wanted - buckets):
            yield f"{service.name} uses the bucket {bucket}, and {sorted(buckets)} is made"


def _deployment(root: Path, service: Service) -> dict[str, str] | None:
    """Read the deployment file of a service; empty without one, None if the image does not have it."""
    if CONFIG not in service.environment:
        return {}
    path = service.environment[CONFIG].removeprefix(f"{workdir(root)}/")
    if not copied(root, path) or not (root / path).is_file():
        return None
    return dict(read_yaml(root / path))


RULES: tuple[Callable[[Path, Stack], Iterator[str]], ...] = (
    *(dependencies, addresses, ports, volumes, images, programs, deployments),
)

if __name__ == "__main__":
    main()
