"""Install missing Debian packages that some tests need: `python scripts/apt_packages.py chromium`.

It needs only the standard library. It skips a package if one of its programs is already installed in any way.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys

# Browsers that are not from Debian have other names.
PROGRAMS = {"chromium": ("chromium", "chromium-browser", "google-chrome")}


def main(packages: list[str]) -> None:
    missing = [package for package in packages if not is_installed(package)]
    if not missing:
        return
    names = " ".join(missing)
    if shutil.which("apt-get") is None:
        sys.exit(f"apt-packages: this machine has no apt-get. Install by other means, and put on PATH: {names}")
    sudo = [] if os.geteuid() == 0 else ["sudo", "--non-interactive"]
    if sudo and (shutil.which("sudo") is None or subprocess.run([*sudo, "true"], capture_output=True).returncode):
        sys.exit(f"apt-packages: the installation needs root. Run: sudo apt-get update && sudo apt-get install {names}")
    print(f"Installing with apt-get: {names} ...", flush=True)
    apt = [*sudo, "env", "DEBIAN_FRONTEND=noninteractive", "apt-get", "-qq", "-o", "DPkg::Lock::Timeout=600"]
    for arguments in (["update"], ["install", "--yes", "--no-install-recommends", *missing]):
        done = subprocess.run([*apt, *arguments], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        if done.returncode:
            print(done.stdout[-3000:])
            sys.exit(f"apt-packages: apt-get {arguments[0]} failed; see its output above. Packages: {names}")


def is_installed(package: str) -> bool:
    if any(shutil.which(program) for program in PROGRAMS.get(package, ())):
        return True
    if shutil.which("dpkg-query") is None:
        return False
    query = ["dpkg-query", "--show", "--showformat=${db:Status-Status}", package]
    return subprocess.run(query, capture_output=True, text=True).stdout == "installed"


if __name__ == "__main__":
    main(sys.argv[1:])
