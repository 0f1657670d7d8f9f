"""Every plot draws without a display, shows the right numbers and leaves pyplot as it was."""

import matplotlib
import numpy as np
import pytest
import torch
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from bnn_zoo import export, metrics, plots
from bnn_zoo.plots import chains

matplotlib.use("Agg")
SOME = {"var_names": ["noise", "0.weight"], "coords": {"0.weight_out": [0], "0.weight_in": [0, 1]}}


@pytest.fixture(autouse=True)
def nothing_leaks():
    yield
    assert plt.get_fignums() == []


@pytest.fixture
def rng():
    return np.random.default_rng(0)


def draw(thing):
    """Really render it."""
    axes = np.ravel(thing)
    figure = thing if isinstance(thing, Figure) else axes[0].figure
    figure.canvas.draw()
    return figure


def test_intervals_count_the_rows_inside(rng):
    y = np.array([0.0, 5.0, -1.0, 0.5])
    ax = plots.intervals(torch.tensor(rng.normal(size=(4, 100, 4))), y, unit="kWh")
    assert isinstance(ax, Axes) and ax.get_title() == "75% of 4 rows in 90% intervals"
    assert ax.get_ylabel() == "y [kWh]"
    np.testing.assert_array_equal(ax.lines[-1].get_ydata(), np.sort(y))
    draw(ax)
    with pytest.raises(ValueError, match="one output at a time"):
        plots.intervals(rng.normal(size=(10, 3)), y)
    with pytest.raises(ValueError, match="between 0 and 1"):
        plots.intervals(rng.normal(size=(10, 4)), y, prob=90)


def test_coverage_of_a_calibrated_and_a_certain_model(rng):
    y = rng.normal(size=500)
    ax = plots.coverage({"right": rng.normal(size=(2, 200, 500)), "sure": 0.1 * rng.normal(size=(400, 500))}, y)
    _, right, sure = ax.lines
    np.testing.assert_allclose(right.get_ydata(), right.get_xdata(), atol=0.08)
    assert (sure.get_ydata()[3:] < 0.5 * sure.get_xdata()[3:]).all()
    assert [t.get_text() for t in ax.get_legend().get_texts()] == ["calibrated", "right", "sure"]
    draw(ax)
    draw(plots.coverage(rng.normal(size=(50, 500)), y))


def test_reliability_of_a_calibrated_model(rng):
    probs = rng.dirichlet(np.ones(4), size=4000)
    y = (probs.cumsum(1) > rng.random((4000, 1))).argmax(1)
    ax = plots.reliability({"one": probs, "draws": np.stack([probs, probs])}, y, bins=8)
    for line in ax.lines[1:]:
        np.testing.assert_allclose(line.get_ydata(), line.get_xdata(), atol=0.1)
    one, draws = (t.get_text().split(", ECE ") for t in ax.get_legend().get_texts()[1:])
    assert one[1] == draws[1] and float(one[1]) < 0.05
    draw(ax)


def test_confidence_of_rows_within_and_outside(rng):
    within = torch.tensor(6 * rng.normal(size=(3, 200, 10))).softmax(-1)
    outside = rng.dirichlet(np.ones(10), size=(2, 5, 80))
    axes = plots.plot_confidence(within, outside, bins=12)
    assert axes.shape == (2,) and all(len(ax.patches) == 4 for ax in axes)
    means = within.mean(0), outside.mean((0, 1))
    report = metrics.ood_report(*means)
    for ax, name, score in zip(axes, report, (metrics.confidence, metrics.predictive_entropy), strict=True):
        inside, beyond = (t.get_text() for t in ax.get_legend().get_texts())
        assert inside == f"in distribution, mean {score(means[0]).mean():.3f}"
        area = report[name]["auroc"]
        assert beyond == f"out of distribution, mean {score(means[1]).mean():.3f}, AUROC {area:.3f}"
    np.testing.assert_allclose([axes[0].get_xlim(), axes[1].get_xlim()], [(0.1, 1), (0, np.log(10))], atol=0.03)
    assert [t.get_text() for t in axes[0].get_xticklabels()] == ["0.1", "0.4", "0.7", "1"]
    draw(axes)


def test_confidence_histograms_are_shares_of_rows():
    """Of four rows one is undecided; the draws of the single row outside are sure and disagree, so their mean is flat."""
    within = np.array([[1.0, 0.0], [0.0, 1.0], [0.9, 0.1], [0.5, 0.5]])
    outside = np.array([[[1.0, 0.0]], [[0.0, 1.0]]])
    for ax, low_to_high in zip(plots.plot_confidence(within, {"split": outside}, bins=2), (1, -1), strict=True):
        heights = [patch.get_data().values[::low_to_high] for patch in ax.patches[1::2]]  # each outline follows its filling
        np.testing.assert_allclose(heights, [[1 / 4, 3 / 4], [1, 0]])


def test_confidence_of_several_sets(rng):
    flat, sure = np.full((5, 3), 1 / 3, dtype=np.float32), np.eye(3)[[0, 1, 2, 1]]
    axes = plots.plot_confidence({"digits": sure}, {"noise": flat, "other digits": sure})
    texts = [t.get_text() for t in axes[0].get_legend().get_texts()]
    assert texts[1:] == ["noise, mean 0.333, AUROC 1.000", "other digits, mean 1.000, AUROC 0.500"]
    binary = plots.plot_confidence([0.9, 0.1], [0.5])
    assert binary[0].get_xticks()[0] == 0.5
    draw(binary)
    figure = Figure()
    panels = figure.subplots(1, 2)
    assert list(plots.plot_confidence(sure, flat, ax=panels)) == list(panels)
    with pytest.raises(ValueError, match=r"same classes in every set, got \[2, 3\]"):
        plots.plot_confidence(sure, [0.5])
    with pytest.raises(ValueError, match="two Axes"):
        plots.plot_confidence(sure, flat, ax=panels[0])
    with pytest.raises(ValueError, match="softmax"):
        plots.plot_confidence(np.log(rng.dirichlet(np.ones(3), size=4)), sure)


def test_risk_coverage_ends_at_the_error_rate(rng):
    probs = rng.dirichlet(np.ones(4), size=(2, 300))
    y = rng.integers(4, size=300)
    ax = plots.plot_risk_coverage({"two draws": torch.tensor(probs), "one": probs[0]}, torch.tensor(y))
    for line, p, text in zip(ax.lines, (probs.mean(0), probs[0]), ax.get_legend().get_texts(), strict=True):
        np.testing.assert_allclose(line.get_xydata()[-1], [1, 1 - metrics.accuracy(p, y)])
        np.testing.assert_allclose(line.get_xydata().T, metrics.risk_coverage(p, y))
        assert text.get_text().endswith(f"AURC {metrics.aurc(p, y):.2g}")
    draw(ax)
    panel = Figure().subplots()
    assert plots.plot_risk_coverage(probs[0, :, :1].ravel(), y % 2, ax=panel) is panel
    with pytest.raises(ValueError, match="labels"):
        plots.plot_risk_coverage(probs, y[:-1])


def test_traces_carry_rhat(rng):
    f = rng.normal(size=(4, 100, 12))
    f[0, :, 0] += 5
    axes = plots.function_trace(torch.tensor(f))
    assert axes.shape == (4,) and all(len(ax.lines) == 4 for ax in axes)
    assert [int(ax.get_title().split(",")[0][4:]) for ax in axes] == [0, 4, 7, 11]
    shown = [float(ax.get_title().split()[-1]) for ax in axes]
    assert shown[0] > 1.2 and max(shown[1:]) < 1.1
    draw(axes)
    assert "undefined" in plots.function_trace(f[:1], rows=[3])[0].get_title()
    with pytest.raises(ValueError, match=r"f\[\.\.\., 0\]"):
        plots.function_trace(f[0])


def test_ranks_stay_in_the_band_only_if_chains_agree(rng):
    f = rng.normal(size=(4, 300, 2))
    f[..., 0] = np.arange(1200).reshape(300, 4).T  # dealt out evenly
    f[3, :, 1] += 1
    same, shifted = plots.function_rank(f)
    band = np.abs(same.collections[0].get_paths()[0].vertices[:, 1]).max()
    highest = [[np.abs(line.get_ydata()).max() for line in ax.lines[:4]] for ax in (same, shifted)]
    assert max(highest[0]) < band < highest[1][3]
    draw([same])
    with pytest.raises(ValueError, match="function_trace"):
        plots.function_rank(f[:1])


def test_rank_ecdf_of_disjoint_and_tied_chains():
    grid = np.linspace(0, 1, 5)
    apart = chains._rank_ecdf(np.stack([np.arange(8.0), 100 + np.arange(8.0)]), grid)
    np.testing.assert_allclose(apart, [[0, 0.25, 0.5, 0.25, 0], [0, -0.25, -0.5, -0.25, 0]])
    np.testing.assert_allclose(chains._rank_ecdf(np.ones((2, 8)), grid)[0], chains._rank_ecdf(np.ones((2, 8)), grid)[1])


def test_rank_band_holds_as_often_as_it_says(rng):
    grid = np.linspace(0, 1, 41)
    band = chains._rank_band(4, 80, grid)
    inside = [(np.abs(chains._rank_ecdf(rng.normal(size=(4, 80)), grid)) <= band + 1e-9).all() for _ in range(500)]
    assert 0.93 < np.mean(inside) <= 0.99


def test_they_draw_where_they_are_told(rng):
    figure = Figure()
    panels = figure.subplots(2, 3)
    y = rng.normal(size=20)
    f = rng.normal(size=(2, 50, 20))
    assert plots.intervals(f, y, ax=panels[0, 0]) is panels[0, 0]
    assert plots.coverage(f, y, ax=panels[0, 1]) is panels[0, 1]
    assert plots.function_trace(f, rows=[1], ax=panels[0, 2])[0] is panels[0, 2]
    assert list(plots.function_rank(f, rows=[1, 2, 3], ax=panels[1])) == list(panels[1])
    draw(figure)
    with pytest.raises(ValueError, match="one Axes for each of 2 rows"):
        plots.function_trace(f, rows=[1, 2], ax=panels[1])


def test_many_chains_need_no_legend(rng):
    axes = plots.function_trace(rng.normal(size=(20, 10, 1)))
    assert axes[0].get_legend() is None
    assert len({tuple(line.get_color()) for line in axes[0].lines}) == 20


def make_idata(rng, chains=4, shift=0.0):
    shape, y = (chains, 200), np.linspace(-1, 1, 30)
    mean = shift + 0.3 * rng.normal(size=(*shape, 30))
    sites = {"0.weight": rng.normal(size=(*shape, 5, 3)), "noise": rng.gamma(2.0, size=shape)}
    groups = {
        "posterior": sites,
        "prior": {"noise": rng.gamma(2.0, size=shape), "0.weight": sites["0.weight"]},
        "sample_stats": {"energy": rng.normal(size=shape), "diverging": rng.random(shape) < 0.05},
        "log_likelihood": {"y": -0.5 * (y - mean) ** 2},
        "posterior_predictive": {"y": mean + rng.normal(size=mean.shape)},
        "observed_data": {"y": y},
    }
    return export.to_inference_data(groups, dims={"y": ["obs"], "0.weight": export.weight_dims("0.weight", (5, 3))})


@pytest.fixture(scope="module")
def idata():
    return make_idata(np.random.default_rng(0))


def arguments(name, idata):
    if name == "plot_compare":
        return None
    if name == "plot_khat":
        return export.loo(idata), {}
    if name in ("plot_energy", "plot_ppc_pit"):
        return idata, {}
    if name == "plot_ppc_dist":
        return idata, {"num_samples": 10}
    if name == "plot_loo_pit":
        return idata, {"var_names": "y"}
    return ({"a": idata, "b": idata} if name == "plot_forest" else idata), SOME


@pytest.mark.parametrize("name", sorted(set(plots.OLD_PLOTS) - {"plot_compare"}))
def test_arviz_plots_under_one_name(name, idata):
    thing, options = arguments(name, idata)
    figure = plots.arviz_plot(name, thing, **options)
    assert isinstance(figure, Figure) and figure.axes


@pytest.mark.parametrize("name", ["plot_trace_dist", "plot_forest", "plot_dist", "plot_ppc_dist"])
def test_arviz_plots_of_a_single_chain(name):
    thing = make_idata(np.random.default_rng(1), chains=1)
    draw(plots.arviz_plot(name, thing, **({} if name == "plot_ppc_dist" else SOME)))


def test_pyplot_keeps_only_its_own_figures(idata):
    mine = plt.figure()
    plots.arviz_plot("plot_energy", idata)
    assert plt.get_fignums() == [mine.number]
    with pytest.raises(ValueError, match="plot_trace_dist"):
        plots.arviz_plot("plot_nonsense", idata)
    assert plt.get_fignums() == [mine.number]
    plt.close(mine)


def test_compare(idata):
    table = export.compare({"good": idata, "bad": make_idata(np.random.default_rng(2), shift=1.0)})
    before = table.copy()
    ax = plots.compare(table)
    assert isinstance(ax, Axes) and [t.get_text() for t in ax.get_yticklabels()] == ["good", "bad"]
    assert table.equals(before)
    draw(ax)
