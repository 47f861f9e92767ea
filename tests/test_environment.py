"""The user's environment: what would mislead a job is replaced, and what cannot be is told in one line."""

import json
import os
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

from ml import class_data, environment
from ml.errors import ConfigurationError

ROOT = Path(__file__).parents[1]
OWN_SPARK = Path(sysconfig.get_path("purelib"), "pyspark")


def python(code, **variables):
    """Run code in a fresh Python with other variables, and return what it prints."""
    env = {**os.environ, "PYTHONPATH": str(ROOT), **variables}
    done = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_a_job_uses_the_spark_and_the_programs_of_its_own_python():
    found = environment.job_environment({"SPARK_HOME": "/opt/spark-3.5", "PATH": "/opt/spark-3.5/bin:/usr/bin"})
    assert found["SPARK_HOME"] == str(OWN_SPARK)
    assert found["PATH"] == f"{Path(sys.executable).parent}:/opt/spark-3.5/bin:/usr/bin"
    assert environment.job_environment(found)["PATH"] == found["PATH"]


def test_another_pyspark_on_pythonpath_is_refused_by_its_folder(tmp_path, monkeypatch):
    other = tmp_path / "spark-3.5" / "python"
    (other / "pyspark").mkdir(parents=True)
    (other / "pyspark" / "__init__.py").touch()
    environment.check_imported_spark()
    monkeypatch.syspath_prepend(str(other))
    monkeypatch.delitem(sys.modules, "pyspark", raising=False)
    assert environment.spark_home() == OWN_SPARK
    with pytest.raises(ConfigurationError, match=rf"imports pyspark from {other}.*unset PYTHONPATH"):
        environment.check_environment()


def test_a_user_without_a_name_is_told_what_is_needed_before_anything_starts(monkeypatch):
    monkeypatch.setattr(os, "getuid", lambda: 54321)
    assert environment.user_name() is None
    with pytest.raises(ConfigurationError, match=r"User id 54321 has no name on this machine.*/etc/passwd"):
        environment.check_environment()


@pytest.mark.parametrize(
    ("variables", "found"),
    [
        ({"LC_ALL": "C"}, {"LC_ALL": "C.UTF-8", "PYTHONUTF8": "1"}),
        ({"LC_ALL": "no_SUCH.UTF-8"}, {"LC_ALL": "C.UTF-8", "PYTHONUTF8": "1"}),
        ({"LC_ALL": "C.UTF-8"}, {}),
        # Python chooses this locale itself; Java, started from a shell, has to be told.
        ({}, {"LC_CTYPE": "C.UTF-8"}),
    ],
)
def test_java_is_given_a_locale_in_which_names_of_files_are_utf_8(variables, found):
    code = (
        "import json; from ml.environment import job_environment as j; "
        "print(json.dumps({n: v for n, v in j().items() if n in ('LC_ALL', 'LC_CTYPE', 'PYTHONUTF8')}))"
    )
    unset = dict.fromkeys(environment.LOCALE_VARIABLES, "")
    assert json.loads(python(code, **{**unset, **variables})) == found


def test_names_of_files_in_another_encoding_are_refused(monkeypatch):
    monkeypatch.setattr(sys, "getfilesystemencoding", lambda: "iso8859-1")
    monkeypatch.setenv("LC_ALL", "de_DE.ISO-8859-1")
    with pytest.raises(ConfigurationError, match=r"\(LC_ALL=de_DE.ISO-8859-1\).*export LC_ALL=C.UTF-8"):
        environment.check_environment()
    assert "LC_ALL" not in environment.job_environment()


@pytest.mark.parametrize(("name", "same"), [("UTF-8", True), ("utf8", True), ("ANSI_X3.4-1968", False)])
def test_the_spellings_of_utf_8(name, same):
    assert environment.is_utf_8(name) is same


@pytest.mark.parametrize("spelling", ["no_proxy", "NO_PROXY"])
def test_local_calls_bypass_the_proxy_in_whichever_spelling_it_is_set(spelling):
    proxies = {"http_proxy": "http://127.0.0.1:9", "https_proxy": "http://127.0.0.1:9", spelling: "intranet"}
    found = environment.without_proxy(("127.0.0.1", "localhost"), proxies)
    assert found == dict.fromkeys(("NO_PROXY", "no_proxy"), "intranet,127.0.0.1,localhost")
    assert environment.without_proxy(("127.0.0.1", "localhost"), found) == found
    code = "import urllib.request as u; print(bool(u.proxy_bypass('127.0.0.1')), bool(u.proxy_bypass('example.org')))"
    assert python(code, **{**proxies, **found}) == "True False"


def test_keras_runs_on_tensorflow_whatever_the_environment_names():
    code = (
        "import ml, os; print(os.environ['KERAS_BACKEND'], ml.USERS_KERAS_BACKEND, 'TF_USE_LEGACY_KERAS' in os.environ)"
    )
    assert python(code, KERAS_BACKEND="torch", TF_USE_LEGACY_KERAS="1") == "tensorflow torch False"


@pytest.mark.slow
def test_keras_itself_follows(tmp_path):
    (tmp_path / "keras.json").write_text('{"backend": "torch"}')
    code = "from ml.networks import table; import keras; print(keras.backend.backend())"
    assert python(code, KERAS_BACKEND="torch", KERAS_HOME=str(tmp_path)).splitlines()[-1] == "tensorflow"


def test_the_class_data_archive_may_lie_in_a_folder_with_a_space(tmp_path, monkeypatch):
    archive = tmp_path / "a b" / "archive.jsa"
    archive.parent.mkdir()
    archive.touch()
    monkeypatch.setattr(class_data, "archive_path", lambda java: archive)
    options = class_data.submit_environment(Path("/java"), {})[class_data.SUBMIT_OPTIONS]
    assert f'"-XX:SharedArchiveFile={archive}"' in options
