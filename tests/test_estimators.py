"""The doors from scikit-learn and BoTorch: right values against closed forms, and the other libraries' own rules."""

import re
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import scipy.stats as st
import torch

import bnn_zoo as bz
from bnn_zoo.predict import means

sklearn = pytest.importorskip("sklearn", minversion="1.6", reason="needs scikit-learn ≥ 1.6: pip install 'bnn-zoo[sklearn]'")
from sklearn.base import clone  # noqa: E402
from sklearn.model_selection import GridSearchCV, cross_val_score  # noqa: E402
from sklearn.pipeline import make_pipeline  # noqa: E402
from sklearn.preprocessing import MinMaxScaler  # noqa: E402
from sklearn.utils.estimator_checks import estimator_checks_generator  # noqa: E402

from bnn_zoo import estimators  # noqa: E402
from bnn_zoo.estimators import BNNClassifier, BNNRegressor  # noqa: E402
from bnn_zoo.estimators.choosing import WORK, chosen  # noqa: E402
from bnn_zoo.estimators.regressor import _on_real_line  # noqa: E402

SHORT = bz.HMC(chains=1, warmup=30, draws=20, max_leapfrogs=8, compile=False)
"""For what does not ask whether the answer is right."""
NORMAL = bz.Laplace(chains=1, steps=400, step_size=0.05, draws=4_000)
"""Exact for a linear regression whose noise is known, whose posterior is normal; independent draws."""
SMALL = [BNNRegressor((5,), backend=SHORT), BNNClassifier((5,), backend=SHORT)]
QUICK = {
    "check_estimator_cloneable",
    "check_estimator_repr",
    "check_do_not_raise_errors_in_init_or_set_params",
    "check_mixin_order",
    "check_no_attributes_set_in_init",
    "check_parameters_default_constructible",
    "check_estimators_unfitted",
    "check_estimators_empty_data_messages",
    "check_estimator_sparse_array",
    "check_complex_data",
    "check_fit1d",
    "check_fit2d_1sample",
    "check_classifiers_one_label",
    "check_classifiers_regression_target",
    "check_supervised_y_no_nan",
    "check_requires_y_none",
}
"""Of scikit-learn's checks those that fit nothing."""


SLOW = [pytest.mark.slow]


def name_of(check):
    return getattr(check, "func", check).__name__


@pytest.mark.parametrize(
    "estimator, check",
    [
        pytest.param(e, check, id=f"{type(e).__name__}-{name_of(check)}", marks=SLOW * (name_of(check) not in QUICK))
        for small in SMALL
        for e, check in estimator_checks_generator(small)
    ],
)
def test_every_rule_of_scikit_learn(estimator, check):
    """What ``parametrize_with_checks`` lists, without exceptions; by hand, so that the quick ones need no ``-m slow``."""
    check(estimator)


# ---------------------------------------------------------------------------------------------- a line, in closed form

SD = 4.0


def line(rows, seed):
    """y = 100 − 3 x₁ + 0.5 x₂ + noise of standard deviation SD, columns of very different scales."""
    rng = np.random.default_rng(seed)
    x = rng.normal([5.0, -200.0], [2.0, 40.0], size=(rows, 2))
    return x, 100 - 3 * x[:, 0] + 0.5 * x[:, 1] + rng.normal(0, SD, rows)


class Line:
    """The conjugate posterior of a linear regression on standardised data, noise known, weights N(0, 1/inputs)."""

    def __init__(self, x, y):
        self.x_mean, self.x_sd, self.y_mean, self.y_sd = x.mean(0), x.std(0), y.mean(), y.std()
        self.noise = SD / self.y_sd
        a = self.design(x)
        self.covariance = np.linalg.inv(np.diag([1, 2, 2]) + a.T @ a / self.noise**2)
        self.mean = self.covariance @ a.T @ (y - self.y_mean) / self.y_sd / self.noise**2

    def design(self, x):
        return np.column_stack([np.ones(len(x)), (x - self.x_mean) / self.x_sd])

    def predict(self, x):
        a = self.design(x)
        sd = np.sqrt(np.einsum("ni,ij,nj->n", a, self.covariance, a) + self.noise**2)
        return self.y_mean + self.y_sd * a @ self.mean, self.y_sd * sd


@pytest.fixture(scope="module")
def fitted():
    x, y = line(12, 0)
    return BNNRegressor((), likelihood=bz.likelihoods.Gaussian(SD / y.std()), backend=NORMAL).fit(x, y), x, y


def test_a_line_has_the_closed_form_mean_and_sd(fitted):
    model, x, y = fitted
    new = np.vstack([line(5, 1)[0], [[30.0, 300.0]]])  # and a row far beyond the data, whose sd is that of the weights
    mean, sd = Line(x, y).predict(new)
    got_mean, got_sd = model.predict(new, return_std=True)
    assert sd[-1] > 4 * sd[0]
    assert np.abs((got_mean - mean) / sd).max() < 0.1
    assert np.abs(got_sd / sd - 1).max() < 0.08
    assert np.array_equal(model.predict(new), got_mean)


def test_an_interval_has_the_closed_form_ends(fitted):
    model, x, y = fitted
    mean, sd = Line(x, y).predict(x)
    for level in (0.5, 0.9):
        low, high = model.predict_interval(x, level)
        reach = st.norm.ppf((1 + level) / 2) * sd
        assert np.abs((low - (mean - reach)) / sd).max() < 0.15 and np.abs((high - (mean + reach)) / sd).max() < 0.15


def test_return_std_is_the_sd_of_the_prediction_in_units_of_y(fitted):
    model, x, y = fitted
    inside = torch.as_tensor((x - x.mean(0)) / x.std(0))
    prediction = model.posterior_.predict(inside)
    mean, sd = model.predict(x, return_std=True)
    np.testing.assert_allclose(sd, prediction.sd.numpy() * y.std(), rtol=1e-10)
    np.testing.assert_allclose(mean, y.mean() + y.std() * prediction.mean.numpy(), rtol=1e-10)
    assert model.score(x, y) == pytest.approx(1 - ((y - mean) ** 2).sum() / ((y - y.mean()) ** 2).sum())


def test_intervals_cover_as_many_new_rows_as_they_say():
    """A line with unknown noise, learnt from many rows: of 1,000 new ones the share inside is that of a binomial."""
    model = BNNRegressor((), backend=NORMAL, seed=1).fit(*line(600, 2))
    x, y = line(1_000, 3)
    low, high = model.predict_interval(x, 0.8)
    assert (
        abs(int(((low <= y) & (y <= high)).sum()) - 800) < 4 * np.sqrt(1_000 * 0.8 * 0.2) + 20
    )  # and for the fit's own error
    noise = model.posterior_.draws.sites["noise"].mean() * model.scaler_y_.scale_[0]
    assert float(noise) == pytest.approx(SD, rel=0.1)


def test_two_targets_are_two_lines_and_y_keeps_its_shape():
    x, y = line(12, 0)
    both = np.column_stack([y, 7 - 2 * y])
    scale = bz.likelihoods.Gaussian(SD / y.std())
    model = BNNRegressor((), likelihood=scale, backend=NORMAL).fit(x, both)
    mean, sd = model.predict(x, return_std=True)
    low, high = model.predict_interval(x)
    assert mean.shape == sd.shape == low.shape == high.shape == (12, 2)
    wanted_mean, wanted_sd = Line(x, y).predict(x)
    for column, a, b in ((0, 0, 1), (1, 7, -2)):
        assert np.abs((mean[:, column] - (a + b * wanted_mean)) / (b * wanted_sd)).max() < 0.1
        assert np.abs(sd[:, column] / np.abs(b * wanted_sd) - 1).max() < 0.08
    assert ((low < mean) & (mean < high)).all()


# ---------------------------------------------------------------------------------------------- classes


def test_a_logistic_regression_has_the_probabilities_of_quadrature():
    x, labels = np.array([0.0, 1.0, 2.0, 4.0, 5.0, 9.0]), np.array(["no", "no", "yes", "no", "yes", "yes"])
    backend = bz.HMC(chains=2, warmup=100, draws=400, max_leapfrogs=8, compile=False, processes=1)
    model = BNNClassifier((), backend=backend).fit(x[:, None], labels)
    z = (x - x.mean()) / x.std()
    w, b = np.meshgrid(*[np.linspace(-6, 6, 241)] * 2, indexing="ij")
    expit = lambda t: 1 / (1 + np.exp(-t))
    weight = np.exp(-(w**2 + b**2) / 2)
    for z_i, label in zip(z, labels, strict=True):
        weight = weight * expit((1 if label == "yes" else -1) * (w * z_i + b))
    wanted = [(weight * expit(w * z_i + b)).sum() / weight.sum() for z_i in z]
    p = model.predict_proba(x[:, None])
    assert list(model.classes_) == ["no", "yes"] and p.shape == (6, 2)
    np.testing.assert_allclose(p[:, 1], wanted, atol=0.03)
    assert list(model.predict(x[:, None])) == ["yes" if q > 0.5 else "no" for q in p[:, 1]]


@pytest.mark.parametrize("classes", [["b", "a"], [30, 10, 20]])
def test_probabilities_sum_to_one_in_the_order_of_the_classes(classes):
    rng = np.random.default_rng(0)
    labels = np.array(classes)[np.arange(60) % len(classes)]
    x = rng.normal(size=(60, 2)) + 6 * np.stack([labels == c for c in sorted(classes)], 1)[:, :2]
    model = BNNClassifier((4,), backend=bz.MAP(steps=200, step_size=0.05)).fit(x.astype(np.float32), labels)
    p = model.predict_proba(x)
    assert list(model.classes_) == sorted(classes) and p.shape == (60, len(classes))
    np.testing.assert_allclose(p.sum(1), 1, atol=1e-15)
    assert model.score(x, labels) > 0.95 and model.predict(x).dtype == labels.dtype
    assert next(iter(model.posterior_.draws.sites.values())).dtype == torch.float32  # as X was in fit


# ---------------------------------------------------------------------------------------------- among scikit-learn's tools


@pytest.mark.slow
def test_works_in_a_grid_search_with_processes():
    x, y = line(30, 4)
    chain = make_pipeline(MinMaxScaler(), BNNRegressor((), backend=bz.MAP(steps=300, step_size=0.05)))
    search = GridSearchCV(chain, {"bnnregressor__hidden": [(), (2,)]}, cv=2, n_jobs=2).fit(x, y)
    assert search.best_params_["bnnregressor__hidden"] == () and search.score(x, y) > 0.8


@pytest.fixture(scope="module")
def net():
    x, y = line(12, 8)
    return BNNRegressor((3,), prior=bz.priors.Normal(0.5), backend=SHORT, seed=np.int64(3)).fit(x, y)


def test_works_in_a_pipeline_and_cross_validation():
    x, y = line(30, 4)
    chain = make_pipeline(MinMaxScaler(), BNNRegressor((), backend=bz.MAP(steps=300, step_size=0.05)))
    assert cross_val_score(chain, x, y, cv=2).min() > 0.7


def test_a_clone_is_unfitted_and_gives_the_same_answer_and_no_global_state_moves(net):
    copy = clone(net)
    assert not hasattr(copy, "posterior_") and copy.get_params()["prior"] == bz.priors.Normal(0.5)
    torch.manual_seed(11)
    before = torch.get_rng_state()
    copy.fit(*line(12, 8))
    assert torch.equal(torch.get_rng_state(), before)
    x, _ = line(12, 9)
    assert np.array_equal(copy.predict_interval(x), net.predict_interval(x))
    assert not np.array_equal(copy.set_params(seed=4).fit(*line(12, 8)).predict(x), net.predict(x))


def test_tables_of_pandas_carry_names_and_nan_is_refused_in_words():
    x, y = line(12, 6)
    table = pd.DataFrame(x, columns=["age", "bmi"])
    model = BNNRegressor((), backend=NORMAL).fit(table, pd.Series(y, name="price"))
    assert list(model.feature_names_in_) == ["age", "bmi"] and model.n_features_in_ == 2
    assert np.array_equal(model.predict(table[:3]), model.predict(table)[:3])
    with pytest.raises(ValueError, match="feature names"):
        model.predict(table[["bmi", "age"]])
    for action in (lambda t: model.predict(t), lambda t: BNNRegressor().fit(t, y)):
        with pytest.raises(ValueError, match=r"Input X contains NaN[\s\S]*BNNRegressor does not accept missing values"):
            action(table.mask(table["age"] > 6))
    with pytest.raises(ValueError, match="Input y contains NaN"):
        BNNRegressor().fit(table, np.where(y > 0, np.nan, y))
    words, said = table.assign(town=["a", "b", "c"] * 4), r"X has words in town \(could not convert.*sparse_output=False"
    for estimator in (BNNRegressor(), BNNClassifier()):
        with pytest.raises(ValueError, match=said):
            estimator.fit(words, y > 0)


def test_what_cannot_be_fitted_is_refused_in_words(fitted):
    model, x, y = fitted
    with pytest.raises(ValueError, match="same in all rows"):
        BNNRegressor().fit(x, np.ones(12))
    with pytest.raises(ValueError, match="law of classes: use BNNClassifier"):
        BNNRegressor(likelihood=bz.likelihoods.Bernoulli()).fit(x, y)
    for level in (0, 1, 90, True, "0.9"):
        with pytest.raises(ValueError, match="level must be a probability"):
            model.predict_interval(x, level)
    with pytest.raises(TypeError, match="fit needs a backend"):
        BNNRegressor(backend="NUTS").fit(x, y)


def test_a_column_that_is_constant_in_the_fit_tells_nothing_later():
    x, y = line(12, 0)
    wide = np.column_stack([x, np.full(12, 2026.0)])
    model = BNNRegressor((), backend=NORMAL).fit(wide, y)
    assert np.array_equal(model.predict(wide), model.predict(wide + [0, 0, 50]))


@pytest.mark.parametrize(
    "name, real",
    [
        ("StudentT", True),
        ("MixtureDensity", True),
        ("MultivariateNormal", True),
        ("HeteroscedasticGaussian", True),
        ("NegativeBinomial", False),
        ("Beta", False),
    ],
)
def test_y_is_standardised_where_it_may_be_any_number(name, real):
    likelihood = getattr(bz.likelihoods, name)(*[3][: name == "MixtureDensity"])
    assert _on_real_line(likelihood, likelihood.out_features(2)) is real


def test_counts_stay_counts():
    """Under a Poisson law y is not standardised: an intercept alone has the mean of the counts."""
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(200, 1)), rng.poisson(6.0, 200)
    model = BNNRegressor((), likelihood=bz.likelihoods.Poisson(), prior=bz.priors.Normal(3.0), backend=NORMAL).fit(x, y)
    assert model.predict(x).mean() == pytest.approx(y.mean(), rel=0.02)
    mean, sd = model.predict(x, return_std=True)
    np.testing.assert_allclose(sd, np.sqrt(mean), rtol=0.02)


# ---------------------------------------------------------------------------------------------- which backend


def test_the_choice_goes_by_size_and_is_said_in_words(fitted, capsys):
    for rows, weights, name in ((100, 3, "NUTS"), (900, 501, "MCLMC"), (WORK, 501, "SGHMC")):
        backend, why = chosen(rows, weights)
        assert type(backend).__name__ == name and why.startswith(f"{name}, as {rows:,} rows and {weights:,} weights")
    model, x, y = fitted
    assert model.backend_ is NORMAL and model.backend_reason_.endswith("as it was given") and capsys.readouterr().out == ""
    assert clone(model).set_params(verbose=True).fit(x, y).backend_reason_ == model.backend_reason_
    assert capsys.readouterr().out == f"BNNRegressor: {model.backend_reason_}.\n"


@pytest.mark.slow
def test_nobody_needs_to_choose():
    x, y = line(40, 7)
    model = BNNRegressor((3,)).fit(x, y)
    assert type(model.backend_).__name__ == "NUTS" and model.score(x, y) > 0.8
    groups = bz.export.groups(model.posterior_.to_inference_data())
    assert {"posterior", "log_likelihood", "observed_data"} <= set(groups)


# ---------------------------------------------------------------------------------------------- BoTorch


def test_means_are_those_of_predictions_with_the_gradient_of_differences(net):
    posterior = net.posterior_
    sites = {name: value.flatten(0, 1)[::4] for name, value in posterior.draws.sites.items()}
    x = torch.randn(4, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(0), requires_grad=True)
    f = means(posterior.model, sites, x)
    assert f.shape == (5, 4)
    torch.testing.assert_close(f.detach(), posterior.predict(x.detach()).f.flatten(0, 1)[::4])
    torch.testing.assert_close(means(posterior.model, sites, x, together=False), f)
    (gradient,) = torch.autograd.grad(f[2].sum(), x)
    with torch.no_grad():
        for j, step in enumerate(1e-5 * torch.eye(2, dtype=torch.float64)):
            ahead, behind = (means(posterior.model, sites, x + sign * step)[2] for sign in (1, -1))
            torch.testing.assert_close((ahead - behind) / 2e-5, gradient[:, j], rtol=1e-6, atol=1e-8)
        assert not means(posterior.model, sites, x).requires_grad


def test_without_botorch_the_model_says_what_to_install(monkeypatch):
    monkeypatch.delitem(sys.modules, "bnn_zoo.estimators.ensemble", raising=False)
    monkeypatch.setitem(sys.modules, "botorch", None)
    with pytest.raises(ImportError, match=r'pip install "bnn-zoo\[botorch\]"'):
        _ = estimators.BNNModel
    with pytest.raises(AttributeError, match="no attribute 'BNNmodel'"):
        _ = estimators.BNNmodel


@pytest.fixture
def botorch():
    return pytest.importorskip("botorch", reason="BoTorch is not installed: pip install 'bnn-zoo[botorch]'")


@pytest.mark.slow
def test_the_model_is_the_regressor_in_its_own_units(botorch, net):
    model = estimators.BNNModel(net, functions=None)
    x = torch.tensor(line(24, 9)[0]).reshape(4, 3, 2, 2)  # a batch of [4, 3], q = 2
    posterior = model.posterior(x)
    assert model.num_outputs == 1 and posterior.values.shape == (4, 3, 20, 2, 1)
    np.testing.assert_allclose(posterior.mean.reshape(-1), net.predict(x.reshape(-1, 2)), rtol=1e-10)
    inside = torch.as_tensor(net.scaler_x_.transform(x.reshape(-1, 2)))
    sd = net.posterior_.predict(inside).epistemic * net.scaler_y_.scale_[0] * (20 / 19) ** 0.5  # BoTorch divides by 19
    np.testing.assert_allclose(posterior.variance.sqrt().reshape(-1), sd, rtol=1e-8)
    samples = posterior.rsample(torch.Size([5]))
    assert samples.shape == (5, 4, 3, 2, 1)
    functions = posterior.values.movedim(-3, 0)  # each sample is one function at both of its q points
    assert all((functions == sample).all((-1, -2)).any(0).all() for sample in samples)
    few = estimators.BNNModel(net, functions=4)
    at = [0, 6, 13, 19]
    torch.testing.assert_close(few.posterior(x).values, posterior.values[..., at, :, :])


@pytest.mark.slow
def test_the_model_is_differentiable_and_has_as_many_outputs_as_targets(botorch):
    x, y = line(12, 8)
    both = BNNRegressor((3,), backend=SHORT).fit(x, np.column_stack([y, -y]))
    model = estimators.BNNModel(both, functions=3)
    new = torch.tensor(line(4, 9)[0], requires_grad=True).reshape(2, 2, 2)
    assert model.posterior(new).values.shape == (2, 3, 2, 2) and model.num_outputs == 2
    assert torch.autograd.gradcheck(lambda z: model.posterior(z).values, (new,))
    assert torch.autograd.gradcheck(lambda z: model.posterior(z, output_indices=[1]).mean, (new,))


@pytest.mark.slow
def test_the_model_of_a_posterior_takes_it_as_it_is(botorch, net):
    x = torch.randn(5, 2, dtype=torch.float64)
    values = estimators.BNNModel(net.posterior_, functions=None).posterior(x).values
    torch.testing.assert_close(values[..., 0], net.posterior_.predict(x).f[0])


@pytest.mark.slow
def test_acquisition_functions_are_climbed_by_their_gradient(botorch, net):
    """What BoTorch's optimiser finds is no worse than the best of a fine grid; batches of two points are found as well."""
    from botorch.acquisition import UpperConfidenceBound, qLogExpectedImprovement, qLogNoisyExpectedImprovement
    from botorch.optim import optimize_acqf

    x, y = (torch.as_tensor(a) for a in line(12, 8))
    model = estimators.BNNModel(net)
    low, high = bounds = torch.stack([x.min(0).values, x.max(0).values])
    bound = UpperConfidenceBound(model, beta=2.0)
    _, best = optimize_acqf(bound, bounds, q=1, num_restarts=4, raw_samples=64)
    grid = low + (high - low) * torch.cartesian_prod(*[torch.linspace(0, 1, 41, dtype=torch.float64)] * 2)
    assert float(best) > float(bound(grid[:, None]).detach().max()) - 1e-3
    for improvement in (qLogExpectedImprovement(model, y.max()), qLogNoisyExpectedImprovement(model, x)):
        found, _ = optimize_acqf(improvement, bounds, q=2, num_restarts=2, raw_samples=16)
        assert found.shape == (2, 2) and bool(((found >= low) & (found <= high)).all())


@pytest.mark.slow
def test_what_the_model_cannot_do_is_refused_in_words(botorch, net):
    from botorch.exceptions import UnsupportedError
    from sklearn.exceptions import NotFittedError

    model = estimators.BNNModel(net)
    x = torch.zeros(3, 2, dtype=torch.float64)
    with pytest.raises(UnsupportedError, match="fit again with all observations"):
        model.condition_on_observations(x, x[:, :1])
    with pytest.raises(UnsupportedError, match="cannot look ahead"):
        model.fantasize(x, None)
    with pytest.raises(ValueError, match=r"X must be \[\*batch, q, 2\]"):
        model.posterior(x[:, :1])
    with pytest.raises(ValueError, match="functions=2 or more"):
        estimators.BNNModel(net, functions=1)
    with pytest.raises(NotFittedError):
        estimators.BNNModel(BNNRegressor())
    with pytest.raises(TypeError, match="a fitted BNNRegressor, or the Posterior of a BNN, got BNNClassifier"):
        estimators.BNNModel(BNNClassifier())


# ---------------------------------------------------------------------------------------------- the page

BLOCKS = re.findall(r"```python\n(.*?)```", (Path(__file__).parents[1] / "docs" / "estimators.md").read_text(), re.S)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::UserWarning")  # of runs far too short
def test_the_page_on_estimators_runs():
    """Its blocks follow each other, and what they assert holds."""
    space: dict = {}
    for block in BLOCKS:
        if "BNNModel" in block:
            pytest.importorskip("botorch", reason="BoTorch is not installed: pip install 'bnn-zoo[botorch]'")
        exec(compile(block, "docs/estimators.md", "exec"), space)
    assert space["search"].best_params_ and space["probabilities"].shape[1] == 2
