"""The web routes under Airflow's FAB auth manager, which knows permissions for single DAGs."""

import json

import pytest

from support.airflow_web import (
    OTHER,
    PREDICTION,
    RUN,
    TRAINING,
    add_run,
    airflow_database,
    ask,
    whole_run,
    write_predicted_run,
    write_run,
)

pytestmark = pytest.mark.slow
FAB = "airflow.providers.fab.auth_manager.fab_auth_manager.FabAuthManager"
# What a role may read, as (action, resource).
ROLES = {
    "trainings": [("can_read", f"DAG:{TRAINING}"), ("can_read", f"DAG Run:{TRAINING}")],
    "predictions": [("can_read", f"DAG:{PREDICTION}"), ("can_read", f"DAG Run:{PREDICTION}")],
    "others": [("can_read", f"DAG:{OTHER}"), ("can_read", f"DAG Run:{OTHER}")],
    "viewers": [("can_read", "DAGs"), ("can_read", "DAG Runs")],
    "guests": [],
}


@pytest.fixture(scope="module")
def get(tmp_path_factory):
    """Call a route as a user with one of the roles, or without a login."""
    from fastapi import FastAPI

    folder = tmp_path_factory.mktemp("permissions")
    root = str(folder / "storage")
    with airflow_database(folder, core__auth_manager=FAB), pytest.MonkeyPatch.context() as patch:
        (folder / "deployment.yaml").write_text(json.dumps({"storage": root}))
        patch.setenv("OPEN_IMAGES_CONFIG", str(folder / "deployment.yaml"))
        from airflow import settings
        from airflow.api_fastapi.app import init_auth_manager, purge_cached_app
        from airflow.providers.fab.auth_manager.models import Model

        from open_images.web import LazyApp

        Model.metadata.create_all(settings.engine)
        purge_cached_app()
        app = FastAPI()
        app.mount("/open-images", LazyApp())
        manager = init_auth_manager(app)
        tokens = {}
        with manager.flask_app.app_context():
            security = manager.security_manager
            for role, permissions in ROLES.items():
                security.bulk_sync_roles([{"role": role, "perms": permissions}])
                user = security.add_user(role, role, role, f"{role}@example.org", security.find_role(role), "-")
                tokens[role] = manager.generate_jwt(user)
        add_run(RUN)
        add_run("predicted", PREDICTION)
        add_run("other", OTHER)
        write_run(root, RUN, whole_run(root))
        write_predicted_run(root, "predicted")
        yield lambda path, role=None, **request: ask(app, f"/open-images{path}", tokens.get(role), **request)
        purge_cached_app()


@pytest.mark.parametrize(
    ("role", "status"), [(None, 401), ("guests", 403), ("predictions", 403), ("trainings", 200), ("viewers", 200)]
)
def test_runs_are_for_those_who_may_see_runs_of_that_dag(get, role, status):
    for path in (
        f"/runs/{TRAINING}/{RUN}",
        f"/runs/{TRAINING}/{RUN}/files/evaluate/report.html",
        "/history",
        "/models",
    ):
        found, _, body = get(path, role)
        assert found == status, (path, body)
        assert status == 200 or RUN.encode() not in body


@pytest.mark.parametrize(
    ("role", "status"), [(None, 401), ("guests", 403), ("trainings", 403), ("predictions", 200), ("viewers", 200)]
)
def test_predictions_are_for_those_who_may_see_runs_of_that_dag(get, role, status):
    run = f"/runs/{PREDICTION}/predicted"
    for path in (run, f"{run}/tables/faces", f"{run}/tables/faces/csv", "/try"):
        found, _, body = get(path, role)
        assert found == status, (path, body)
        assert status == 200 or b"one.jpg" not in body
    # A photograph without content is refused, but not for want of a permission.
    assert get("/try", role, method="POST", content_type="image/png")[0] == (422 if status == 200 else status)


def test_what_is_not_there_is_told_only_to_those_who_may_see_it(get):
    assert get(f"/runs/{TRAINING}/unknown", "predictions")[0] == 403
    assert get(f"/runs/{TRAINING}/unknown", "trainings")[0] == 404
    assert get(f"/runs/{TRAINING}/predicted", "trainings")[0] == 404
    assert get(f"/runs/{PREDICTION}/predicted", "trainings")[0] == 403
    assert get(f"/runs/{OTHER}/other", "predictions")[0] == 403
    assert get(f"/runs/{OTHER}/other", "others")[0] == 404


def test_the_pages_code_is_for_all_who_have_logged_in(get):
    assert get("/static/report.js")[0] == 401
    assert get("/static/report.js", "guests")[0] == 200
