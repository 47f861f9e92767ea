"""The services of docker-compose.yaml as processes, without an engine.

Each has namespaces of its own, as a container has: a network with an address, a host name, and what the file mounts.
Commands, variables, mounts, health checks and the order of starting are those of the file. Images are not: programs
come from this machine, so neither the Dockerfile nor users, limits and read-only roots are tried.
"""

from __future__ import annotations

import contextlib
import os
import re
import shlex
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import compose_files
import make_env
from compose_files import Service
from ml.java import java_home
from support.airflow_root import ROOT
from support.daemons import Daemon, started

NETWORK = "10.203.0"
SCRATCH = "/scratch"
HOME = "/opt/open-images-faces"  # WORKDIR of the Dockerfile
POSTGRES = "postgres"


@dataclass
class Containers:
    """Running services.

    Attributes:
        folder: Holds their volumes and logs.
        secrets: The secrets in the variables of the file.
        addresses: IP addresses by service.
        daemons: The services that stay, by name.
    """

    folder: Path
    secrets: Mapping[str, str]
    addresses: dict[str, str] = field(default_factory=dict)
    daemons: dict[str, Daemon] = field(default_factory=dict)

    def url(self, service: str, port: int) -> str:
        """Return the address of a service's server, by its name: MLflow refuses requests under others."""
        return f"http://{service}:{port}"

    def start_ended(self) -> list[str]:
        """Start the services that have ended, as the file's `restart: unless-stopped` does; return their names."""
        ended = [name for name, daemon in self.daemons.items() if not daemon.running()]
        for name in ended:
            self.daemons[name].start()
        return ended

    def volume(self, name: str) -> Path:
        """Return the folder of a volume."""
        return self.folder / "volumes" / name

    def logs(self) -> str:
        """Return the end of what each service printed."""
        return "\n".join(f"--- {log.stem}\n{log.read_text(errors='replace')[-1500:]}" for log in self._logs())

    def _logs(self) -> list[Path]:
        return sorted((self.folder / "logs").glob("*.log"))


def image_variables() -> dict[str, str]:
    """Return the variables that the Dockerfile sets, with the paths of this machine for those of the image."""
    text = re.sub(r"^\s*#.*\n", "", (ROOT / "Dockerfile").read_text(), flags=re.M).replace("\\\n", " ")
    found: dict[str, str] = {}
    for line in re.findall(r"^ENV (.*)$", text, re.M):
        found.update(part.split("=", 1) for part in shlex.split(line))
    # .venv/bin, and not where the link to Python leads.
    programs = str(Path(sys.executable).parent)
    path = f"{programs}:{os.environ['PATH']}"
    python = {"PYSPARK_PYTHON": sys.executable, "PYSPARK_DRIVER_PYTHON": sys.executable}
    return found | python | {"PATH": path, "JAVA_HOME": str(java_home()), "LANG": "C.UTF-8"}


@contextlib.contextmanager
def containers(folder: Path, release: Path, profile: str, store: Path, ivy: Path) -> Iterator[Containers]:
    """Start all services of a profile in their order, and end them.

    Call it where this process has mount and network namespaces of its own (scripts/stack_test.py).

    Args:
        folder: Readable by every user, since PostgreSQL does not run as root.
        release: For the variable RELEASE.
        profile: For the variable COMPOSE_PROFILES.
        store: The program of the S3 store.
        ivy: Spark's packages for S3, fetched before: there is no way out of the namespaces.
    """
    secrets = {name: make_env.secret(name) for name, default in compose_files.example(ROOT).items() if default is None}
    stack = compose_files.load(ROOT, (ROOT / compose_files.MAIN,), profile, {**secrets, "RELEASE": str(release)})
    services = {s.name: s for s in stack.services.values() if not s.profiles or profile in s.profiles}
    running = Containers(folder, secrets)
    for name in ("logs", "volumes", "scratch"):
        (folder / name).mkdir()
    _make_network(running, services)
    with contextlib.ExitStack() as ended:
        for folder_ in _mount_points(services):
            ended.callback(shutil.rmtree, folder_, ignore_errors=True)
        for service in _in_order(services):
            if service.name == "scheduler":
                shutil.copytree(ivy, running.folder / "scratch" / "scheduler" / "ivy")
            daemon = _daemon(running, service, store)
            if service.name in _awaited_to_end(services):
                subprocess.run(daemon.command, env=dict(daemon.environment), check=True, timeout=300)
            else:
                running.daemons[service.name] = daemon
                ended.enter_context(started(daemon))
        yield running


def _make_network(running: Containers, services: Mapping[str, Service]) -> None:
    """Connect a network namespace for each service by a bridge, with a hosts file for their names."""
    Path("/var/run/netns").mkdir(exist_ok=True)
    commands = [
        "mount -t tmpfs none /var/run/netns",
        f"ip link add name stack type bridge && ip addr add {NETWORK}.1/24 dev stack && ip link set stack up",
    ]
    for number, name in enumerate(services, start=2):
        running.addresses[name] = f"{NETWORK}.{number}"
        commands += [
            f"ip netns add {name}",
            f"ip link add stack{number} type veth peer name eth0 netns {name}",
            f"ip link set stack{number} master stack up",
            f"ip -n {name} addr add {running.addresses[name]}/24 dev eth0",
            f"ip -n {name} link set eth0 up && ip -n {name} link set lo up",
        ]
    # Added to the machine's own names: Java does not start where that of the machine itself has no address.
    lines = [f"{address} {name}\n" for name, address in running.addresses.items()]
    (running.folder / "hosts").write_text(Path("/etc/hosts").read_text() + "".join(lines))
    commands.append(f"mount --bind {running.folder / 'hosts'} /etc/hosts")
    subprocess.run(["sh", "-ec", "\n".join(commands)], check=True)


def _mount_points(services: Mapping[str, Service]) -> list[Path]:
    """Make the folders that the file mounts to, and return those that were not there."""
    targets = {HOME, SCRATCH, *(mount.target for service in services.values() for mount in service.mounts)}
    missing = [Path(target) for target in sorted(targets) if not Path(target).exists()]
    for target in missing:
        target.mkdir(parents=True, exist_ok=True)
    return missing


def _awaited_to_end(services: Mapping[str, Service]) -> set[str]:
    waits = (wait for service in services.values() for wait in service.waits.items())
    return {name for name, (condition, _) in waits if condition == "service_completed_successfully"}


def _in_order(services: Mapping[str, Service]) -> list[Service]:
    """Return the services so that each comes after those that it waits for."""
    ordered: list[Service] = []
    while len(ordered) < len(services):
        names = {service.name for service in ordered}
        for service in services.values():
            if service.name not in names and set(service.waits) & set(services) <= names:
                ordered.append(service)
                break
        else:
            raise AssertionError("services wait for each other")
    return ordered


def _daemon(running: Containers, service: Service, store: Path) -> Daemon:
    """Return the process of a service, which runs its health check where the service itself would run it."""
    scratch = running.folder / "scratch" / service.name
    scratch.mkdir(exist_ok=True)
    sources = {mount.target: _source(running, mount.source, scratch) for mount in service.mounts}
    binds = {HOME: ROOT, **sources} if service.is_built else sources
    setup = [f"hostname {service.hostname or service.name}"]
    setup += [f"mount --bind {shlex.quote(str(source))} {target}" for target, source in binds.items()]
    if service.is_built:
        setup.append(f"cd {HOME}")
    command = list(service.command)
    if service.name == POSTGRES:
        command = _postgres(running, service)
    elif service.name == "store":
        command = [str(store), *command]
    within = ["ip", "netns", "exec", service.name]
    script = "\n".join([*setup, 'exec "$@"'])
    environment = {**(image_variables() if service.is_built else dict(os.environ)), **service.environment}
    if service.name == POSTGRES:
        environment["PGHOST"] = "127.0.0.1"  # for the check, which does not see the service's own folders
    check = [*within, "sh", "-c", f'cd {ROOT} && exec "$@"', "sh", *service.healthcheck]

    def healthy() -> bool:
        time.sleep(0.5)
        return not subprocess.run(check, env=environment, capture_output=True, timeout=60).returncode

    return Daemon(
        service.name,
        [*within, "unshare", "--mount", "--uts", "sh", "-ec", script, "sh", *command],
        environment,
        running.folder / "logs" / f"{service.name}.log",
        healthy,
    )


def _source(running: Containers, source: str, scratch: Path) -> Path:
    """Return the folder behind a mount: a volume, a folder of this machine, or one for the service alone."""
    if not source:
        return scratch
    path = Path(source) if source.startswith("/") else running.volume(source)
    path.mkdir(parents=True, exist_ok=True)
    return path


def _postgres(running: Containers, service: Service) -> list[str]:
    """Make a cluster as the image's entry point does, and return the command of its server."""
    programs = max(Path("/usr/lib/postgresql").glob("*/bin"))
    data, password = running.volume(POSTGRES), running.folder / "password"
    password.write_text(service.environment["POSTGRES_PASSWORD"])
    for path in (data, password):
        shutil.chown(path, POSTGRES)
    user = service.environment["POSTGRES_USER"]
    make = [f"{programs}/initdb", "-D", str(data), "-U", user, f"--pwfile={password}", "-A", "scram-sha-256"]
    as_user = ["setpriv", f"--reuid={POSTGRES}", "--clear-groups"]
    subprocess.run([*as_user, *make], check=True, capture_output=True)
    single = [*as_user, f"{programs}/postgres", "--single", "-D", str(data), "postgres"]
    create = f"CREATE DATABASE {service.environment['POSTGRES_DB']};\n"
    subprocess.run(single, input=create.encode(), check=True, capture_output=True)
    with (data / "pg_hba.conf").open("a") as file:
        file.write(f"host all all {NETWORK}.0/24 scram-sha-256\n")
    server = [f"{programs}/postgres", "-D", str(data), "-h", "*", "-c", f"unix_socket_directories={data}"]
    return [*as_user, *server]
