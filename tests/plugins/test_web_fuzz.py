"""Every route of the plugin under requests that schemathesis makes from the OpenAPI: no server error, no open door."""

import json
from types import SimpleNamespace

import pytest
import schemathesis
from fastapi import FastAPI
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from support.airflow_web import (
    PREDICTION,
    RUN,
    TRAINING,
    add_run,
    airflow_database,
    whole_run,
    write_predicted_run,
    write_run,
)

EXAMPLES = 15  # for each operation and way of generating
KNOWN = {
    **{"dag_id": TRAINING, "run_id": RUN, "stage": "evaluate", "path": "report.html", "name": "report.js"},
    **{"table": "faces", "kind": "csv"},
}
BOUNDED = settings(
    max_examples=EXAMPLES,
    deadline=None,
    database=None,
    derandomize=True,
    phases=[Phase.explicit, Phase.generate],
    suppress_health_check=list(HealthCheck),
)


@pytest.fixture(scope="module")
def web(tmp_path_factory):
    """The routes below Airflow's own auth manager, their OpenAPI, and a storage with one whole run."""
    folder = tmp_path_factory.mktemp("fuzz")
    root = str(folder / "storage")
    with airflow_database(folder), pytest.MonkeyPatch.context() as patch:
        (folder / "deployment.yaml").write_text(json.dumps({"storage": root}))
        patch.setenv("OPEN_IMAGES_CONFIG", str(folder / "deployment.yaml"))
        from airflow.api_fastapi.app import init_auth_manager, purge_cached_app
        from airflow.api_fastapi.auth.managers.simple.user import SimpleAuthManagerUser

        from open_images.web.app import create_app

        purge_cached_app()
        routes = create_app()
        app = FastAPI()
        app.mount("/open-images", routes)
        manager = init_auth_manager(app)
        token = manager.generate_jwt(SimpleAuthManagerUser(username="admin", role="admin"))
        add_run(RUN)
        write_run(root, RUN, whole_run(root))
        add_run(RUN, PREDICTION)
        write_predicted_run(root, RUN)
        patch.setattr("open_images.web.photograph.EXPLAINER", SimpleNamespace(ask=_refuse))
        document = routes._app.openapi()
        document["servers"] = [{"url": "/open-images"}]
        schema = schemathesis.openapi.from_dict(document)
        schema.app = app
        yield SimpleNamespace(schema=schema, document=document, login={"Authorization": f"Bearer {token}"})
        purge_cached_app()


def _refuse(*arguments):
    """Answer like the child process, which starts TensorFlow, where the bytes begin like a photograph and are none."""
    return {"fault": {"kind": "data", "message": "This is not a readable photograph.", "advice": ""}}


def known_of(operation, parameters):
    """What exists at the address of an operation: tables are those of a prediction run."""
    known = {name: KNOWN[name] for name in parameters}
    return {**known, "dag_id": PREDICTION} if "{table}" in operation.path and "dag_id" in known else known


def operations(web):
    return [operation.ok() for operation in web.schema.get_all_operations()]


def call(case, **headers):
    """Send a case below the mount."""
    return case.call(base_url="http://test/open-images", headers=headers)


def test_the_openapi_knows_every_route(web):
    from open_images.web.app import create_app

    declared = {
        (method, path.replace("{path}", "{path:path}"))
        for path, methods in web.document["paths"].items()
        for method in methods
    }
    routes = {(method.lower(), route.path) for route in create_app()._app.routes for method in route.methods}
    assert declared == routes
    assert len(declared) >= 5


def test_no_request_ends_in_a_server_error(web):
    statuses = set()
    for operation in operations(web):
        for mode in (schemathesis.GenerationMode.POSITIVE, schemathesis.GenerationMode.NEGATIVE):

            @BOUNDED
            @given(case=operation.as_strategy(generation_mode=mode), known=st.sets(st.sampled_from(sorted(KNOWN))))
            def check(case, known):
                # Some parts of the address as they exist, so that the others get beyond the first check.
                made = case.path_parameters or {}
                case.path_parameters = {**made, **known_of(case.operation, known & set(made))}
                response = call(case, **web.login)
                statuses.add(response.status_code)
                assert response.status_code < 500, (case.formatted_path, response.text)
                case.validate_response(response, checks=[schemathesis.checks.not_a_server_error])

            check()
    assert {200, 404} <= statuses, statuses


def test_no_route_answers_without_a_login(web):
    tokens = st.sampled_from([None, "Bearer forged", "Basic YWRtaW46YWRtaW4="])
    refused = set()
    for operation in operations(web):

        @BOUNDED
        @given(case=operation.as_strategy(), forged=tokens)
        def check(case, forged):
            case.headers = {}
            response = call(case, **({"Authorization": forged} if forged else {}))
            # An encoded slash or line break makes an address of no route, which says nothing about runs.
            no_route = (response.status_code, response.json()) == (404, {"detail": "Not Found"})
            assert no_route or response.status_code in (401, 403), (case.operation.label, response.status_code)
            assert RUN not in response.text
            refused.update([] if no_route else [case.operation.label])

        check()
    assert refused == {operation.label for operation in operations(web)}


def test_every_route_that_exists_asks_for_a_login_and_answers_after_it(web):
    for operation in operations(web):
        known = known_of(operation, [each.name for each in operation.path_parameters])
        case = operation.Case(path_parameters=known)
        assert call(case).status_code == 401, operation.label
        expected = 200 if operation.method == "get" else 415  # without a photograph
        assert call(case, **web.login).status_code == expected, operation.label
