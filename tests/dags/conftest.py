"""What the tests of the DAGs share."""

import pytest


@pytest.fixture(scope="module", autouse=True)
def airflow_home(tmp_path_factory):
    """An Airflow of the tests' own, set before anything imports Airflow."""
    home = tmp_path_factory.mktemp("airflow")
    patch = pytest.MonkeyPatch()
    patch.setenv("AIRFLOW_HOME", str(home))
    patch.setenv("AIRFLOW__CORE__LOAD_EXAMPLES", "False")
    yield home
    patch.undo()
