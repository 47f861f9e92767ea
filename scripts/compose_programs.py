"""What the programs of docker-compose.yaml are: whether they exist, where they listen, which variables they read."""

from __future__ import annotations

import ast
import importlib.util
import itertools
import re
import shutil
import sys
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

from compose_files import Service, read_yaml

PORT_OPTIONS = ("--port", "--webui-port")
# Components of Airflow: the ports on which they listen.
AIRFLOW = {"api-server": {8080}, "scheduler": set(), "dag-processor": set(), "triggerer": set()}
HEALTH_COMPONENTS = {"metadatabase", "scheduler", "dag_processor", "triggerer"}
MLFLOW_COMMANDS = {"server"}
# Read by our image whatever it runs: by this project, and by botocore.
OUR_VARIABLES = {"OPEN_IMAGES_CONFIG"}
BOTO_VARIABLES = {"AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_DEFAULT_REGION", "AWS_ENDPOINT_URL"}


@dataclass(frozen=True)
class Foreign:
    """What is known of an image that is not built here.

    Attributes:
        variables: The variables that it reads.
        programs: Programs in it that a health check may run.
        ports: Where it listens if no option says otherwise.
        folders: Where its data are, if no argument says so.
    """

    variables: frozenset[str]
    programs: frozenset[str]
    ports: frozenset[int] = frozenset()
    folders: frozenset[str] = field(default_factory=frozenset)


FOREIGN = {
    "postgres": Foreign(
        frozenset({"POSTGRES_USER", "POSTGRES_DB", "POSTGRES_PASSWORD"}),
        frozenset({"pg_isready"}),
        frozenset({5432}),
        frozenset({"/var/lib/postgresql/data", "/var/run/postgresql", "/tmp"}),
    ),
    "versity/versitygw": Foreign(
        frozenset({"ROOT_ACCESS_KEY", "ROOT_SECRET_KEY"}), frozenset({"wget"}), folders=frozenset({"/tmp"})
    ),
}


def listens(service: Service) -> set[int]:
    """Return the ports on which a service's program listens."""
    command = service.command
    ports = {
        int(value.lstrip(":"))
        for option, value in itertools.pairwise(command)
        if option in PORT_OPTIONS and value.lstrip(":").isdecimal()
    }
    if service.repository in FOREIGN:
        return ports or set(FOREIGN[service.repository].ports)
    if command[:1] == ("airflow",):
        return ports or AIRFLOW.get(command[1], set())
    return ports


def command_problems(root: Path, service: Service) -> Iterator[str]:
    """Yield what is wrong with the programs, files and classes that a command and a health check name."""
    if service.repository in FOREIGN:
        known = FOREIGN[service.repository].programs
        if service.healthcheck and service.healthcheck[0] not in known:
            yield f"its image has no program {service.healthcheck[0]} for a health check"
        return
    for words in filter(None, (service.command, service.healthcheck)):
        program, *arguments = words
        if not (Path(sys.executable).parent / program).exists() and not shutil.which(program):
            yield f"there is no program {program}"
        for argument in arguments:
            if argument.endswith(".py") and not ((root / argument).is_file() and copied(root, argument)):
                yield f"the image has no file {argument}"
            if argument.startswith("org.apache.spark.") and not spark_has(argument):
                yield f"Spark has no class {argument}"
        if program == "airflow" and arguments[0] not in AIRFLOW:
            yield f"airflow has no component {arguments[0]}"
        if program == "mlflow" and arguments[0] not in MLFLOW_COMMANDS:
            yield f"mlflow has no command {arguments[0]}"
        if arguments[0:1] == ["docker/healthcheck.py"] and not set(arguments[2:]) <= HEALTH_COMPONENTS:
            yield f"Airflow's health page has no {arguments[2]}"


def variable_problems(root: Path, service: Service) -> Iterator[str]:
    """Yield the variables that are set and not read, or read and not set."""
    read = read_by_programs(root, service)
    for name in sorted(read - set(service.environment)):
        yield f"its program reads {name}, which is not set"
    foreign = FOREIGN.get(service.repository)
    for name in service.environment:
        if foreign:
            known = name in foreign.variables
        elif name.startswith("AIRFLOW__"):
            known = name in airflow_variables()
        elif name.startswith("MLFLOW_"):
            known = name in read or name in mlflow_variables()
        else:
            known = name.startswith("AIRFLOW_CONN_") or name in OUR_VARIABLES | BOTO_VARIABLES | read
        if not known:
            yield f"no program reads the variable {name}"


def read_by_programs(root: Path, service: Service) -> set[str]:
    """Return the variables without which a program in `docker/` fails: `os.environ["NAME"]`."""
    names = set()
    for argument in service.command:
        if argument.endswith(".py") and (root / argument).is_file():
            for node in ast.walk(ast.parse((root / argument).read_text())):
                if isinstance(node, ast.Subscript) and ast.unparse(node.value) == "os.environ":
                    names.add(ast.literal_eval(node.slice))
    return names


def copied(root: Path, path: str) -> bool:
    """Return whether the Dockerfile copies a file into the image."""
    sources = {word for line in dockerfile(root) if line.startswith("COPY ") for word in line.split()[1:-1]}
    return any(path == source or path.startswith(f"{source}/") for source in sources)


def image_folders(root: Path) -> set[str]:
    """Return the folders that the Dockerfile makes for volumes."""
    text = "\n".join(dockerfile(root))
    return {folder for line in re.findall(r"mkdir -p (.*?)(?: \\)?$", text, re.M) for folder in line.split()}


def workdir(root: Path) -> str:
    """Return the folder of the project in the image."""
    return next(line.split()[1] for line in dockerfile(root) if line.startswith("WORKDIR "))


def dockerfile(root: Path) -> list[str]:
    """Return the lines of the Dockerfile."""
    return (root / "Dockerfile").read_text().splitlines()


@cache
def package(name: str) -> Path:
    """Return the folder of an installed package, without importing it."""
    spec = importlib.util.find_spec(name)
    if spec is None or not spec.submodule_search_locations:
        raise ModuleNotFoundError(f"{name} is not installed; run make setup")
    return Path(next(iter(spec.submodule_search_locations)))


@cache
def airflow_variables() -> frozenset[str]:
    """Return the variables of all of Airflow's options."""
    sections = read_yaml(package("airflow") / "config_templates" / "config.yml")
    return frozenset(
        f"AIRFLOW__{section}__{option}".upper()
        for section, content in sections.items()
        for option in content["options"]
    )


@cache
def mlflow_variables() -> frozenset[str]:
    """Return the variables that MLflow's sources name."""
    sources = [*(package("mlflow") / name for name in ("environment_variables.py", "utils/cli_args.py"))]
    sources += (package("mlflow") / "cli").glob("*.py")
    return frozenset(name for source in sources for name in re.findall(r'"(MLFLOW_\w+)"', source.read_text()))


@cache
def spark_has(name: str) -> bool:
    """Return whether one of Spark's core jars has a class."""
    entry = name.replace(".", "/") + ".class"
    return any(
        entry in zipfile.ZipFile(jar).namelist() for jar in (package("pyspark") / "jars").glob("spark-core_*.jar")
    )
