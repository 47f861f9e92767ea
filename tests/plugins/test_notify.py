"""Notifications reach the receiver that the deployment names, and their errors never affect the run."""

from __future__ import annotations

import json
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer
from types import SimpleNamespace

import pytest

from ml import storage
from ml.config.deployment import load_deployment
from ml.errors import ConfigurationError
from ml.workflow import layout
from ml.workflow.run import slug


class Listener(HTTPServer):
    """Keeps what is posted to it, and responds with `status`."""

    def __init__(self):
        self.posted: list[tuple[str, dict]] = []
        self.status = 200
        super().__init__(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server_port}"


class Handler(BaseHTTPRequestHandler):
    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.posted.append((self.path, json.loads(body)))
        self.send_response(self.server.status)
        self.end_headers()

    def log_message(self, *_):
        pass


@pytest.fixture(scope="module", autouse=True)
def airflow_home(tmp_path_factory):
    patch = pytest.MonkeyPatch()
    patch.setenv("AIRFLOW_HOME", str(tmp_path_factory.mktemp("airflow")))
    patch.setenv("AIRFLOW__CORE__LOAD_EXAMPLES", "False")
    patch.setenv("NO_PROXY", "127.0.0.1")
    yield
    patch.undo()


@pytest.fixture
def listener():
    server = Listener()
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield server
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.fixture
def dag():
    from airflow.sdk import DAG

    return DAG("open_images_training", schedule=None)


def context(dag, task=None):
    found = {"dag": dag, "run_id": "manual__2026-01-01T00:00:00+00:00", "reason": "task_failure"}
    return {**found, "ti": SimpleNamespace(task_id=task)} if task else found


def tell(setting, name, told):
    from open_images.notify import callbacks

    for callback in callbacks(setting)[name]:
        callback(told)


def test_a_failure_names_run_task_and_page(listener, dag):
    tell(f"{listener.url}/hook", "on_failure_callback", context(dag, "model.train"))
    ((path, told),) = listener.posted
    assert path == "/hook"
    assert (told["dag"], told["run"], told["state"], told["task"]) == (
        "open_images_training",
        "manual__2026-01-01T00:00:00+00:00",
        "failed",
        "model.train",
    )
    assert told["url"].endswith("/dags/open_images_training/runs/manual__2026-01-01T00%3A00%3A00%2B00%3A00")
    assert told["message"].endswith("failed at task model.train")
    assert told["text"] == f"{told['message']}: {told['url']}"


def test_a_success_and_a_run_that_airflow_ended_itself_are_told_too(listener, dag):
    tell(listener.url, "on_success_callback", context(dag, "model.evaluate"))
    tell(listener.url, "on_failure_callback", context(dag) | {"reason": "timed_out"})
    told = [body for _, body in listener.posted]
    assert [(body["state"], body["task"]) for body in told] == [("success", None), ("failed", None)]
    assert told[0]["message"].endswith("succeeded")
    assert told[1]["message"].endswith("failed (timed_out)")


@pytest.fixture
def storage_root(tmp_path, monkeypatch):
    (tmp_path / "deployment.yaml").write_text(f"storage: {tmp_path}/storage")
    monkeypatch.setenv("OPEN_IMAGES_CONFIG", str(tmp_path / "deployment.yaml"))
    return f"file://{tmp_path}/storage"


def test_a_success_tells_whether_the_data_have_drifted(listener, dag, storage_root):
    line = "Data drift (large) against run monthly. All data: brightness, 0 to 1 (PSI 0.41)."
    attempt = f"{storage_root}/stages/evaluate/key/attempts/a"
    manifest = {name: {} for name in ("config", "inputs", "sources", "ledger", "versions")}
    manifest |= dict.fromkeys(("stage", "key", "attempt", "started", "finished"), "")
    manifest |= {"version": 1, "uri": attempt, "files": [], "metrics": {"drift": {"line": line}}}
    storage.write_json(layout.manifest_uri(attempt), manifest)
    run = layout.run_uri(storage_root, slug(context(dag)["run_id"]))
    storage.write_json(layout.pin_uri(run, "evaluate"), {"attempt": attempt, "key": "key"})
    tell(listener.url, "on_success_callback", context(dag))
    tell(listener.url, "on_failure_callback", context(dag))
    (_, told), (_, failed) = listener.posted
    assert told["drift"] == line
    assert told["text"] == f"{told['message']}: {told['url']}\n{line}"
    assert failed["drift"] is None


@pytest.mark.parametrize("pin", [None, b"{", b'{"attempt": "file:///nowhere", "key": "k"}'])
def test_a_drift_that_cannot_be_read_does_not_hold_the_notification_back(listener, dag, storage_root, pin):
    if pin:
        run = layout.run_uri(storage_root, slug(context(dag)["run_id"]))
        storage.write_bytes(layout.pin_uri(run, "evaluate"), pin)
    tell(listener.url, "on_success_callback", context(dag))
    ((_, told),) = listener.posted
    assert told["drift"] is None
    assert told["text"] == f"{told['message']}: {told['url']}"


def test_the_address_may_be_an_airflow_connection_with_a_secret(listener, dag, monkeypatch):
    connection = {"conn_type": "http", "host": f"{listener.url}/services", "password": "T00/B00/secret"}
    monkeypatch.setenv("AIRFLOW_CONN_ALERTS", json.dumps(connection))
    tell("alerts", "on_success_callback", context(dag, "model.evaluate"))
    assert [path for path, _ in listener.posted] == ["/services/T00/B00/secret"]


@pytest.mark.parametrize(
    ("connection", "url"),
    [
        ({"host": "hooks.example.com"}, "https://hooks.example.com"),
        ({"host": "chat", "schema": "http", "port": 8065, "password": "key"}, "http://chat:8065/key"),
        ({"host": "https://hooks.example.com/services/"}, "https://hooks.example.com/services/"),
    ],
)
def test_a_connections_address(connection, url):
    from airflow.sdk import Connection

    from open_images.notify import _url

    assert _url(Connection(conn_id="alerts", conn_type="http", **connection)) == url


def test_any_notifier_of_airflow_is_called_with_its_arguments(dag, tmp_path, monkeypatch):
    (tmp_path / "some_notifiers.py").write_text(
        "from airflow.sdk.bases.notifier import BaseNotifier\n"
        "class Notifier(BaseNotifier):\n"
        "    template_fields = ('text',)\n"
        "    told = []\n"
        "    def __init__(self, text):\n"
        "        super().__init__()\n"
        "        self.text = text\n"
        "    def notify(self, context):\n"
        "        self.told.append(self.text)\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    setting = {"some_notifiers.Notifier": {"text": "{{ run_id }} of {{ dag.dag_id }}"}}
    tell(setting, "on_failure_callback", context(dag, "model.train"))
    tell(setting, "on_success_callback", context(dag, "model.train"))
    import some_notifiers

    assert some_notifiers.Notifier.told == ["manual__2026-01-01T00:00:00+00:00 of open_images_training"] * 2


def test_a_fault_tells_the_host_and_not_the_secret_path(listener, dag):
    from airflow.sdk.exceptions import AirflowException

    listener.status = 404
    with pytest.raises(AirflowException, match=r"127\.0\.0\.1 failed: status 404") as failed:
        tell(f"{listener.url}/secret", "on_failure_callback", context(dag))
    assert "secret" not in str(failed.value)
    with pytest.raises(AirflowException, match="ConnectError"):
        tell("http://127.0.0.1:9/secret", "on_failure_callback", context(dag))


def test_without_the_setting_nobody_is_told():
    from open_images.defaults import dag_defaults

    assert not {"on_failure_callback", "on_success_callback"} & set(dag_defaults(load_deployment()))


@pytest.mark.parametrize(
    ("setting", "right"),
    [
        ("https://hooks.example.com/services/a", True),
        ("open_images_alerts", True),
        ("{airflow.providers.smtp.notifications.smtp.SmtpNotifier: {to: team@example.com}}", True),
        ("ftp://somewhere", False),
        ("{SmtpNotifier: {to: team@example.com}}", False),
        ("{}", False),
        ("5", False),
    ],
)
def test_a_wrong_setting_is_named(tmp_path, monkeypatch, setting, right):
    from open_images.defaults import dag_defaults

    (tmp_path / "deployment.yaml").write_text(f"notify: {setting}")
    monkeypatch.setenv("OPEN_IMAGES_CONFIG", str(tmp_path / "deployment.yaml"))
    if right:
        assert {"on_failure_callback", "on_success_callback"} <= set(dag_defaults(load_deployment()))
        assert "on_success_callback" not in dag_defaults(load_deployment(), notify_success=False)
        assert "on_failure_callback" in dag_defaults(load_deployment(), notify_success=False)
    else:
        with pytest.raises(ConfigurationError, match="notify"):
            load_deployment()
