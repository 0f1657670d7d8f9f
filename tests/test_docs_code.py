"""The code of the documentation runs, and messages are those that the pages show."""

import re
import shlex
import warnings

import pyro
import pyro.distributions as dist
import pytest
import torch
from pages import DOCS, blocks, run
from typer.testing import CliRunner

import bnn_zoo as bz
from bnn_zoo.cli import app

short = pytest.mark.filterwarnings("ignore::UserWarning")  # of runs far too short
HMC = ("bz.HMC(chains=4, warmup=200, draws=200)", "bz.HMC(chains=4, warmup=20, draws=20, max_leapfrogs=8, processes=1)")


@pytest.mark.slow
@short
def test_the_front_page_runs():
    prediction = run("index", HMC)["prediction"]
    assert prediction.mean.shape == (88,)


@pytest.mark.slow
@short
def test_the_conventions_hold():
    run("conventions")


@pytest.mark.slow
@short
def test_the_page_on_ranks_runs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    space = run("ranks", HMC)
    assert (tmp_path / "posterior.nc").exists() and isinstance(space["backend"], bz.RowsOverRanks)


@pytest.mark.slow
@short
def test_the_page_on_inference_data_runs(capsys):
    run("inference_data")
    assert capsys.readouterr().out.splitlines()[0].startswith("['posterior'")


@pytest.fixture(scope="module")
def quickstart(tmp_path_factory):
    """The space of the page's code, in a folder of its own."""
    patch = pytest.MonkeyPatch()
    folder = tmp_path_factory.mktemp("quickstart")
    patch.chdir(folder)
    yield run("quickstart", HMC), folder
    patch.undo()


def commands(page):
    return [
        shlex.split(line)[1:] for text in blocks(page, "bash") for line in text.splitlines() if line.startswith("bnn-zoo")
    ]


@pytest.mark.slow
@short
def test_the_quickstart_runs(quickstart):
    space, _ = quickstart
    assert space["sd"].shape == space["price"].shape and 100 < float(space["price"].mean()) < 500
    assert space["regressor"].score(space["X_test"], space["y_test"]) > 0.8


@pytest.mark.slow
@short
def test_the_quickstart_shows_what_the_command_says(quickstart):
    """The refusal, then the notes of the run that does what it proposes."""
    refused, noted = (text.splitlines() for text in blocks("quickstart", "none"))
    first, second = commands("quickstart")
    result = CliRunner().invoke(app, first)
    assert result.exit_code == 2 and result.output.splitlines() == refused
    result = CliRunner().invoke(app, [*second, "--backends", "MAP", "--draws", "25", "--no-progress"])
    assert result.exit_code == 0 and result.output.splitlines()[: len(noted)] == noted
    assert (quickstart[1] / "bnn-zoo-compare" / "report.html").exists()


# --------------------------------------------------------------------------------------------------------- messages

X = torch.randn(8, 3, generator=torch.Generator().manual_seed(0))
Y = X.sum(1)
NUTS, SGLD = bz.NUTS(chains=1, warmup=2, draws=2), bz.SGLD(chains=2, steps=4, step_size=1e-3, batch_size=4)


def fit(x, y, model=None, backend=NUTS, **size):
    net = bz.nets.MLP(3, 1, hidden=(4,))
    made = bz.BNN(net, bz.priors.Normal(), bz.likelihoods.Gaussian()) if model is None else model
    return bz.fit(made, (x, y), backend, progress=False, **size)


def nan_in(x):
    return torch.where(torch.arange(24).view(8, 3) == 0, torch.nan, x)


def network(*more):
    return bz.BNN(torch.nn.Sequential(torch.nn.Linear(3, 1), *more), bz.priors.Normal(), bz.likelihoods.Gaussian())


def classes():
    return bz.BNN(bz.nets.MLP(3, 3), bz.priors.Normal(), bz.likelihoods.Categorical())


def plain(x, y=None):
    slope = pyro.sample("slope", dist.Normal(torch.zeros(3), 1.0).to_event(1))
    with pyro.plate("rows", len(x)):
        return pyro.sample("y", dist.Normal(x @ slope, 1.0), obs=y)


def of_100(x, y=None):
    return bz.BNN(bz.nets.MLP(3, 1), bz.priors.Normal(), bz.likelihoods.Gaussian())(x, y, size=100)


def modes():
    """Chains that stay at two modes far apart."""

    def model(y=None):
        parts = dist.Normal(torch.tensor([-5.0, 5.0]), 0.1)
        w = pyro.sample("w", dist.MixtureSameFamily(dist.Categorical(torch.ones(2)), parts))
        return pyro.sample("y", dist.Normal(w, 100.0), obs=y)

    start = lambda log_joint, chains, generator: torch.tensor([[5.0], [-5.0]])
    return bz.fit(
        model, (torch.tensor(5.0),), bz.NUTS(chains=2, warmup=50, draws=100, init=start, compile=False), progress=False
    )


SAID = {
    "The chains disagree": modes,
    "y is `[n, 1]`": lambda: fit(X, Y[:, None]),
    "x is `[n]`": lambda: fit(X[:, 0], Y),
    "Labels that begin at 1": lambda: fit(X, torch.arange(8) % 3 + 1, classes()),
    "Images in bytes": lambda: fit(X.to(torch.uint8), Y),
    "Missing values": lambda: fit(nan_in(X), Y),
    "Different answers in float32 and float64": lambda: fit(X, Y.double()),
    "BatchNorm": lambda: network(torch.nn.BatchNorm1d(1)),
    "Dropout layers in the network": lambda: fit(X, Y, network(torch.nn.Dropout(0.5))),
    "The likelihood of a minibatch counts too little": lambda: fit(X, Y, plain, SGLD),
    "A step size that is too large": lambda: fit(
        X.repeat(20, 1), Y.repeat(20), backend=bz.SGLD(chains=2, steps=400, step_size=0.02)
    ),
    "Batches for a sampler that needs all rows": lambda: fit(X, Y, of_100),
}
SHOWN = dict(re.findall(r"^### ([^\n]+)\n(?:(?!^#|^```).*\n)*```none\n(.*?)\n```", (DOCS / "gotchas.md").read_text(), re.M))


def test_every_message_of_the_gotchas_is_raised_here():
    assert set(SHOWN) == set(SAID)


@pytest.mark.slow
@pytest.mark.filterwarnings("default")
@pytest.mark.parametrize("title", SAID)
def test_a_gotcha_says_what_the_page_shows(title):
    """Word for word, but for what the page leaves out with "…"."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            SAID[title]()
        except (ValueError, TypeError) as error:
            heard = [str(error)]
        else:
            heard = [str(w.message) for w in caught]
    wanted = ".*".join(re.escape(part.strip()) for part in SHOWN[title].split("…"))
    assert any(re.search(wanted, text, re.S) for text in heard), f"{heard} has no {SHOWN[title]!r}"
