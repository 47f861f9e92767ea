"""Ends with 0 when a service answers well: `healthcheck.py URL [COMPONENT]`, the component being one of Airflow's.

Airflow's scheduler, DAG processor and triggerer tell the API server how they are, so it is asked about them;
`airflow jobs check` would tell the same, at several seconds of a processor each time.
"""

from __future__ import annotations

import json
import sys
import urllib.request


def main(url: str, component: str = "") -> None:
    with urllib.request.urlopen(url, timeout=10) as answer:
        content = answer.read()
    if component and json.loads(content)[component]["status"] != "healthy":
        sys.exit(f"{component} is not healthy")


if __name__ == "__main__":
    main(*sys.argv[1:])
