"""Prepare Airflow before its services start: migrate the database and write the password of the user `admin`."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path


def main() -> None:
    subprocess.run(["airflow", "db", "migrate"], check=True)
    passwords = Path(os.environ["AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_PASSWORDS_FILE"])
    passwords.unlink(missing_ok=True)
    with open(os.open(passwords, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        json.dump({"admin": os.environ["AIRFLOW_ADMIN_PASSWORD"]}, file)


if __name__ == "__main__":
    main()
