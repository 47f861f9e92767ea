"""Exit with 0 if a service is healthy: `healthcheck.py URL [COMPONENT]`, where COMPONENT is a part of Airflow.

Airflow's scheduler, DAG processor and triggerer report their state to the API server, so its health page covers them.
`airflow jobs check` reports the same but takes several seconds of CPU time on each call.
"""

from __future__ import annotations

import json
import sys
import urllib.request


def main(url: str, component: str = "") -> None:
    with urllib.request.urlopen(url, timeout=10) as response:
        content = response.read()
    if component and json.loads(content)[component]["status"] != "healthy":
        sys.exit(f"{component} is not healthy")


if __name__ == "__main__":
    main(*sys.argv[1:])
