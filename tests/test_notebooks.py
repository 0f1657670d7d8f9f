"""Every notebook runs as a script at its small size, and what is committed beside it was run from the same cells."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SCRIPTS = sorted((ROOT / "notebooks").glob("*.py"))
LOOKED_AT = re.findall(r'(?:run_)?notebook\("(\w+)"', (ROOT / "tests" / "test_readme.py").read_text())
"""These are run by tests that look at what they leave."""
everyone = pytest.mark.parametrize("script", SCRIPTS, ids=lambda s: s.stem)


def cells(text: str) -> list[tuple[str, str]]:
    """(kind, source) of each cell of a percent script, with the magics (``# %matplotlib``) as a notebook has them."""
    found = []
    for kind, body in re.findall(r"^# %%( \[markdown\])?(?: tags=.*?)?\n(.*?)(?=^# %%|\Z)", text, re.S | re.M):
        pattern, new = (r"^# ?", "") if kind else (r"^# %", "%")
        found.append(("markdown" if kind else "code", re.sub(pattern, new, body, flags=re.M).strip()))
    return found


def committed(script: Path) -> list[dict]:
    return json.loads(script.with_suffix(".ipynb").read_text())["cells"]


def deprecated(said: str, script: Path) -> list[str]:
    """Lines of stderr in which the notebook or this package is told that something is deprecated."""
    ours = (str(script), str(ROOT / "bnn_zoo"))
    return [line for line in said.splitlines() if re.search(r"(Deprecation|Future)Warning", line) and line.startswith(ours)]


def test_a_script_is_cut_into_cells():
    text = "# ---\n# h\n# ---\n\n# %% [markdown]\n# # T\n#\n# a\n\n# %%\n# %matplotlib inline\nx = 1  # b\n\n\n# %%\nx\n"
    assert cells(text) == [("markdown", "# T\n\na"), ("code", "%matplotlib inline\nx = 1  # b"), ("code", "x")]


@pytest.mark.slow
@pytest.mark.parametrize("script", [s for s in SCRIPTS if s.stem not in LOOKED_AT], ids=lambda s: s.stem)
def test_runs_at_its_small_size(script):
    """Without the data sets, which a notebook must do without at this size."""
    if script.stem == "mnist_notmnist" and not (script.parent / "mnist_runs").exists():
        pytest.skip("it shows runs of two hours, which are not in the repository")
    env = {k: v for k, v in os.environ.items() if k != "BNN_ZOO_DATA"}
    env |= {"BNN_ZOO_FAST": "1", "MPLBACKEND": "Agg", "PYTHONPATH": str(ROOT)}
    ran = subprocess.run(
        [sys.executable, "-W", "default", str(script)],
        cwd=script.parent,
        env=env,
        capture_output=True,
        text=True,
        timeout=1800,
    )
    assert ran.returncode == 0, ran.stderr[-4000:]
    assert not deprecated(ran.stderr, script)


@everyone
def test_the_pair_is_one_notebook(script):
    """The same cells in the same order; all code was run, from top to bottom, and none ended in an error."""
    pair = committed(script)
    assert [(c["cell_type"], "".join(c["source"]).strip()) for c in pair] == cells(script.read_text())
    code = [c for c in pair if c["cell_type"] == "code" and "".join(c["source"]).strip()]
    assert [c["execution_count"] for c in code] == list(range(1, len(code) + 1))
    assert not [o for c in code for o in c["outputs"] if o["output_type"] == "error"]


@everyone
def test_the_documentation_links_to_it(script):
    """A symbolic link in docs, and its name in the list and in the table of contents of the first page."""
    link = ROOT / "docs" / f"{script.stem}.ipynb"
    assert link.is_symlink() and link.resolve() == script.with_suffix(".ipynb").resolve()
    index = (ROOT / "docs" / "index.md").read_text()
    assert f"({script.stem})" in index and re.search(rf"^{script.stem}$", index, re.M)
