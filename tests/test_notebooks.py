"""Every notebook that has a small size runs at it, without the real data, as a script."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

FOLDER = Path(__file__).parents[1] / "notebooks"
SMALL = sorted(path.name for path in FOLDER.glob("*.py") if "BNN_ZOO_FAST" in path.read_text())


def test_notebooks_have_a_small_size():
    assert {"first_steps.py", "attacked_digits.py", "symmetry.py", "segmentation.py"} <= set(SMALL)


@pytest.mark.slow
@pytest.mark.parametrize("name", SMALL)
def test_notebook_runs_small(name, tmp_path):
    kept = {k: v for k, v in os.environ.items() if k != "BNN_ZOO_DATA"}
    done = subprocess.run(
        [sys.executable, FOLDER / name],
        env=kept | {"BNN_ZOO_FAST": "1", "MPLBACKEND": "Agg"},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr[-3000:]


@pytest.mark.parametrize("name", sorted(path.stem for path in FOLDER.glob("*.py")))
def test_notebook_is_kept_executed_and_shown(name):
    """Its pair is there, of the same code, every cell run without an error, and the documentation leads to it."""
    source = (FOLDER / f"{name}.py").read_text()
    cells = [c for c in json.loads((FOLDER / f"{name}.ipynb").read_text())["cells"] if c["cell_type"] == "code"]
    assert [c["execution_count"] for c in cells] == list(range(1, len(cells) + 1))
    assert not [o for c in cells for o in c["outputs"] if o["output_type"] == "error"]
    lines = [line for c in cells for line in "".join(c["source"]).splitlines()]
    assert not [line for line in lines if line not in source]
    docs = FOLDER.parent / "docs"
    assert (docs / f"{name}.ipynb").resolve() == FOLDER / f"{name}.ipynb"
    assert f"]({name})" in (docs / "index.md").read_text() and f"\n{name}\n" in (docs / "index.md").read_text()
