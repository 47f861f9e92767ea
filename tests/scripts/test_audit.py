"""The audit of the locked packages, against a service on loopback that speaks OSV's protocol."""

import datetime
import json
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import yaml

import audit
from support.programs import uv

ROOT = Path(__file__).parents[2]
VULNERABILITY = {
    "id": "GHSA-aaaa-bbbb-cccc",
    "modified": "2026-01-01T00:00:00Z",
    "summary": "A planted fault",
    "aliases": ["CVE-2026-12345"],
    "affected": [
        {
            "package": {"ecosystem": "PyPI", "name": "planted"},
            "ranges": [{"type": "ECOSYSTEM", "events": [{"introduced": "0"}, {"fixed": "2.0"}]}],
        }
    ],
}
PROJECT = """\
[project]
name = "project"
version = "1"
requires-python = ">=3.11"
dependencies = ["planted", "sound"]
"""
LOCK = f"""\
version = 1
revision = 3
requires-python = ">=3.11"

[[package]]
name = "project"
version = "1"
source = {{ virtual = "." }}
dependencies = [{{ name = "planted" }}, {{ name = "sound" }}]

[[package]]
name = "planted"
version = "1.0"
source = {{ registry = "https://pypi.org/simple" }}
sdist = {{ url = "https://files.example/planted-1.0.tar.gz", hash = "sha256:{"0" * 64}" }}

[[package]]
name = "sound"
version = "1.0"
source = {{ registry = "https://pypi.org/simple" }}
sdist = {{ url = "https://files.example/sound-1.0.tar.gz", hash = "sha256:{"0" * 64}" }}
"""


@pytest.fixture(scope="module")
def service():
    """The address of a service that knows one vulnerability, of the package `planted`."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):
            asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))["queries"]
            known = {"vulns": [{"id": VULNERABILITY["id"], "modified": VULNERABILITY["modified"]}]}
            self.answer({"results": [known if each["package"]["name"] == "planted" else {} for each in asked]})

        def do_GET(self):
            self.answer(VULNERABILITY)

        def answer(self, value):
            body = json.dumps(value).encode()
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *arguments):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def run(tmp_path):
    """Audit a small project with exceptions, and return exit code and output."""
    (tmp_path / "security").mkdir()
    (tmp_path / "pyproject.toml").write_text(PROJECT)
    (tmp_path / "uv.lock").write_text(LOCK)

    def call(service, *exceptions):
        (tmp_path / audit.EXCEPTIONS).write_text(yaml.safe_dump(list(exceptions)))
        options = ["--service", service, "--project", str(tmp_path), "--uv", str(uv())]
        done = subprocess.run([sys.executable, audit.__file__, *options], capture_output=True, text=True)
        return done.returncode, done.stdout + done.stderr

    return call


def excepted(days=30, **other):
    until = datetime.datetime.now(datetime.UTC).date() + datetime.timedelta(days=days)
    entry = {"id": VULNERABILITY["id"], "package": "planted", "reason": "This project never calls it.", "until": until}
    return {**entry, **other}


def test_a_known_vulnerability_fails(run, service):
    code, shown = run(service)
    assert code == 1
    assert "planted 1.0: GHSA-aaaa-bbbb-cccc, CVE-2026-12345: A planted fault (fixed in: 2.0)" in shown
    assert "2 packages, 1 known vulnerabilities" in shown


@pytest.mark.parametrize("name", [VULNERABILITY["id"], *VULNERABILITY["aliases"]])
def test_an_exception_passes_through_its_last_day(run, service, name):
    code, shown = run(service, excepted(id=name, days=0))
    assert (code, "1 known vulnerabilities, 1 exceptions" in shown) == (0, True), shown


@pytest.mark.parametrize(
    ("exception", "text"),
    [
        (excepted(days=-1), "The exception GHSA-aaaa-bbbb-cccc of planted ended on"),
        (excepted(package="sound"), "planted 1.0: GHSA-aaaa-bbbb-cccc"),
        (excepted(id="CVE-2020-1"), "planted 1.0: GHSA-aaaa-bbbb-cccc"),
        (excepted(package="gone"), "is for gone, which is not locked: remove it"),
        ({**excepted(), "reason": ""}, "reason"),
        ({**excepted(), "until": None}, "until"),
    ],
)
def test_a_wrong_exception_fails(run, service, exception, text):
    code, shown = run(service, exception)
    assert (code, text in shown) == (1, True), shown


def test_without_the_service_it_says_that_nothing_was_audited(run, monkeypatch):
    monkeypatch.setenv("UV_HTTP_RETRIES", "0")
    code, shown = run("http://127.0.0.1:9")
    assert code == 0
    assert "NOT AUDITED: http://127.0.0.1:9 cannot be asked" in shown
    assert "known vulnerabilities" not in shown
    code, shown = run("http://127.0.0.1:9", excepted(days=-1))
    assert (code, "NOT AUDITED" in shown) == (1, True), "the exceptions are checked nevertheless"


def test_the_projects_own_exceptions_are_valid():
    found = audit.read_exceptions(ROOT / audit.EXCEPTIONS)
    assert not [each for each in found if each.package not in audit.locked_packages(ROOT / "uv.lock")]


def test_ci_audits():
    assert "\nmake audit || failed=1\n" in (ROOT / ".ci" / "run").read_text()
