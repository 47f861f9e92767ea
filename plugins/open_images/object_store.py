"""The Airflow connection that holds the object store's address and keys."""

from __future__ import annotations

import os

from airflow.sdk.bases.hook import BaseHook
from airflow.sdk.exceptions import AirflowNotFoundException

from ml.config.deployment import load_deployment
from ml.errors import ConfigurationError
from ml.object_store import variables_of


def use_object_store() -> None:
    """Put the address and keys of the deployment's object store into this process's environment.

    There botocore finds them, and so do the processes of jobs. Without a connection the environment stays as it is:
    roles of the machine, profiles and variables then work as they do everywhere.

    Raises:
        ConfigurationError: The connection does not exist.
    """
    name = load_deployment().object_store_connection
    if name is None:
        return
    try:
        connection = BaseHook.get_connection(name)
    except AirflowNotFoundException as error:
        raise ConfigurationError(
            f"object_store_connection: the Airflow connection {name!r} does not exist.",
            "Create it with type Amazon Web Services: the access key as login, the secret key as password, and "
            '{"endpoint_url": ..., "region_name": ...} as extra.',
        ) from error
    values = variables_of(connection.login, connection.password, connection.extra_dejson)
    if all(os.environ.get(variable, "") == value for variable, value in values.items()):
        return
    for variable in values:
        os.environ.pop(variable, None)
    os.environ.update({variable: value for variable, value in values.items() if value})
    _forget_old_keys()


def _forget_old_keys() -> None:
    """Let s3fs open the store with the new keys: it keeps file systems as long as the process lives."""
    import fsspec

    try:
        fsspec.get_filesystem_class("s3").clear_instance_cache()
    except ImportError:
        return  # `storage` says which package is missing, where a URI needs it
