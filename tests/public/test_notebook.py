"""The notebooks in docs/ do what they say."""

from __future__ import annotations

import ast
import json
from pathlib import Path

import pytest

NOTEBOOKS = sorted((Path(__file__).parents[2] / "docs").rglob("*.ipynb"))


def test_there_is_a_notebook():
    assert [notebook.name for notebook in NOTEBOOKS] == ["run.ipynb"]


@pytest.mark.parametrize("notebook", NOTEBOOKS, ids=lambda notebook: notebook.stem)
def test_every_cell_runs_from_top_to_bottom(notebook, opened, tmp_path, monkeypatch, capsys):
    (tmp_path / "deployment.yaml").write_text(f"storage: {tmp_path}\n")
    monkeypatch.setenv("OPEN_IMAGES_CONFIG", str(tmp_path / "deployment.yaml"))
    content = json.loads(notebook.read_text())
    assert (content["nbformat"], len({cell["id"] for cell in content["cells"]})) == (4, len(content["cells"]))
    names = {"__name__": "__main__"}  # cells share their names, as in a kernel
    shown = []
    for cell in content["cells"]:
        if cell["cell_type"] == "code":
            assert cell["outputs"] == [], "outputs would grow old"
            shown.append(run_cell("".join(cell["source"]), f"{notebook.name}, {cell['id']}", names))
    printed = capsys.readouterr().out
    assert "featurize/features: 134 rows" in printed
    assert "accuracy 0.750" in printed
    assert "Version 1 of open-images-human-face" in printed
    assert "<Run first, training" in shown[0]


def run_cell(source, name, names):
    """Run a cell; return how its last expression is displayed, if it has one."""
    tree = ast.parse(source)
    last = tree.body.pop() if isinstance(tree.body[-1], ast.Expr) else None
    exec(compile(tree, name, "exec"), names)
    return repr(eval(compile(ast.Expression(last.value), name, "eval"), names)) if last else None
