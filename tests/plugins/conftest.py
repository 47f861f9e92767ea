"""What the tests of the web routes share."""

import json
from types import SimpleNamespace

import pytest

from support.airflow_web import (
    PREDICTION,
    RUN,
    SECRET,
    add_run,
    airflow_database,
    ask,
    whole_run,
    write_predicted_run,
    write_run,
)


@pytest.fixture(scope="module")
def web(tmp_path_factory):
    """The routes below Airflow's own auth manager, and a storage with one whole run."""
    from fastapi import FastAPI

    folder = tmp_path_factory.mktemp("web")
    root = str(folder / "storage")
    with airflow_database(folder), pytest.MonkeyPatch.context() as patch:
        (folder / "deployment.yaml").write_text(json.dumps({"storage": root}))
        patch.setenv("OPEN_IMAGES_CONFIG", str(folder / "deployment.yaml"))
        from airflow.api_fastapi.app import init_auth_manager, purge_cached_app
        from airflow.api_fastapi.auth.managers.simple.user import SimpleAuthManagerUser

        from open_images.web import LazyApp

        (folder / "secret.txt").write_bytes(SECRET)
        purge_cached_app()
        app = FastAPI()
        app.mount("/open-images", LazyApp())
        manager = init_auth_manager(app)
        tokens = {
            role: manager.generate_jwt(SimpleAuthManagerUser(username=role or "nobody", role=role))
            for role in ("viewer", "admin", None)
        }
        add_run(RUN)
        write_run(root, RUN, whole_run(root), as_of="2026-01-01T00:00:00+00:00", deliveries=[{"name": "2025-12-01"}])
        add_run(RUN, PREDICTION)
        write_predicted_run(root, RUN)

        def get(path, role="viewer", **request):
            return ask(app, path, tokens.get(role), **request)

        yield SimpleNamespace(app=app, root=root, folder=folder, get=get)
        purge_cached_app()
