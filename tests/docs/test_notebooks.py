"""The notebooks of `docs/notebooks/` run from top to bottom."""

import json
import os
from pathlib import Path
import subprocess
import sys

import pytest

NOTEBOOKS = sorted((Path(__file__).parents[2] / "docs" / "notebooks").glob("*.ipynb"))


def code_of(notebook: Path) -> list[str]:
    cells = json.loads(notebook.read_text(encoding="utf-8"))["cells"]
    return ["".join(cell["source"]) for cell in cells if cell["cell_type"] == "code"]


@pytest.mark.parametrize("notebook", NOTEBOOKS, ids=lambda path: path.stem)
def test_code_can_be_read_and_figures_of_others_are_not_kept(notebook):
    for code in code_of(notebook):
        compile(code, notebook.name, "exec")
    outputs = [cell["outputs"] for cell in json.loads(notebook.read_text())["cells"] if cell["cell_type"] == "code"]
    assert not any("error" in output.values() for one in outputs for output in one)
    if notebook.stem == "table":  # which is downloaded, and belongs to its authors
        assert not any(outputs)


@pytest.mark.slow
@pytest.mark.parametrize("notebook", NOTEBOOKS, ids=lambda path: path.stem)
def test_notebook_runs(notebook, tmp_path, request):
    pytest.importorskip("nbmake", reason="pip install 'rnas[notebook]'")
    environment = dict(os.environ)
    if notebook.stem == "table":
        environment["ROBBENCH"] = str(request.getfixturevalue("shared") / "data" / "nas_robbench_201")
    copy = tmp_path / notebook.name
    copy.write_bytes(notebook.read_bytes())
    command = [sys.executable, "-m", "pytest", "-q", "--nbmake", "-p", "no:cacheprovider", copy.name]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-5000:]
