"""The software bill of materials names every locked package."""

import json
import subprocess
import sys
import tomllib
from pathlib import Path

import sbom
from support.programs import uv

ROOT = Path(__file__).parents[2]


def test_it_names_every_locked_package_with_its_version_and_digests(tmp_path):
    out = tmp_path / "new" / "sbom.json"
    command = [sys.executable, sbom.__file__, "--out", str(out), "--uv", str(uv())]
    environment = {"PATH": "/usr/bin:/bin", "HOME": str(tmp_path), "UV_OFFLINE": "1"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    content = json.loads(out.read_text())
    assert (content["bomFormat"], content["specVersion"]) == ("CycloneDX", "1.5")
    listed = {(each["name"], each["version"]): each for each in content["components"]}
    project = content["metadata"]["component"]
    locked = {
        (package["name"], package["version"])
        for package in tomllib.loads((ROOT / "uv.lock").read_text())["package"]
        if package["name"] != project["name"]
    }
    assert project["name"] == "open-images-faces"
    assert locked == set(listed)
    for name, component in listed.items():
        hashes = [each for file in component["externalReferences"] for each in file["hashes"]]
        assert hashes, name
        assert component["purl"].startswith(f"pkg:pypi/{name[0]}@{name[1]}"), name
