"""One table: what it says is so, and every list that comes from it is current."""

import importlib.util
import inspect
import pickle
from pathlib import Path

import pytest
import torch
from pyro import poutine
from typer.testing import CliRunner

import bnn_zoo as bz
from bnn_zoo import comparison, showing
from bnn_zoo.catalogue import ENTRIES, KINDS, Entry, find, of
from bnn_zoo.cli import app

ROOT = Path(__file__).parents[1]
WEIGHTS = of("prior") | of("scale")
IDS = [f"{e.kind}-{e.name}" for e in ENTRIES]


def lists():
    spec = importlib.util.spec_from_file_location("lists", ROOT / ".ci" / "lists.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("path, text", [pytest.param(p, t, id=str(p.relative_to(ROOT))) for p, t in lists().texts()])
def test_lists_are_current(path, text):
    assert path.read_text() == text, f"run python .ci/lists.py, which writes {path.name}"


@pytest.mark.parametrize("package", sorted({p for p, _ in KINDS.values()} - {"density"}))
def test_everything_exported_has_a_row(package):
    exported = set(getattr(bz, package).__all__)
    assert exported == {e.name for e in ENTRIES if e.package == package}


def test_every_file_of_a_member_has_a_row():
    """A file without an underscore in these packages holds a member: forgotten in the table, it is found here."""
    for package in ("nets", "priors", "likelihoods", "backends", "handlers", "guides", "zoo"):
        files = {p.stem for p in (ROOT / "bnn_zoo" / package).glob("*.py") if not p.stem.startswith("_")}
        assert files == {e.module for e in ENTRIES if e.package == package and "." not in e.module}, package


@pytest.mark.parametrize("entry", ENTRIES, ids=IDS)
def test_a_row_is_true(entry):
    made = entry.constructor
    stem = entry.module if "." in entry.module else f"{entry.package}.{entry.module}"
    assert inspect.getmodule(made).__name__ == f"bnn_zoo.{stem}" and made.__name__ == entry.name
    assert inspect.getdoc(made), "no docstring"
    assert entry.line == entry.line.strip() and not entry.line.endswith(".") and len(entry.line) <= 70
    assert (entry.year is None) == (entry.reference == "")
    assert entry.name in entry.tiny or not entry.tiny
    if entry.tiny and entry.kind not in {"scale", "start", "published", "transform"}:
        assert isinstance(entry.make(), made)


def test_sources_are_those_of_the_docstrings():
    """The year of a row stands in the docstring of what it names, or of its module."""
    missing = [
        e.name
        for e in ENTRIES
        if e.year
        and str(e.year) not in (inspect.getdoc(e.constructor) or "")
        and str(e.year) not in (inspect.getmodule(e.constructor).__doc__ or "")
    ]
    assert not missing


def test_names_are_found_in_any_case_with_or_without_a_package():
    assert [e.name for e in find("nuts")] == ["NUTS"] and find("bz.priors.Laplace") == [of("prior")["Laplace"]]
    assert {e.kind for e in find("Laplace")} == {"prior", "backend", "likelihood"}
    with pytest.raises(KeyError, match="did you mean Horseshoe"):
        find("Horseshoo")
    with pytest.raises(KeyError, match=r"there is no 'zzzz' in the zoo.$"):
        find("zzzz")
    with pytest.raises(KeyError, match="kinds are"):
        of("animal")


def test_rows_cannot_be_changed():
    with pytest.raises(TypeError):
        of("backend")["NUTS"].facts["exact"] = "no"
    with pytest.raises(AttributeError):
        of("backend")["NUTS"].name = "N"


# ------------------------------------------------------------------------------------------------ by kind


@pytest.mark.parametrize("entry", of("backend").values(), ids=of("backend"))
def test_backends(entry):
    assert entry.facts.keys() == {"exact", "rows", "family", "compare"} and entry.facts["rows"] in {"all", "minibatches"}
    takes_batches = "batch_size" in inspect.signature(entry.constructor).parameters
    assert takes_batches == (entry.facts["rows"] == "minibatches")
    for rows in (100, 100_000):
        settings = comparison.BACKENDS[entry.name](3, 30, rows)
        assert isinstance(settings, entry.constructor)
        assert getattr(settings, "batch_size", None) == (
            256 if takes_batches and rows > 1000 and entry.name not in {"MeanField", "MCDropout"} else None
        )


@pytest.mark.parametrize("entry", of("net").values(), ids=of("net"))
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=["float32", "float64"])
def test_nets_are_functions_of_weights_and_rows(entry, dtype):
    """Weights batch under vmap, a row's output depends on that row alone, and the gradient is finite."""
    net = entry.make().to(dtype)
    generator, shape = torch.Generator().manual_seed(0), (3, *entry.facts["x"])
    x = torch.rand(shape, generator=generator, dtype=dtype)
    if "below" in entry.facts:
        x = (entry.facts["below"] * x).long()
    weights = {n: p.detach() for n, p in net.named_parameters()}
    several = {n: torch.stack([w, 0.9 * w]) for n, w in weights.items()}

    def f(w, rows=x):
        return torch.func.functional_call(net, w, (rows,))

    out = torch.func.vmap(f)(several)
    assert out.dtype == dtype and out.shape[:2] == (2, 3)
    torch.testing.assert_close(out[0], f(weights), rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(f(weights, x[1:2])[0], f(weights)[1], rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(pickle.loads(pickle.dumps(net))(x), f(weights), rtol=1e-5, atol=1e-6)
    gradients = torch.func.grad(lambda w: f(w).square().sum())(weights)
    assert all(torch.isfinite(g).all() for g in gradients.values())


@pytest.mark.parametrize(
    "dtype, tolerance", [(torch.float64, 1e-9), pytest.param(torch.float32, 1e-4, marks=pytest.mark.slow)], ids=str
)
@pytest.mark.parametrize("entry", WEIGHTS.values(), ids=WEIGHTS)
def test_priors_of_a_network(entry, dtype, tolerance):
    """The traced log joint is that of the model run by Pyro, and its gradient is finite."""
    generator = torch.Generator().manual_seed(0)
    x, y = torch.randn(6, 3, generator=generator), torch.tensor([0, 1, 1, 0, 1, 0])
    model = bz.BNN(bz.nets.MLP(3, 2, hidden=()), entry.make(), bz.likelihoods.Categorical())
    log_joint = bz.LogJoint(model, (x.to(dtype), y), dtype=dtype)
    position = 0.3 * torch.randn(2, log_joint.dim, generator=generator).to(dtype)
    value, gradient = log_joint(position)
    assert value.isfinite().all() and gradient.isfinite().all() and gradient.dtype == dtype
    for u, v in zip(position, value, strict=True):
        sites = {n: s[0] for n, s in log_joint.constrain(u[None]).items()}
        trace = poutine.trace(poutine.condition(model, sites)).get_trace(x.to(dtype), y)
        plain = trace.log_prob_sum() + log_joint.log_jacobian(u[None])[0]
        assert float(v) == pytest.approx(float(plain), rel=tolerance, abs=tolerance)


# ------------------------------------------------------------------------------------------------ the command line


def run(*arguments):
    return CliRunner().invoke(app, list(arguments))


def test_list_names_everything_in_80_columns():
    result = run("list")
    assert result.exit_code == 0 and all(e.name in result.output for e in ENTRIES)
    assert max(map(len, result.output.splitlines())) <= 80
    for word in ("priors", "prior"):
        assert "Horseshoe" in run("list", word).output and "NUTS" not in run("list", word).output
    wrong = run("list", "animals")
    assert wrong.exit_code == 2 and "choose from published, net, transform, prior" in wrong.output


@pytest.mark.parametrize("entry", ENTRIES, ids=IDS)
def test_show(entry):
    text = showing.member(entry)
    assert text.startswith(f"{entry.qualified}, {entry.kind}: ") and max(map(len, text.splitlines())) <= 80
    assert run("show", f"{entry.package}.{entry.name}").output.strip() == text.strip()


def test_show_says_what_a_member_costs_on_data():
    result = run("show", "NUTS", "--data", "diabetes")
    assert result.exit_code == 0 and "601 weights" in result.output and "ms for 4 chains" in result.output
    assert "dimensions     602" in result.output and "a draw         2.41 kB" in result.output


def test_show_of_nothing_names_the_nearest():
    result = run("show", "SGLDD")
    assert result.exit_code == 2 and "did you mean SGLD" in result.output and "Traceback" not in result.output


def test_settings_with_their_defaults():
    text = showing.member(find("HMC")[0])
    assert "max_leapfrogs              1000" in text and "trajectory_length          2.0" in text
    assert "needed" in showing.member(find("MLP")[0])


def test_an_entry_of_ones_own():
    entry = Entry("Flat", "prior", "flat", "everywhere the same", tiny="bz.priors.Normal(1e6)")
    assert entry.qualified == "bz.priors.Flat" and entry.make() == bz.priors.Normal(1e6)
