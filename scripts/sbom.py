"""Write the software bill of materials of the locked packages to var/sbom.json, as CycloneDX: `make sbom`."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Annotated

import typer

ROOT = Path(__file__).resolve().parent.parent
UV = ROOT / ".tools" / "uv" / "bin" / "uv"
FILE = ROOT / "var" / "sbom.json"


def main(
    out: Annotated[Path, typer.Option(help="The file to write.")] = FILE,
    uv: Annotated[Path, typer.Option(help="The program uv.")] = UV,
) -> None:
    """Write every package of uv.lock, those of all groups included, with version, origin and digests."""
    out.parent.mkdir(parents=True, exist_ok=True)
    command = [uv, "export", "--frozen", "--quiet", "--preview-features", "sbom-export", "--format", "cyclonedx1.5"]
    done = subprocess.run(
        [*map(str, command), "--all-groups", "--all-extras", "--output-file", str(out)], cwd=ROOT, check=False
    )
    if done.returncode:
        sys.exit("sbom: uv could not export the lock file; see its output above.")
    typer.echo(f"The packages of uv.lock are listed in {out}")


if __name__ == "__main__":
    typer.run(main)
