"""Tests of `scripts/compose_files.py`, which reads compose files as Docker Compose does."""

from __future__ import annotations

from pathlib import Path

import pytest

from compose_files import Mount, interpolate, load

MAIN = """
x-base: &base
  image: ours:${TAG:-1.0}
  build: .
  volumes: ["data:/data", "/scratch", "./conf:/conf:ro"]
services:
  a:
    <<: *base
    command: [run, "${MODE:+--fast}", "${PASSWORD:?run make env}"]
    ports: ["127.0.0.1:${PORT:-80}:8080"]
  b:
    image: other:1.0
    profiles: [more]
    depends_on: {a: {condition: service_started, required: false}}
volumes:
  data:
"""
OVERRIDE = "services: {a: {image: 'ours:2.0', command: [stay], volumes: ['more:/more'], environment: {X: 1}}}"


@pytest.mark.parametrize(
    ("text", "result"),
    [
        ("${A}", "1"),
        ("${A:-2}", "1"),
        ("${B:-2}/${B:-}", "2/"),
        ("${A:?say}", "1"),
        ("x${A:+-y}.z", "x-y.z"),
        ("x${B:+-y}.z", "x.z"),
        ("${EMPTY:-3}${EMPTY:+4}", "3"),
    ],
)
def test_variables_are_replaced(text: str, result: str) -> None:
    assert interpolate(text, {"A": "1", "EMPTY": ""}) == result


def test_files_are_merged_and_read(tmp_path: Path) -> None:
    (tmp_path / ".env.example").write_text("PASSWORD=\n# PORT=81\n")
    main, override = tmp_path / "docker-compose.yaml", tmp_path / "docker-compose.other.yaml"
    main.write_text(MAIN)
    override.write_text(OVERRIDE)
    stack = load(tmp_path, (main, override))
    service = stack.services["a"]
    assert (service.image, service.repository, service.is_built) == ("ours:2.0", "ours", True)
    assert service.command == ("stay",)
    mounts = (Mount("data", "/data"), Mount("", "/scratch"), Mount("./conf", "/conf"), Mount("more", "/more"))
    assert service.mounts == mounts
    assert [mount.is_volume for mount in mounts] == [True, False, False, True]
    assert service.environment == {"X": "1"}
    assert service.published == (("127.0.0.1", 81, 8080),)
    assert stack.services["b"].waits == {"a": ("service_started", False)}
    assert stack.volumes == {"data"}
    assert load(tmp_path, (main,)).services["a"].command == ("run", "", "secret")
