"""The user's environment: what in it would mislead Spark, Java or local calls, and how jobs are kept from it.

Variables, a locale or a user id that suit other programs must not make this one fail halfway. What can be replaced is
replaced for the jobs (`job_environment`, `without_proxy`); the rest ends in one clear error before anything is started
(`check_environment`). `make doctor` shows all of it. Keras' backend is chosen in `ml/__init__.py`.
"""

from __future__ import annotations

import importlib.util
import locale
import os
import pwd
import sys
import sysconfig
from collections.abc import Mapping
from pathlib import Path

from ml.errors import ConfigurationError

SPARK_HOME = "SPARK_HOME"
LOCALE_VARIABLES = ("LC_ALL", "LC_CTYPE", "LANG")  # in order of precedence
NO_PROXY = ("NO_PROXY", "no_proxy")  # programs differ in which of the two they prefer
UTF_8 = "utf-8"
UTF_8_LOCALE = "C.UTF-8"  # every glibc of the last years has it


def job_environment(environment: Mapping[str, str] = os.environ) -> dict[str, str]:
    """Return the variables with which a job on this machine works whatever else the environment holds.

    Args:
        environment: The variables so far.
    """
    programs = str(Path(sys.executable).parent)
    path = environment.get("PATH", os.defpath)
    return {
        # Spark's scripts look for another Spark in SPARK_HOME first, and without it fail in folders with a space.
        SPARK_HOME: str(spark_home()),
        "PATH": path if path.split(os.pathsep)[0] == programs else os.pathsep.join([programs, path]),
        **_utf_8(environment),
    }


def spark_home() -> Path:
    """Return the folder of the Spark that is installed with this Python.

    Another Spark's `python` folder on PYTHONPATH does not count: its version differs.
    """
    installed = Path(sysconfig.get_path("purelib"), "pyspark")
    return installed if installed.is_dir() else imported_spark()


def imported_spark() -> Path:
    """Return the folder from which this Python imports pyspark.

    Raises:
        ConfigurationError: pyspark is not installed.
    """
    found = importlib.util.find_spec("pyspark")
    if found is None or found.origin is None:
        raise ConfigurationError(f"{sys.executable} has no pyspark.", "Use the project's environment: make setup.")
    return Path(found.origin).parent


def without_proxy(hosts: tuple[str, ...], environment: Mapping[str, str] = os.environ) -> dict[str, str]:
    """Return the variables that make calls to some hosts bypass any proxy, besides what bypasses it already.

    Python prefers `no_proxy` to `NO_PROXY`, other programs the other way round, so both get the same value.
    """
    known = [part.strip() for name in NO_PROXY for part in environment.get(name, "").split(",")]
    value = ",".join(dict.fromkeys(filter(None, [*known, *hosts])))
    return dict.fromkeys(NO_PROXY, value)


def locale_setting(environment: Mapping[str, str] = os.environ) -> str:
    """Return the variable that decides the locale, with its value, as in `LC_ALL=C`."""
    named = (f"{name}={environment[name]}" for name in LOCALE_VARIABLES if environment.get(name))
    return next(named, "LANG, which is not set")


def is_utf_8(encoding: str) -> bool:
    """Return whether the name of an encoding means UTF-8, in any of its spellings."""
    return encoding.lower().replace("_", "-").replace("utf8", UTF_8) == UTF_8


def user_name() -> str | None:
    """Return the name of this process' user; None if the system has no name for its id."""
    try:
        return pwd.getpwuid(os.getuid()).pw_name
    except KeyError:
        return None


def check_environment() -> None:
    """Check what no variable of a job can mend: the user's name, the encoding of file names, another Spark's Python.

    Raises:
        ConfigurationError: Jobs would fail halfway.
    """
    for check in (check_user, check_encoding, check_imported_spark):
        check()


def check_user() -> None:
    """Check that this user id has a name, without which Java and Hadoop refuse to start.

    Raises:
        ConfigurationError: It has none.
    """
    if user_name() is None:
        number = os.getuid()
        raise ConfigurationError(
            f"User id {number} has no name on this machine, and Spark needs one.",
            f"Add a line to /etc/passwd, such as `airflow:x:{number}:0::/tmp:/bin/sh`, or run as a user that has a "
            "name (in the container: 50000, which is its default).",
        )


def check_encoding() -> None:
    """Check that Python takes names of files to be UTF-8; with the locale `C` it does.

    Raises:
        ConfigurationError: The locale has another encoding.
    """
    encoding = sys.getfilesystemencoding()
    if not is_utf_8(encoding):
        raise ConfigurationError(
            f"The locale ({locale_setting()}) makes names of files {encoding}; they must be UTF-8.",
            f"export LC_ALL={UTF_8_LOCALE}",
        )


def check_imported_spark() -> None:
    """Check that Python imports the pyspark that is installed with it.

    Raises:
        ConfigurationError: PYTHONPATH names another one, often that of SPARK_HOME.
    """
    own, found = spark_home(), imported_spark()
    if found.resolve() != own.resolve():
        raise ConfigurationError(
            f"Python imports pyspark from {found}, not from {own}, where the project's version is.",
            "Take that Spark out of PYTHONPATH: unset PYTHONPATH",
        )


def _utf_8(environment: Mapping[str, str]) -> dict[str, str]:
    """Return the variables that make Java, and Python under it, take names of files to be UTF-8."""
    if not is_utf_8(sys.getfilesystemencoding()):
        return {}  # see `check_encoding`; a job that decodes names otherwise would not find the files either
    if is_utf_8(locale.getencoding()):
        # Without any locale, Python sets this one at its start; a shell needs it for Java.
        return {name: environment[name] for name in ("LC_CTYPE",) if environment.get(name)}
    return {"LC_ALL": UTF_8_LOCALE, "PYTHONUTF8": "1"}
