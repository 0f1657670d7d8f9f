"""Plots of posteriors, InferenceData and DataTree: what their artists show, and that all of these give the same."""

from dataclasses import dataclass, field

import matplotlib
import numpy as np
import pytest
import torch
from matplotlib import pyplot as plt
from matplotlib.figure import Figure
from test_plots import draw, make_idata

from bnn_zoo import diagnostics, export, metrics, plots
from bnn_zoo.types import Draws

matplotlib.use("Agg")


@pytest.fixture(autouse=True)
def nothing_leaks():
    yield
    assert plt.get_fignums() == []


@pytest.fixture
def rng():
    return np.random.default_rng(0)


@dataclass
class Fake:
    """What plots see of a Posterior."""

    draws: Draws
    f: np.ndarray
    container: object = None
    asked: list = field(default_factory=list)

    def function_draws(self):
        return {"y": torch.tensor(self.f)}, {}

    def to_inference_data(self):
        return self.container


def with_predictions(rng, classes=0, **groups):
    """A container with test rows, of numbers or of classes; its draws of f and y."""
    shape, n = (4, 100), 25
    f = rng.normal(size=(*shape, n)) if not classes else rng.dirichlet(np.ones(classes), size=(*shape, n))
    y = rng.normal(size=n) if not classes else rng.integers(classes, size=n)
    new = f + rng.normal(size=f.shape) if not classes else rng.integers(classes, size=(*shape, n))
    made = {
        "posterior": {"w": rng.normal(size=(*shape, 3))},
        "predictions": {"y": new, "y_mean": f},
        "predictions_observed_data": {"y": y},
        **groups,
    }
    attrs = {"gradients": 8000, "tuning_time": 1.5, "sampling_time": 0.5}
    return export.to_inference_data(made, group_attrs={"posterior": attrs}), f, new, y


def legends(ax):
    return [t.get_text() for t in ax.get_legend().get_texts()]


def test_convergence_along_a_run_is_that_of_its_beginnings(rng):
    f = rng.normal(size=(4, 60, 5))
    f[0, :30] += 4  # lost until half-way
    axes = plots.function_convergence(torch.tensor(f), points=4)
    for ax, which, worst in ((axes[0], "rhat", np.max), (axes[1], "ess_bulk", np.min)):
        line, median = ax.lines[:2]
        np.testing.assert_array_equal(line.get_xdata(), [60, 120, 180, 240])
        each = [getattr(diagnostics.convergence(f[:, :end]), which).numpy() for end in (15, 30, 45, 60)]
        np.testing.assert_allclose(line.get_ydata(), [worst(e) for e in each])
        np.testing.assert_allclose(median.get_ydata(), [np.median(e) for e in each])
    assert axes[0].lines[0].get_ydata()[1] > 1.5
    draw(axes)
    with pytest.raises(ValueError, match="four draws"):
        plots.function_convergence(f[:, :3])


def test_convergence_of_several_of_a_single_chain_and_of_containers(rng):
    idata, f, _, _ = with_predictions(rng)
    fake = Fake(Draws({}), f)
    axes = plots.function_convergence({"idata": idata, "fit": fake, "one": f[:1]}, points=3)
    of_idata, of_fit, of_one = axes[0].lines[0], axes[0].lines[2], axes[0].lines[4]
    np.testing.assert_allclose(of_idata.get_ydata(), of_fit.get_ydata())
    assert np.isnan(of_one.get_ydata()).all()
    assert axes[0].get_legend() is None and legends(axes[1]) == ["idata", "fit", "one"]
    assert plots.function_trace(idata, rows=[2])[0].get_title() == plots.function_trace(f, rows=[2])[0].get_title()


def test_without_predictions_it_is_the_log_likelihood(rng):
    idata = make_idata(rng)
    axes = plots.function_convergence(idata, points=2)
    np.testing.assert_allclose(
        axes[0].lines[0].get_ydata()[-1],
        float(diagnostics.rhat(export.group(idata, "log_likelihood")["y"].values).max()),
    )
    with pytest.raises(KeyError, match="test="):
        plots.function_trace(export.to_inference_data({"posterior": {"w": rng.normal(size=(2, 10))}}))


def area(patch):
    values, edges, _ = patch.get_data()
    return float((values * np.diff(edges)).sum())


def test_prior_against_posterior_of_a_layer(rng):
    before, after = rng.normal(size=(1, 300, 4, 2)), 0.2 * rng.normal(size=(4, 100, 4, 2)) + 1
    idata = export.to_inference_data({"posterior": {"0.weight": after}, "prior": {"0.weight": before}})
    axes = [
        plots.prior_posterior(idata, "0.weight"),
        plots.prior_posterior(Fake(Draws({"0.weight": torch.tensor(after)}), after), "0.weight", prior=idata),
        plots.prior_posterior({"0.weight": after}, "0.weight", prior={"0.weight": before}),
    ]
    for ax in axes:
        assert legends(ax) == [f"prior, sd {before.std():.3g}", f"posterior, sd {after.std():.3g}"]
        outlines = ax.patches[1::2]
        for patch, values in zip(outlines, (before, after), strict=True):
            heights, edges, _ = patch.get_data()
            inside = ((values >= edges[0]) & (values <= edges[-1])).mean()
            assert 0.99 < inside <= 1
            np.testing.assert_allclose(area(patch), inside)
            top = edges[heights.argmax()]
            assert abs(top - np.median(values)) < 0.6
        assert ax.get_xlabel() == "0.weight, 8 weights"
    draw(axes[0])
    with pytest.raises(KeyError, match=r"to_inference_data\(prior=200\)"):
        plots.prior_posterior({"0.weight": after}, "0.weight")
    with pytest.raises(KeyError, match=r"got \['0.weight'\]"):
        plots.prior_posterior(idata, "1.weight")
    with pytest.raises(ValueError, match="as the posterior"):
        plots.prior_posterior(idata, "0.weight", prior={"0.weight": before[..., 0]})


def test_weights_against_a_point_estimate(rng):
    after, net = rng.normal(size=(2, 50, 3, 4)), torch.nn.Sequential(torch.nn.Linear(4, 3))
    point = net[0].weight.detach().numpy()
    of_map = export.to_inference_data({"posterior": {"0.weight": np.stack([point[None], 9 + point[None]])}})
    for estimate in (net, net.state_dict(), {"0.weight": point}, of_map):
        ax = plots.weight_histogram({"0.weight": after}, "0.weight", estimate)
        assert legends(ax) == [f"posterior, sd {after.std():.3g}", f"point estimate, sd {point.std():.3g}"]
        heights, edges, _ = ax.patches[3].get_data()
        inside = point[(point >= edges[0]) & (point <= edges[-1])]
        np.testing.assert_allclose((heights * np.diff(edges)).sum(), inside.size / point.size)
    draw(ax)
    with pytest.raises(ValueError, match=r"shape \(3, 4\)"):
        plots.weight_histogram({"0.weight": after}, "0.weight", {"0.weight": point.T})
    with pytest.raises(KeyError, match="point"):
        plots.weight_histogram({"0.weight": after}, "0.weight", {})


def test_filter_norms_sorted_with_their_intervals(rng):
    centre = np.array([[3.0, 0, 0, 0], [1, 0, 0, 0], [0, 2, 0, 0]]).reshape(3, 1, 2, 2)
    after = centre + 0.01 * rng.normal(size=(2, 200, 3, 1, 2, 2))
    point = centre.copy()
    point[0] *= 2
    ax = plots.filter_norms({"w": after}, "w", {"w": point}, prob=0.8)
    norms = np.linalg.norm(after.reshape(400, 3, 4), axis=-1)[:, [1, 2, 0]]
    low, high = np.quantile(norms, [0.1, 0.9], axis=0)
    np.testing.assert_allclose([p.vertices[:, 1] for p in ax.collections[0].get_paths()], np.stack([low, high], 1))
    np.testing.assert_allclose(ax.lines[0].get_ydata(), np.median(norms, 0))
    np.testing.assert_allclose(ax.lines[1].get_ydata(), [1, 2, 6])
    assert ax.get_title() == f"{((low < [1, 2, 6]) & (high > [1, 2, 6])).sum()} of 3 point estimates inside"
    draw(ax)
    assert plots.filter_norms({"b": after[:, :, :, 0, 0, 0]}, "b").get_title() == ""
    with pytest.raises(ValueError, match="units"):
        plots.filter_norms({"noise": after[:, :, 0, 0, 0, 0]}, "noise")


def test_pit_is_flat_if_calibrated_and_a_valley_if_too_sure(rng):
    y = rng.normal(size=2000)
    ax = plots.pit({"right": rng.normal(size=(40, 2000)), "sure": 0.3 * rng.normal(size=(2, 20, 2000))}, y, bins=5)
    right, sure = (patch.get_data().values for patch in ax.patches[:2])
    np.testing.assert_allclose([right.mean(), sure.mean()], 1)
    low, high = ax.patches[2].get_y(), ax.patches[2].get_y() + ax.patches[2].get_height()
    assert low < right.min() and right.max() < high and 0.9 < low < high < 1.1
    assert sure[0] > 1.5 and sure[2] < 0.6
    assert legends(ax)[:2] == ["right", "sure"]
    draw(ax)


def test_pit_numbers_against_an_exact_law(rng):
    """Of three draws y has one of four ranks, each as probable: the transform is uniform, ties or not."""
    u = metrics.pit(np.array([[1.0, 5], [2, 5], [3, 5]]), np.array([2.5, 5]))
    assert 0.5 <= u[0] <= 0.75 and 0 <= u[1] <= 1
    counts = rng.poisson(1.0, size=(4, 20_000))
    u = metrics.pit(counts[1:], counts[0])
    np.testing.assert_allclose(np.histogram(u, 8, (0, 1))[0] / 2500, 1, atol=0.08)


def test_predictions_of_containers_are_of_their_test_rows(rng):
    idata, _, new, y = with_predictions(rng)
    for plot in (plots.coverage, plots.pit):
        of_idata, of_arrays = plot(idata), plot(new, y)
        assert legends(of_idata) == legends(of_arrays)
    np.testing.assert_allclose(plots.coverage(idata).lines[1].get_ydata(), plots.coverage(new, y).lines[1].get_ydata())
    assert plots.intervals(idata).get_title() == plots.intervals(new, y).get_title()
    training = make_idata(rng)
    assert legends(plots.coverage(Fake(Draws({}), y, training)))[1] == "model, training rows"
    assert legends(plots.pit({"a": training, "b": idata}))[:2] == ["a, training rows", "b"]
    with pytest.raises(ValueError, match="expected y"):
        plots.pit(new)


def test_class_probabilities_of_containers(rng):
    idata, f, _, y = with_predictions(rng, classes=3)
    for plot in (plots.reliability, plots.plot_risk_coverage):
        np.testing.assert_allclose(plot(idata).lines[-1].get_xydata(), plot(f, y).lines[-1].get_xydata())
    with pytest.raises(TypeError, match="test="):
        plots.reliability(Fake(Draws({}), f))


def test_agreement_and_total_variation_by_hand():
    p = np.array([[1.0, 0, 0], [0.5, 0.3, 0.2], [0, 0, 1]])
    q = np.array([[0.7, 0.3, 0], [0.2, 0.6, 0.2], [0, 0, 1]])
    assert metrics.agreement(p, q) == 2 / 3 and metrics.agreement(p, p) == 1
    np.testing.assert_allclose(metrics.row_total_variation(p, q), [0.3, 0.3, 0])
    np.testing.assert_allclose(metrics.total_variation(p, q), 0.2)
    np.testing.assert_allclose(metrics.total_variation([0.9, 0.5], [0.1, 0.5]), 0.4)
    with pytest.raises(ValueError, match="shape"):
        metrics.agreement(p, q[:2])


def test_agreement_is_drawn_as_the_share_of_rows_within(rng):
    p = np.array([[1.0, 0], [0.5, 0.5], [0.2, 0.8], [0, 1]])
    q = np.array([[0.9, 0.1], [0.1, 0.9], [0.2, 0.8], [0, 1]])
    ax = plots.plot_agreement(p, {"q": np.stack([q, q]), "itself": p})
    line = ax.lines[0]
    assert [np.mean(np.array([0.1, 0.4, 0, 0]) <= t) for t in (0, 0.1, 0.4)] == [
        line.get_ydata()[line.get_xdata() <= t + 1e-9].max() for t in (0, 0.1, 0.4)
    ]
    assert legends(ax) == ["q, agreement 0.750, TV 0.125", "itself, agreement 1.000, TV 0.000"]
    draw(ax)


def test_effective_draws_for_their_cost(rng):
    idata, f, _, _ = with_predictions(rng)
    fake = Fake(Draws({}, attrs={"gradients": 0, "tuning_time": 1.0, "sampling_time": 1.0}), f)
    axes = plots.efficiency({"idata": idata, "array": f, "free": fake}, costs={"array": {"seconds": 4, "gradients": 2000}})
    bulk = diagnostics.ess_bulk(f).numpy()
    of_idata, of_array = ([line for line in ax.lines if line.get_linestyle() == "-"] for ax in axes)
    np.testing.assert_allclose(
        [line.get_xdata() for line in of_idata], [[bulk.min() / s, np.median(bulk) / s] for s in (2, 4, 2)]
    )
    np.testing.assert_allclose(
        [line.get_xdata() for line in of_array], [[bulk.min() / k, np.median(bulk) / k] for k in (8, 2)]
    )
    assert [t.get_text() for t in axes[0].get_yticklabels()] == ["idata", "array", "free"]
    draw(axes)
    with pytest.raises(KeyError, match="costs="):
        plots.efficiency({"array": f})


def test_pairs_of_backends(rng):
    f = rng.normal(size=(2, 50, 30))
    wide = f.mean((0, 1)) + 2 * (f - f.mean((0, 1)))
    point = f.mean((0, 1), keepdims=True)
    axes = plots.pairwise({"a": f, "wide": wide, "point": point}, unit="kWh")
    assert axes.shape == (3, 3)
    for i, j, shown, other in ((1, 0, f.mean((0, 1)), wide.mean((0, 1))), (0, 1, wide.std((0, 1)), f.std((0, 1)))):
        line = axes[i, j].lines[1]
        np.testing.assert_allclose(line.get_xdata(), shown)
        np.testing.assert_allclose(line.get_ydata(), other)
    assert axes[0, 1].get_title() == "sd ratio 0.5" and axes[0, 2].get_title() == "a point has no sd"
    assert float(axes[1, 0].get_title().split()[1]) < 1e-9
    assert axes[2, 2].texts[0].get_text() == "point\n\na point" and axes[2, 0].get_xlabel() == "mean of f [kWh]"
    draw(axes)
    shifted = plots.pairwise({"a": f, "b": f + 3 * f.std((0, 1)).mean()})
    assert abs(float(shifted[1, 0].get_title().split()[1]) - 3) < 0.2
    figure = Figure()
    mine = figure.subplots(2, 2)
    assert plots.pairwise({"a": f, "b": wide}, ax=mine)[0, 1] is mine[0, 1]
    with pytest.raises(ValueError, match="same rows"):
        plots.pairwise({"a": f, "b": f[..., :3]})
    with pytest.raises(ValueError, match="4 Axes"):
        plots.pairwise({"a": f, "b": f}, ax=mine[0])


def test_pairs_of_classes_say_how_far_apart_they_are(rng):
    p, q = rng.dirichlet(np.ones(3), size=(2, 4, 20)), rng.dirichlet(np.ones(3), size=(2, 4, 20))
    title = plots.pairwise({"p": p, "q": q})[1, 0].get_title()
    means = p.mean((0, 1)), q.mean((0, 1))
    assert title == f"agree {metrics.agreement(*means):.3f}, TV {metrics.total_variation(*means):.3f}"
