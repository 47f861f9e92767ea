"""What parameters from Airflow's form and API may name: places below the deployment's roots, and code that it trusts.

People who may trigger a run are not necessarily people who may read every file, reach every host or run any code that
Airflow's workers can. Commands in a shell are not confined: they run with the rights of the person who types them.
"""

from __future__ import annotations

import re
import urllib.parse
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from ml import storage
from ml.config.parameter import F, FlowConfig, places, validate
from ml.errors import ConfigurationError
from ml.flow.code import is_code

SAME_SCHEME = {"s3a": "s3", "s3n": "s3", "gcs": "gs", "az": "abfss", "abfs": "abfss", "local": "file"}
PORTS = {"http": 80, "https": 443}


class Roots:
    """Paths, URIs and http(s) addresses below which the places in parameters must be, and the code that may be named.

    Args:
        uris: The roots.
        networks: The functions of users' own that the parameter `network` may name.
    """

    def __init__(self, uris: Iterable[str], networks: Iterable[str] = ()) -> None:
        self.networks = frozenset(networks)
        self.uris = tuple(dict.fromkeys(storage.normalize(uri) for uri in uris))

    def check(self, config: FlowConfig) -> None:
        """Check the parameters that name a place or code.

        Raises:
            ConfigurationError: A place is not below a root, or code is not trusted. The message has the parameter, its
                value and what is allowed.
        """
        network = getattr(config, "network", "")
        if is_code(network) and network not in self.networks:
            raise ConfigurationError(
                f"network = {network!r}: code that this deployment does not trust.",
                "Add it to `networks` in the deployment file, or choose another network.",
            )
        for name, value in places(config).items():
            if not self.holds(value):
                raise ConfigurationError(
                    f"{name} = {value!r}: not below a root of this deployment ({', '.join(self.uris)}).",
                    "Name a place below one, or add the place to `roots` in the deployment file.",
                )

    def holds(self, place: str) -> bool:
        """Return whether a place is a root or below one, after following symbolic links on this machine."""
        try:
            if _climbs(place) or "::" in place:  # fsspec chains file systems with `::`
                return False
            scheme, host, path = _parts(place)
            return any(
                (scheme, host) == (root_scheme, root_host) and path.is_relative_to(root_path)
                for root_scheme, root_host, root_path in map(_parts, self.uris)
            )
        except (OSError, ValueError, RuntimeError):  # for example a null character, a bad port, or a circle of links
            return False


def validate_below(values: dict[str, Any], defaults: F, roots: Roots | None) -> F:
    """Validate parameters on top of the defaults of a flow, and check the places that they name.

    Args:
        values: The parameters.
        defaults: The defaults.
        roots: The places that parameters may name; None: any.

    Raises:
        ConfigurationError: A value is invalid, or a place is not below a root.
    """
    config = validate(values, defaults)
    if roots:
        roots.check(config)
    return config


def _climbs(place: str) -> bool:
    """Return whether a part of the path is `..`, encoded in any way."""
    decoded = place
    while (plain := urllib.parse.unquote(decoded)) != decoded:
        decoded = plain
    return ".." in re.split(r"[/\\]", decoded)


def _parts(place: str) -> tuple[str, str, Path]:
    """Return scheme, host or bucket, and path; a local path without symbolic links."""
    scheme, _, rest = storage.normalize(place).partition("://")
    scheme = SAME_SCHEME.get(scheme.lower(), scheme.lower())
    if scheme == "file":
        return scheme, "", Path(rest).resolve()
    host, _, path = rest.partition("/")
    if scheme in PORTS:
        address = urllib.parse.urlsplit(f"{scheme}://{host}")
        host = f"{address.hostname}:{address.port or PORTS[scheme]}"
    return scheme, host, Path("/", path)
