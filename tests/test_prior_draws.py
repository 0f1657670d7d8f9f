"""Looking before sampling: the prior in function space against closed forms."""

import numpy as np
import pyro
import pyro.distributions as dist
import pytest
import torch

import bnn_zoo as bz
from bnn_zoo import plots, priors
from bnn_zoo.export import arviz_major, group, groups
from bnn_zoo.likelihoods import Categorical, Gaussian

X = torch.tensor([[0.5, -1.0], [2.0, 1.0], [0.0, 0.0]])
VARIANCES = {  # of a weight with scale 1
    "Normal": (priors.Normal(priors.fan_in), 1.0),
    "Laplace": (priors.Laplace(priors.fan_in), 2.0),
    "Uniform": (priors.Uniform(priors.fan_in), 1 / 3),
}


def network(width, outputs=20, prior=None, likelihood=None):
    net = bz.nets.MLP(2, outputs, hidden=(width,), activation=torch.nn.Identity)
    return bz.BNN(net, prior or priors.Normal(priors.fan_in), likelihood or Gaussian(0.5))


@pytest.mark.parametrize("name", ["Normal", *(pytest.param(n, marks=pytest.mark.slow) for n in ("Laplace", "Uniform"))])
def test_the_scale_of_functions_is_the_closed_form_at_any_width(name):
    """A linear hidden layer: hidden units have variance v (|x|²/2 + 1), outputs v (that) + v, whatever the width."""
    prior, v = VARIANCES[name]
    expected = (v * v * (X.square().sum(1) / 2 + 1) + v).sqrt().numpy()
    for width in (20, 40):
        drawn = group(bz.prior_draws(network(width, prior=prior), X, draws=150, seed=1), "prior_predictive")
        f, y = (drawn[n].values[0].transpose(0, 2, 1).reshape(-1, 3) for n in ("y_mean", "y"))
        np.testing.assert_allclose(f.std(0), expected, rtol=0.08)
        np.testing.assert_allclose(y.std(0), np.sqrt(expected**2 + 0.25), rtol=0.08)
        np.testing.assert_allclose((y - f).std(), 0.5, rtol=0.03)


def test_groups_names_and_dimensions():
    y = torch.zeros(3, 2)
    model = network(4, 2)
    made = bz.prior_draws(model, (X, y), draws=6, coords={"x_dim_1": ["age", "bmi"], "obs_id": [7, 8, 9]})
    assert set(groups(made)) == {"prior", "prior_predictive", "observed_data", "constant_data"}
    assert set(group(made, "prior")) == {"0.weight", "0.bias", "2.weight", "2.bias"}
    assert group(made, "prior")["2.weight"].dims == ("chain", "draw", "2.weight_out", "2.weight_in")
    predictive = group(made, "prior_predictive")
    assert predictive["y"].dims == ("chain", "draw", "obs_id", "y_dim_1")
    assert predictive["y_mean"].dims == ("chain", "draw", "obs_id", "y_mean_dim_1")
    assert predictive["y"].shape == predictive["y_mean"].shape == (1, 6, 3, 2)
    assert group(made, "constant_data")["x_dim_1"].values.tolist() == ["age", "bmi"]
    np.testing.assert_array_equal(group(made, "observed_data")["y"], y)
    weights = {n: torch.as_tensor(group(made, "prior")[n].values[0, 4]) for n in group(made, "prior")}
    f = torch.func.functional_call(model.net, weights, X)
    np.testing.assert_allclose(predictive["y_mean"].values[0, 4], f.detach(), rtol=1e-5)
    kind = "DataTree" if arviz_major() else "InferenceData"
    assert type(made).__name__ == kind


def test_same_seed_same_draws_with_y_or_without_and_nothing_else_is_touched():
    model = network(3, 1, likelihood=Gaussian())
    state = torch.get_rng_state()
    first, again = bz.prior_draws(model, X, draws=4), bz.prior_draws(model, (X, torch.ones(3)), draws=4)
    other = bz.prior_draws(model, X.numpy(), draws=4, seed=1)
    for name in ("y", "y_mean"):
        drawn = group(first, "prior_predictive")[name]
        np.testing.assert_array_equal(drawn, group(again, "prior_predictive")[name])
        assert (drawn.values != group(other, "prior_predictive")[name].values).all()
    assert group(first, "prior")["noise"].shape == (1, 4) and "observed_data" not in groups(first)
    assert torch.equal(torch.get_rng_state(), state)


def test_classes_have_probabilities_and_rows_without_a_label_are_left_out():
    model = network(3, 3, likelihood=Categorical(ignore=-1, class_weights=[1.0, 9.0, 1.0]))
    drawn = group(bz.prior_draws(model, (X, torch.tensor([2, -1, 0])), draws=5), "prior_predictive")
    assert drawn["obs_id"].values.tolist() == [0, 2] and drawn["y"].shape == (1, 5, 2)
    np.testing.assert_allclose(drawn["y_mean"].sum("y_mean_dim_1"), np.ones((1, 5, 2)), rtol=1e-6)
    assert set(np.unique(drawn["y"])) <= {0, 1, 2}


def eight(x, y=None):
    kind = pyro.sample("kind", dist.Bernoulli(0.25))
    slope = pyro.sample("slope", dist.Normal(3.0, 0.1))
    twice = pyro.deterministic("twice", 2 * slope)
    with pyro.plate("rows", len(x)):
        return pyro.sample("y", dist.Poisson((kind + twice / 10).expand(len(x))), obs=y)


def test_a_plain_pyro_model_with_a_discrete_site():
    made = bz.prior_draws(eight, torch.zeros(2), draws=100)
    prior, drawn = group(made, "prior"), group(made, "prior_predictive")
    assert set(prior) == {"kind", "slope", "twice"} and set(drawn) == {"y", "y_mean"}
    np.testing.assert_allclose(prior["twice"], 2 * prior["slope"], rtol=1e-6)
    expected = prior["kind"].values + prior["slope"].values / 5
    np.testing.assert_allclose(drawn["y_mean"], expected[..., None] * np.ones(2), rtol=1e-5)
    assert float(prior["kind"].mean()) == pytest.approx(0.25, abs=4 * (0.1875 / 100) ** 0.5)
    assert float(drawn["y"].mean()) == pytest.approx(0.85, abs=0.2)


def with_factor(x, y):
    slope = pyro.sample("slope", dist.Normal(0.0, 1.0))
    pyro.factor("pull", -slope.abs())
    with pyro.plate("rows", len(x)):
        pyro.sample("seen", dist.Normal(slope * x, 1.0), obs=y)


def improper(x, y=None):
    slope = pyro.sample("slope", dist.ImproperUniform(dist.constraints.real, (), ()))
    with pyro.plate("rows", len(x)):
        pyro.sample("y", dist.Normal(slope * x, 1.0), obs=y)


def changing(x, y=None):
    with pyro.plate("rows", len(x)):
        pyro.sample("y", dist.Normal(pyro.sample(f"s{int(torch.rand(()) * 9)}", dist.Normal(0.0, 1.0)), 1.0), obs=y)


def test_what_is_refused():
    x = torch.zeros(2)
    with pytest.warns(UserWarning, match=r"sites \['pull'\] are factors of the joint density"):
        bz.prior_draws(with_factor, (x, x), draws=2)
    with pytest.raises(bz.DataError, match=r"which of its sites \['slope', 'seen'\] are data: pass all of its data"):
        bz.prior_draws(lambda x, y=None: with_factor_without(x, y), x, draws=2)
    with pytest.raises(bz.ModelError, match="give that site a proper prior"):
        bz.prior_draws(improper, x, draws=2)
    with pytest.raises(bz.ModelError, match="are in some draws only: write a fixed set of sites"):
        bz.prior_draws(changing, x, draws=20)
    for wrong in (0, 2.5, True):
        with pytest.raises(ValueError, match="draws must be a whole number, 1 or more"):
            bz.prior_draws(eight, x, draws=wrong)
    with pytest.raises(bz.DataError, match="prior_draws: the model takes"):
        bz.prior_draws(eight, (x, x, x), draws=2)
    with pytest.raises(bz.DataError, match=r"argument 0 .* NaN"):
        bz.prior_draws(network(2), torch.full((2, 2), torch.nan), draws=2)
    with pytest.raises(bz.DataError, match=r"write Categorical\(ignore=9\)"):
        bz.prior_draws(network(2, 3, likelihood=Categorical()), (X, torch.tensor([0, 9, 1])), draws=2)


def with_factor_without(x, y):
    slope = pyro.sample("slope", dist.Normal(0.0, 1.0))
    with pyro.plate("rows", len(x)):
        pyro.sample("seen", dist.Normal(slope * x, 1.0), obs=y)


def test_functions_are_drawn_side_by_side():
    rng, x = np.random.default_rng(0), np.linspace(-1, 1, 7)
    table = {f"depth {d}": {f"width {w}": d * rng.normal(size=(2, 50, 7)) for w in (2, 4, 8)} for d in (1, 2)}
    axes = plots.functions(x[:, None], table, shown=5, unit="kWh")
    assert axes.shape == (2, 3) and axes[0, 0].get_ylabel() == "f(x) [kWh]" and axes[1, 2].get_xlabel() == "x"
    values = table["depth 2"]["width 4"].reshape(-1, 7)
    assert axes[1, 1].get_title() == f"depth 2, width 4: sd {values.std(0).mean():.3g}" and len(axes[1, 1].lines) == 5
    np.testing.assert_array_equal(axes[1, 1].lines[3].get_ydata(), values[3])
    vertices = axes[1, 1].collections[0].get_paths()[0].vertices
    assert vertices[:, 1].max() == pytest.approx(np.quantile(values, 0.975, axis=0).max())
    axes[0, 0].figure.canvas.draw()
    assert plots.functions(torch.tensor(x), values).shape == (1, 1)
    assert plots.functions(x, {"a": values, "b": values}).shape == (1, 2)
    with pytest.raises(ValueError, match="plot one output at a time"):
        plots.functions(x, values[..., None])
    with pytest.raises(ValueError, match="a grid of one input in order"):
        plots.functions(x[::-1], values)
    with pytest.raises(ValueError, match=r"ax: expected 2 Axes, one a panel, got 1; pass plt\.subplots\(1, 2\)"):
        plots.functions(x, {"a": values, "b": values}, ax=axes[0, 0])
