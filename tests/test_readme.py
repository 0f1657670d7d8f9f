"""The README's example runs as it stands, and its commands are the ones that CI runs."""

import io
import re
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

README = Path(__file__).parents[1] / "README.md"


@pytest.mark.slow  # CI runs it by name
def test_example_runs(capsys):
    (code,) = re.findall(r"```python\n(.*?)```", README.read_text(), re.S)
    space: dict = {}
    exec(compile(code.replace("bz.HMC(", "bz.HMC(compile=False, "), str(README), "exec"), space)
    prediction, y = space["prediction"], space["y"][space["test"]]
    assert prediction.mean.shape == y.shape
    assert torch.allclose(prediction.sd**2, prediction.epistemic**2 + prediction.aleatoric**2)
    assert float(prediction.log_prob(y).mean()) > -1.25  # a Gaussian with the data's own mean and sd has −1.42
    assert space["posterior"].summary()["max_rhat"]["predictions y"] < 1.1
    assert "predictions" in capsys.readouterr().out
    assert len(code.strip().splitlines()) <= 20


@pytest.mark.slow
def test_the_priors_page_runs():
    """Its models have what they say: one site for what is shared, no site for what is held."""
    import bnn_zoo as bz

    (code,) = re.findall(r"```python\n(.*?)```", (README.parent / "docs" / "priors.md").read_text(), re.S)
    space: dict = {}
    exec(compile(code, "docs/priors.md", "exec"), space)
    x, y = torch.rand(2, 1, 28, 28), torch.tensor([0, 1])
    sites = {name: {s.name for s in bz.LogJoint(model, (x, y)).sites} for name, model in space["models"].items()}
    assert {"net_location", "net_scale", "net_share", "net_zero_scale"} <= sites["soft weight sharing"]
    assert sites["last layer"] == {"11.weight", "11.bias"}
    assert "0.weight_decentered" in sites["non-centred"] and "0.weight_scale_scale" in sites["group horseshoe"]


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::UserWarning")  # of a run far too short
def test_the_images_page_runs():
    """What it asserts of an image and its quarter turn holds after a fit."""
    blocks = re.findall(r"```python\n(.*?)```", (README.parent / "docs" / "images.md").read_text(), re.S)
    assert len(blocks) == 2
    for code in blocks:
        exec(compile(code, "docs/images.md", "exec"), {})


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:SGLD:UserWarning")  # of a run far too short
def test_the_likelihoods_page_runs():
    """Its table is that of ``out_features``, and its examples have the shapes that they say."""
    import bnn_zoo as bz

    text = (README.parent / "docs" / "likelihoods.md").read_text()
    table = text[: text.index("```")]
    assert not [name for name in bz.likelihoods.__all__ if f"`{name}" not in table]
    space: dict = {}
    exec(compile("\n".join(re.findall(r"```python\n(.*?)```", text, re.S)), "docs/likelihoods.md", "exec"), space)
    assert bz.likelihoods.MixtureDensity(5).out_features(1) == 15 and space["prediction"].mean.shape == (6, 5, 7, 4)
    assert space["axes"].shape == (2, 2) and space["axes"][1, 0].get_title().startswith("depth 3, width 2: sd")


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::UserWarning")  # of a run far too short
def test_the_page_on_runs_runs(tmp_path, capsys):
    """What it asserts holds, and what it prints has the lines that it shows."""
    text = (README.parent / "docs" / "runs.md").read_text()
    exec(
        compile("\n".join(re.findall(r"```python\n(.*?)```", text, re.S)), "docs/runs.md", "exec"),
        {"folder": tmp_path / "run"},
    )
    (shown,) = re.findall(r"```text\n(.*?)```", text, re.S)
    assert capsys.readouterr().out.splitlines()[:3] == shown.splitlines()[:3]


def test_zoo_table_names_everything():
    import bnn_zoo as bz

    text = README.read_text()
    for room in (bz.nets, bz.priors, bz.likelihoods):
        assert not [name for name in room.__all__ if f"`{name}`" not in text]


def run_notebook(name, monkeypatch):
    """What a notebook leaves behind, at its small size, and how many figures it has shown; every figure is drawn."""
    from matplotlib import pyplot as plt

    drawn = []

    def show():
        drawn.extend(plt.figure(number).canvas.draw() for number in plt.get_fignums())
        plt.close("all")

    monkeypatch.setenv("BNN_ZOO_FAST", "1")
    monkeypatch.delenv("BNN_ZOO_DATA", raising=False)
    monkeypatch.setattr(plt, "show", show)
    monkeypatch.setattr(sys, "path", list(sys.path))
    path = README.parent / "notebooks" / f"{name}.py"
    space: dict = {}
    exec(compile(path.read_text(), str(path), "exec"), space)
    return space, len(drawn)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::UserWarning")  # of runs far too short
def test_the_physics_notebook_runs(monkeypatch):
    """Barriers are crossed as often as the transition matrices say, and SGD and Langevin spread as theory says."""
    space, drawn = run_notebook("from_physics", monkeypatch)
    rates = space["rates"]
    error = (rates["crossings in 1,000 steps"] - rates["exact rate"]) / rates["standard error"]
    assert drawn == 8 and len(rates) == 6 and error.abs().max() < 4
    for name, cloud in space["clouds"].items():
        ratio = np.linalg.eigvalsh(np.cov(cloud.T)) / np.linalg.eigvalsh(space["predicted"][name])
        assert (abs(ratio - 1) < 0.6).all(), (name, ratio)  # of 800 dependent draws; by the other law 2.1 and 0.1


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::UserWarning")  # of runs far too short
def test_the_notebook_on_model_comparison_runs(monkeypatch):
    """Bias², variance and noise from some data sets add up to the error measured on others."""
    space, drawn = run_notebook("model_comparison", monkeypatch)
    assert drawn == 5 and len(space["refits"]) >= 2
    assert space["parts"]["z"].abs().max() < 4


@pytest.mark.slow
def test_compression_page(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (code,) = re.findall(r"```python\n(.*?)```", (README.parent / "docs" / "compression.md").read_text(), re.S)
    exec(compile(code, "docs/compression.md", "exec"), {})
    assert "on disk" in capsys.readouterr().out and (tmp_path / "small.bnz").stat().st_size < 300


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:.*:UserWarning")  # its run of SGLD is too short on purpose
def test_the_plots_of_the_documentation():
    """Every public plot is on the page, every picture is there, and the code makes it."""
    import bnn_zoo as bz

    text = (README.parent / "docs" / "plots.md").read_text()
    space = {}
    exec(compile("\n".join(re.findall(r"```python\n(.*?)```", text, re.S)), "docs/plots.md", "exec"), space)
    pictures = re.findall(r"\]\(plots/(\w+)\.png\)", text)
    assert len(pictures) == 16 and all(name in space for name in pictures)
    assert {f"{name}.png" for name in pictures} == {path.name for path in (README.parent / "docs" / "plots").iterdir()}
    missing = set(bz.plots.__all__) - set(re.findall(r"\w+", text))
    assert {name for name in missing if name.islower()} <= {"arviz_major"}


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::UserWarning")  # of runs far too short
def test_one_dimension_notebook(monkeypatch, capsys):
    """It leaves no backend out, and NUTS and the formula of the limit find about the same width at the data."""
    space, _ = run_notebook("one_dimension", monkeypatch)
    space["figure"].savefig(io.BytesIO())
    table = space["table"]
    assert "left out: set()" in capsys.readouterr().out and len(table) == len(space["backends"]) + 2
    assert table.filter(like="width").notna().all(axis=None) and (table["distance"].drop("the referee") > 0).all()
    assert 0.5 < table.loc["Gaussian process", "width at the data"] < 2 and table.loc["MAP", "width in the gap"] == 0
