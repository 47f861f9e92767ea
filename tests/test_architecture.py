"""Arrows point down, between floors and between packages of ml; modules are short; workers load nothing heavy."""

import ast
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
FLOW_NAMES = ("training", "prediction", "landing", "ingest", "promotion", "comparison", "maintenance", "sweep")
DAGS = {f"open_images_{name}" for name in FLOW_NAMES}
FLOORS = {
    "ml": {"spark_jobs", "open_images", *DAGS, "pyspark", "airflow"},
    "spark_jobs": {"open_images", *DAGS, "airflow", "tensorflow", "keras"},
    "plugins": {*DAGS, "pyspark", "tensorflow", "keras"},
    "dags": {"pyspark", "tensorflow", "keras", "cv2", "mlflow"},
}


def imported(file):
    """The top-level names of all modules that a file imports, inside functions too."""
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name.split(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module.split(".")[0]


@pytest.mark.parametrize("floor", FLOORS)
def test_no_floor_imports_one_above_it(floor):
    for file in (ROOT / floor).rglob("*.py"):
        assert not FLOORS[floor] & set(imported(file)), file


# Which packages and single modules of ml each one imports. A new arrow is a decision: it must point downward.
ARROWS = {
    "errors": set(),
    "guards": {"errors"},
    "java": {"errors"},
    "class_data": set(),
    "environment": {"errors"},
    "logs": set(),
    "quiet": set(),
    "redaction": set(),
    "hosts": set(),
    "object_store": {"errors"},
    "hdfs": set(),
    "store_faults": {"errors"},
    "storage": {"errors", "hdfs", "hosts", "object_store"},
    "disk": {"errors", "storage"},
    "flow": {"storage"},
    "config": {"errors", "flow", "redaction", "storage"},
    "photographs": {"disk", "errors", "flow", "storage"},
    "release": {"config", "errors", "photographs", "storage"},
    "download": {
        "config",
        "disk",
        "errors",
        "flow",
        "hosts",
        "photographs",
        "release",
        "storage",
        "vision",
        "workflow",
    },
    "vision": {"errors"},
    "networks": {"errors", "storage"},
    "workflow": {"config", "errors", "flow", "photographs", "redaction", "release", "storage", "store_faults"},
    "features": {"errors", "flow", "guards", "photographs", "release", "storage", "workflow"},
    "metrics": {"errors", "features", "flow"},
    "model": {"errors", "flow", "guards", "metrics", "storage", "vision", "workflow"},
    "training": {"config", "errors", "features", "flow", "metrics", "model", "networks", "storage"},
    "report": {"config", "flow", "metrics", "model"},
    "tracking": {"config", "errors", "features", "flow", "metrics", "model", "storage", "workflow"},
    "stages": {
        *(
            "config",
            "disk",
            "errors",
            "features",
            "flow",
            "guards",
            "metrics",
            "model",
            "networks",
            "photographs",
            "report",
        ),
        *("prediction", "release", "storage", "tracking", "training", "vision", "workflow"),
    },
    "promotion": {"config", "errors", "metrics", "report", "storage", "tracking", "workflow"},
    "prediction": {
        *("config", "errors", "flow", "metrics", "model", "photographs", "storage", "tracking", "vision"),
        "workflow",
    },
    "export": {
        *(
            "config",
            "disk",
            "errors",
            "features",
            "flow",
            "guards",
            "photographs",
            "release",
            "report",
            "storage",
            "vision",
        ),
        "workflow",
    },
    "retention": {"config", "errors", "storage", "tracking", "workflow"},
    "sample": {"disk", "errors"},
    "doctor": {
        *("config", "environment", "errors", "flow", "java", "photographs", "release", "storage", "store_faults"),
        *("tracking", "workflow"),
    },
    "public": {
        *("config", "errors", "flow", "metrics", "model", "prediction", "storage", "tracking", "workflow"),
    },
    "commands": {
        *("class_data", "config", "environment", "errors", "flow", "java", "metrics", "object_store", "prediction"),
        *("promotion", "public", "report", "storage", "tracking", "workflow"),
    },
    "__main__": {
        *("commands", "config", "doctor", "download", "errors", "export", "flow", "logs", "object_store"),
        "photographs",
        *("prediction", "release", "retention", "sample", "store_faults", "workflow"),
    },
}
SINGLE_MODULES = {
    "__init__",
    "__main__",
    "class_data",
    "disk",
    "environment",
    "errors",
    "guards",
    "hdfs",
    "hosts",
    "java",
    "logs",
    "object_store",
    "quiet",
    "redaction",
    "storage",
    "store_faults",
}  # of ml, outside its packages
PRODUCTION = ("ml", "spark_jobs", "plugins", "dags", "scripts")
MODULE_LINES, FUNCTION_LINES = 350, 60


def sources_of(folder):
    """The source of every module below a folder, by its dotted name."""
    found = {}
    for file in (ROOT / folder).rglob("*.py"):
        parts = file.relative_to(ROOT).with_suffix("").parts
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = file.read_text()
    return found


def module_imports(sources):
    """Which of the modules each one imports, inside functions and under TYPE_CHECKING too."""
    found = {}
    for module, source in sources.items():
        names = set()
        for node in ast.walk(ast.parse(source)):
            if isinstance(node, ast.Import):
                names |= {alias.name for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.module:
                inner = {f"{node.module}.{alias.name}" for alias in node.names}
                names |= inner & set(sources) or {node.module}
                if inner - set(sources):
                    names.add(node.module)
        found[module] = names & set(sources) - {module}
    return found


def package_of(module):
    return module.split(".")[1] if "." in module else ""


def wrong_arrows(sources, allowed):
    """The imports between packages that no row of the table allows, as `module -> module`."""
    found = []
    for module, others in module_imports(sources).items():
        near = {"", package_of(module)} | allowed.get(package_of(module), set())
        found += [f"{module} -> {other}" for other in others if package_of(module) and package_of(other) not in near]
    return sorted(found)


def circles(arrows):
    """The names that reach themselves."""

    def reachable(name):
        seen, waiting = set(), [name]
        while waiting:
            for other in arrows.get(waiting.pop(), ()):
                if other not in seen:
                    seen.add(other)
                    waiting.append(other)
        return seen

    return sorted(name for name in arrows if name in reachable(name))


def test_packages_of_ml_import_only_what_the_table_allows():
    assert wrong_arrows(sources_of("ml"), ARROWS) == []


def test_the_table_of_arrows_has_no_circle_and_no_arrow_that_is_not_there():
    assert circles(ARROWS) == []
    found = {}
    for module, others in module_imports(sources_of("ml")).items():
        found.setdefault(package_of(module), set()).update(map(package_of, others))
    unused = {name: sorted(allowed - found.get(name, set())) for name, allowed in ARROWS.items()}
    assert {name: arrows for name, arrows in unused.items() if arrows} == {}


@pytest.mark.parametrize("folder", ["ml", "spark_jobs", "plugins"])
def test_no_modules_import_one_another_in_a_circle(folder):
    sources = sources_of(folder)
    if folder == "plugins":
        sources = {module.removeprefix("plugins."): source for module, source in sources.items()}
    assert circles(module_imports(sources)) == []


def test_a_planted_arrow_is_found():
    sources = {
        "ml.storage": "from ml.errors import ResourceError",
        "ml.errors": "",
        "ml.config.training": "def field():\n    from ml.workflow import run",
        "ml.workflow.run": "",
        "ml.workflow": "",
    }
    assert wrong_arrows(sources, ARROWS) == ["ml.config.training -> ml.workflow.run"]


@pytest.mark.parametrize(
    "planted",
    [
        "from ml.workflow import folder",
        "from ml.workflow.folder import Pin",
        "import ml.workflow.folder",
        "if TYPE_CHECKING:\n    from ml.workflow.folder import Pin",
        "def late():\n    import ml.workflow.folder",
    ],
)
def test_a_planted_circle_is_found(planted):
    sources = {"ml.workflow": "", "ml.workflow.run": planted, "ml.workflow.folder": "from ml.workflow import run"}
    assert circles(module_imports(sources)) == ["ml.workflow.folder", "ml.workflow.run"]
    assert circles(module_imports({**sources, "ml.workflow.run": ""})) == []


def test_ml_has_no_module_outside_its_packages_but_the_few_that_all_use():
    assert {file.stem for file in (ROOT / "ml").glob("*.py")} == SINGLE_MODULES
    packages = {file.parent.name for file in (ROOT / "ml").glob("*/__init__.py")}
    assert packages | SINGLE_MODULES - {"__init__"} == set(ARROWS)


def too_long(name, source):
    """What of a module is longer than a reader can hold."""
    found = [f"{name}: {len(source.splitlines())} lines"] if len(source.splitlines()) > MODULE_LINES else []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            first = min([node.lineno, *(decorator.lineno for decorator in node.decorator_list)])
            if (lines := node.end_lineno - first + 1) > FUNCTION_LINES:
                found.append(f"{name}: {node.name}, {lines} lines")
    return found


def test_modules_and_functions_are_short():
    sources = {name: source for folder in PRODUCTION for name, source in sources_of(folder).items()}
    assert [fault for name, source in sources.items() for fault in too_long(name, source)] == []


def test_a_planted_length_is_found():
    body = "    pass\n" * FUNCTION_LINES
    assert too_long("long", f"def work():\n{body}") == [f"long: work, {FUNCTION_LINES + 1} lines"]
    assert too_long("long", "x = 1\n" * (MODULE_LINES + 1)) == [f"long: {MODULE_LINES + 1} lines"]
    assert too_long("short", f"def work():\n{body}".removesuffix("    pass\n")) == []


def test_nothing_imports_a_test_module():
    tests = {file.stem for file in (ROOT / "tests").rglob("test_*.py")}
    for file in (file for folder in ("tests", "benchmarks", *PRODUCTION) for file in (ROOT / folder).rglob("*.py")):
        for node in ast.walk(ast.parse(file.read_text())):
            names = []
            if isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom):
                names = [node.module or "", *(alias.name for alias in node.names)]
            assert not tests & {part for name in names for part in name.split(".")}, file


def modules_after(code):
    """The modules loaded in a fresh Python that ran some code."""
    script = f"{code}\nimport sys; print(*sorted(sys.modules))"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, cwd=ROOT)
    return {name.split(".")[0] for name in done.stdout.splitlines()[-1].split()}


@pytest.mark.parametrize(
    "module", ["ml.vision.images", "ml.workflow.execution", "ml.workflow.run", "ml.guards", "ml.prediction.predictor"]
)
def test_what_spark_workers_import_loads_no_tensorflow(module):
    assert not {"tensorflow", "keras", "pyspark", "airflow"} & modules_after(f"import {module}")


def test_the_packages_that_share_files_are_pinned_as_they_must_be():
    versions = {p["name"]: p["version"] for p in tomllib.loads((ROOT / "uv.lock").read_text())["package"]}
    assert versions["pyspark"] == versions["pyspark-client"]
    assert "opencv-python-headless" in versions
    assert not {"opencv-python", "opencv-contrib-python", "opencv-contrib-python-headless"} & set(versions)


@pytest.mark.parametrize(
    "module",
    ["ml.promotion.run", "ml.promotion.reference", "ml.prediction.run", "ml.tracking.models", "ml.retention.plan"],
)
def test_what_only_decides_loads_nothing_slow(module):
    slow = {"tensorflow", "keras", "mlflow", "sklearn", "scipy", "pandas", "polars", "matplotlib", "cv2"}
    assert not slow & modules_after(f"import {module}")
