"""What the tests share: the drawn sample release, opened runs, and one local Spark session."""

import atexit
import functools
import gc
import logging
import os
import re
import shutil
import sys
from pathlib import Path

import pytest
from hypothesis import settings
from xdist.scheduler import LoadFileScheduling

from ml.class_data import submit_environment
from ml.environment import job_environment
from ml.java import java_home

ROOT = Path(__file__).parents[1]

# Before pyspark or Airflow is imported anywhere: driver and executors run this Python, and nothing reads a deployment's
# own settings or the user's Airflow.
os.environ |= {
    **job_environment(),
    "PYSPARK_PYTHON": sys.executable,
    "PYSPARK_DRIVER_PYTHON": sys.executable,
    "SPARK_LOCAL_IP": "127.0.0.1",
    "JAVA_HOME": str(java_home()),
    **submit_environment(java_home()),
}
os.environ.pop("OPEN_IMAGES_CONFIG", None)
# Two processes that look for a free port at the same time would find the same one.
if worker := os.environ.get("PYTEST_XDIST_WORKER"):
    os.environ["PORT"] = str(18_080 + 200 * int(worker.removeprefix("gw")))
    # At its end Python would look for garbage among all that TensorFlow and Spark left, which took up to half a minute.
    atexit.register(gc.freeze)
# py4j says goodbye after pytest has closed what it would be logged to.
logging.getLogger("py4j").setLevel(logging.WARNING)

# An example may take as long as the machine makes it take: nothing here is timed.
settings.register_profile("untimed", deadline=None)
settings.load_profile("untimed")

# A job of a few seconds is over before Java's second compiler has paid for itself.
QUICK_JAVA = "-XX:TieredStopAtLevel=1 -XX:+UseSerialGC"


# Modules that each start an Airflow, in two groups of about the same length: more Airflows at a time than two are more
# than a small machine can bear.
# Marks `xdist_group` would say it where they stand, but xdist 3.8 appends them to node ids, which pytest 9.2 ignores.
WITH_AIRFLOW = {
    "tests/system/test_backfill.py": "airflow",
    "tests/system/test_ingest.py": "airflow",
    "tests/system/test_operations.py": "airflow",
    "tests/system/test_promotion_scheduler.py": "another airflow",
    "tests/system/test_scheduler.py": "another airflow",
}
# A module's tests that take the Spark session, or the run that all Spark stages have done, as an argument.
WITH_SPARK = re.compile(r"^def \w+\((?:[^)]*, )?(?:spark|done)\b", re.MULTILINE)


@functools.cache
def group_of(file: str) -> str:
    """Return the name of what one process is to have whole."""
    if file in WITH_AIRFLOW:
        return WITH_AIRFLOW[file]
    # A second session takes half a minute to start and to become quick, and would do all stages once more.
    return "spark" if WITH_SPARK.search((ROOT / file).read_text()) else file


class Groups(LoadFileScheduling):
    """Gives each of several processes whole groups of modules."""

    def _split_scope(self, nodeid: str) -> str:
        return group_of(super()._split_scope(nodeid))


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items):
    """Begin with the longest groups, so that none of them is what all wait for in the end."""
    groups = ("airflow", "another airflow", "spark", "tests/system/test_killed.py", "tests/system/test_end_to_end.py")
    found = {file: group_of(file) for file in {item.nodeid.partition("::")[0] for item in items}}
    items.sort(key=lambda item: [found[item.nodeid.partition("::")[0]] != group for group in groups])


@pytest.hookimpl(optionalhook=True)  # pytest also runs without xdist
def pytest_xdist_make_scheduler(config, log):
    """Distribute the tests thus wherever they are distributed by file."""
    config.option.loadscopereorder = False  # by number of tests; the order below is by time
    return Groups(config, log) if config.getvalue("dist") == "loadfile" else None


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item, call):
    """Show the end of Airflow's own log where a test fails that has an Airflow run."""
    report = yield
    log = getattr(getattr(item, "funcargs", {}).get("airflow"), "root", Path()) / "var" / "airflow" / "standalone.log"
    if report.failed and log.is_file():
        report.sections.append(("Airflow's log", "\n".join(log.read_text(errors="replace").splitlines()[-60:])))
    return report


@pytest.fixture(scope="session")
def sample_release(tmp_path_factory) -> Path:
    """A drawn release of 60 scenes. Tests that change it copy it first."""
    from ml.sample.release import write_sample_release

    folder = tmp_path_factory.mktemp("sample") / "release"
    write_sample_release(folder, scenes=60, seed=3)
    return folder


@pytest.fixture
def release_copy(sample_release, tmp_path) -> Path:
    """A copy of the drawn release that a test may damage."""
    return Path(shutil.copytree(sample_release, tmp_path / "release"))


@pytest.fixture
def opened(sample_release, tmp_path):
    """Open a run on the drawn release, below the test's own storage root."""
    from ml.workflow.opening import open_run

    def open_(run_id="run", **values):
        return open_run(str(tmp_path / "storage"), run_id, {"release": str(sample_release), **values})

    return open_


@pytest.fixture(scope="session")
def spark(tmp_path_factory):
    """A local Spark session, for the jobs' transforms."""
    from pyspark.sql import SparkSession

    session = (
        SparkSession.builder.master("local[2]")
        .config("spark.ui.enabled", False)
        .config("spark.driver.extraJavaOptions", QUICK_JAVA)
        .config("spark.sql.shuffle.partitions", 2)
        .config("spark.sql.warehouse.dir", str(tmp_path_factory.mktemp("warehouse")))
        .config("spark.sql.execution.arrow.maxRecordsPerBatch", 128)
        # The tests' rows are few: compiling a plan takes longer than interpreting it.
        .config("spark.sql.codegen.wholeStage", False)
        .config("spark.sql.codegen.factoryMode", "NO_CODEGEN")
        .config("spark.log.level", "ERROR")
        .getOrCreate()
    )
    yield session
    session.stop()


@pytest.fixture(scope="session")
def done(spark, sample_release, tmp_path_factory):
    """A run on the drawn release that has done all Spark stages."""
    from ml.workflow.opening import open_run
    from support.spark_stages import BODIES, do

    root = tmp_path_factory.mktemp("storage")
    run = open_run(str(root), "spark", {"release": str(sample_release), "min_face_size": 24, "chip_size": 48})
    return do(spark, run, *BODIES)
