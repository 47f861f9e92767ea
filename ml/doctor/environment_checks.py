"""Checks of the user's environment: variables, locale and user that suit other programs and would mislead this one."""

from __future__ import annotations

import locale
import os
from pathlib import Path
from urllib.parse import urlsplit
from urllib.request import getproxies_environment, proxy_bypass

import ml
from ml import environment
from ml.doctor.finding import Answer

API_VARIABLES = ("AIRFLOW__CORE__EXECUTION_API_SERVER_URL", "AIRFLOW__API__BASE_URL")
LOOPBACK = "127.0.0.1"
BY_THEMSELVES = "Airflow's tasks, `make up` and `make demo` set it themselves."


def check_user() -> Answer:
    """Check that this user has a name, which Java and Hadoop look up."""
    environment.check_user()
    return "ok", f"{environment.user_name()} (user id {os.getuid()})", ""


def check_locale() -> Answer:
    """Check that Python, and Java in a shell, take names of files to be UTF-8."""
    environment.check_encoding()
    setting = environment.locale_setting()
    if environment.is_utf_8(locale.getencoding()) and setting.partition("=")[2]:
        return "ok", setting, ""
    return (
        "warning",
        f"{setting}: Java takes names of files to be ASCII",
        f"{BY_THEMSELVES} For spark-submit in a shell: export LC_ALL={environment.UTF_8_LOCALE}",
    )


def check_spark_home() -> Answer:
    """Check which Spark the programs on PATH and Python use."""
    environment.check_imported_spark()
    own, named = environment.spark_home(), os.environ.get(environment.SPARK_HOME)
    advice = f"{BY_THEMSELVES} For spark-submit in a shell: export SPARK_HOME='{own}'"
    if named and Path(named).resolve() != own.resolve():
        return "warning", f"SPARK_HOME is {named}, another Spark than the project's", advice
    if not named and " " in str(own):
        return "warning", f"{own} has a space, with which Spark's scripts do not find it", advice
    return "ok", str(own), ""


def check_proxy() -> Answer:
    """Check that calls between Airflow's components bypass the proxy, if there is one."""
    proxies = sorted(set(getproxies_environment()) & {"http", "https", "all"})
    if not proxies:
        return "ok", "no proxy is set", ""
    named = {name: urlsplit(os.environ[name]).hostname or "" for name in API_VARIABLES if os.environ.get(name)}
    hosts = tuple(dict.fromkeys([LOOPBACK, *filter(None, named.values())]))
    through = [host for host in hosts if not proxy_bypass(host)]
    settings = ", ".join(f"{name}_proxy" for name in proxies)
    if not through:
        return "ok", f"{settings}; not for {' and '.join(hosts)}", ""
    assignments = " ".join(f"{name}={value}" for name, value in environment.without_proxy(tuple(through)).items())
    found = f"{settings} is set, and calls to {' and '.join(through)} go through it"
    if not named:
        return "warning", found, f"{BY_THEMSELVES} For other programs: export {assignments}"
    return "fault", f"{found}, so that tasks do not reach Airflow", f"For all of Airflow's parts: export {assignments}"


def check_keras() -> Answer:
    """Show whether the environment names another backend than the one that is used."""
    named = ml.USERS_KERAS_BACKEND
    if named in (None, "tensorflow"):
        return "ok", "TensorFlow", ""
    return "ok", f"TensorFlow; KERAS_BACKEND={named} of the environment is not used", ""
