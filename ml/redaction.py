"""Recognize secrets in settings, and keep them out of messages.

A secret belongs in an Airflow connection or in the environment. Parameters and the deployment file are copied into
manifests, pages and logs, so they must hold none.
"""

from __future__ import annotations

import os
import re
from typing import Any

HIDDEN = "***"
SHORTEST = 6  # a shorter value of an environment variable is no secret and may be part of any word
# Credentials in a URI: `user:password@host`, any user of a bucket or a web server, and the query of a signed address.
# The user alone is fine elsewhere: `abfss://container@account`, `webhdfs://user@host`. Python and browsers read it.
CREDENTIALS = (
    r"\w[\w+.-]*://[^/]*:[^/]*@"
    r"|https?://[^/]*@"
    r"|(s3[an]?|gs|gcs)://[^/]*[:@]"
    r"|https?://[^?#]*[?#]"
    r"|(s3[an]?|gs|gcs|abfss?|az|hdfs|webhdfs)://[^?#]*\?"  # Spark names a folder after #, as in env.tar.gz#env
)
NO_CREDENTIALS = rf"^(?!{CREDENTIALS})"  # for JSON schemas, whose patterns match anywhere
_CREDENTIALS = re.compile(CREDENTIALS)
_USER = re.compile(r"(?<=://)[^\s@'\"]*@")
_PASSWORD = re.compile(r"(?<=://)[^\s/@'\"]*:[^\s/@'\"]*@")
_QUERY = re.compile(r"(?<=://)([^\s?#'\"]*)[?#][^\s'\"]*")
# Names of settings with secret values. Names that end as below hold a path, a class or a switch.
_SECRET_NAME = re.compile(r"secret|passw|passphrase|token|access[._-]?key|account[._-]?key|api[._-]?key", re.IGNORECASE)
_PLAIN_NAME = re.compile(r"(file|path|location|provider|enabled|class|interval|regex|conn_id)$", re.IGNORECASE)
_SECRET_ARGUMENT = re.compile(r"(?i)-D\S*(secret|passw|token|access[.]?key)\S*=")


def has_credentials(uri: str) -> bool:
    """Return whether a URI holds a user with a password, a user of a bucket or web server, or a query."""
    return _CREDENTIALS.match(uri) is not None


def is_secret(name: str, value: object = "") -> bool:
    """Return whether a setting is secret, by its name, or because its value holds credentials."""
    if _SECRET_NAME.search(name) and not _PLAIN_NAME.search(name):
        return True
    return isinstance(value, str) and (has_credentials(value) or _SECRET_ARGUMENT.search(value) is not None)


def without_secrets(text: str) -> str:
    """Return a text without credentials in URIs and without the values of secret environment variables."""
    for name, value in os.environ.items():
        if len(value) >= SHORTEST and is_secret(name):
            text = text.replace(value, HIDDEN)
    return _PASSWORD.sub(f"{HIDDEN}@", text)


def redacted(value: Any) -> Any:
    """Return a value for a message, with secrets replaced by `***`."""
    if isinstance(value, dict):
        return {name: HIDDEN if is_secret(str(name), each) else redacted(each) for name, each in value.items()}
    if isinstance(value, (list, tuple)):
        return [redacted(each) for each in value]
    if isinstance(value, str):
        return _QUERY.sub(rf"\1?{HIDDEN}", _USER.sub(f"{HIDDEN}@", value))
    return value
