"""Metrics against numbers worked by hand, closed forms, and scikit-learn where it has the same."""

import itertools
import math
import warnings

import numpy as np
import pytest
import sklearn.metrics
import torch
from scipy.special import logsumexp
from scipy.stats import energy_distance, norm

from bnn_zoo import metrics

THREE = np.array([[0.7, 0.2, 0.1], [0.1, 0.6, 0.3], [0.5, 0.3, 0.2], [0.2, 0.2, 0.6]])
LABELS = np.array([0, 1, 1, 2])


@pytest.fixture
def rng():
    return np.random.default_rng(0)


def test_rmse():
    assert metrics.rmse([1.0, 2.0, 3.0], torch.tensor([1.0, 2.0, 6.0])) == pytest.approx(math.sqrt(3))
    assert metrics.rmse(np.zeros((2, 2)), np.full((2, 2), 2.0)) == 2.0


def test_lppd_is_the_mixture():
    """Two draws of unit variance at -3 and 3, y = 0: the moment-matched Gaussian N(0, 10) would say something else."""
    log_likelihood = norm.logpdf(0, [[-3.0], [3.0]], 1)
    assert metrics.lppd(log_likelihood) == pytest.approx(norm.logpdf(3))
    assert abs(metrics.lppd(log_likelihood) - norm.logpdf(0, 0, math.sqrt(10))) > 3
    assert metrics.nll(log_likelihood) == -metrics.lppd(log_likelihood)


def test_lppd_over_chains_and_draws(rng):
    values = rng.normal(-1000, 5, (4, 50, 7))
    expected = (logsumexp(values, axis=(0, 1)) - math.log(200)).mean()
    assert metrics.lppd(values) == pytest.approx(expected, rel=1e-12)
    assert metrics.lppd(torch.tensor(values).flatten(0, 1)) == pytest.approx(expected, rel=1e-12)
    assert metrics.lppd(values[0, 0]) == pytest.approx(values[0, 0].mean())  # no sample axis: one draw
    assert metrics.lppd([[-math.inf], [0.0]]) == pytest.approx(-math.log(2))
    assert metrics.lppd([[-math.inf], [-math.inf]]) == -math.inf


def test_crps_by_hand():
    """Draws 0 and 2, y = 1: E|X - y| = 1, E|X - X'|/2 = 1/2. One draw: the absolute error."""
    assert metrics.crps([[0.0], [2.0]], [1.0]) == pytest.approx(0.5)
    assert metrics.crps([[3.0, 5.0]], [1.0, 5.5]) == pytest.approx((2 + 0.5) / 2)


def test_crps_of_a_gaussian():
    """Many draws of N(mu, s): s (z (2 Phi(z) - 1) + 2 phi(z) - 1/sqrt(pi)) with z = (y - mu)/s."""
    mu, s, y = np.array([0.0, 1.0]), np.array([1.0, 3.0]), np.array([0.5, -2.0])
    draws = mu + s * norm.ppf((np.arange(20_000).reshape(4, 5_000, 1) + 0.5) / 20_000)
    z = (y - mu) / s
    closed = s * (z * (2 * norm.cdf(z) - 1) + 2 * norm.pdf(z) - 1 / math.sqrt(math.pi))
    assert metrics.crps(draws, y) == pytest.approx(closed.mean(), rel=1e-4)
    assert metrics.crps(draws[..., None], y[:, None]) == pytest.approx(closed.mean(), rel=1e-4)


def test_crps_is_the_mean_over_pairs_of_draws(rng):
    """E|X - y| - E|X - X'|/2 over all S^2 pairs, far from zero too, where the sum over sorted draws could cancel."""
    for shift in (0.0, 1e6):
        draws, y = rng.normal(size=(2, 20, 7)) + shift, rng.normal(size=7) + shift
        flat = draws.reshape(40, 7)
        pairs = np.abs(flat - y).mean(0) - np.abs(flat[:, None] - flat[None]).mean((0, 1)) / 2
        assert metrics.crps(draws, y) == pytest.approx(pairs.mean(), rel=1e-9)
    energy = [energy_distance(flat[:, i] - shift, [y[i] - shift]) ** 2 / 2 for i in range(7)]  # SciPy's, of a point mass
    assert metrics.crps(draws, y) == pytest.approx(np.mean(energy), rel=1e-6)


def test_coverage_by_hand():
    draws = np.tile(np.arange(101.0)[:, None], 4)  # the central 90 % interval is [5, 95]
    assert metrics.coverage(draws, [4.9, 5.0, 95.0, 50.0], prob=0.9) == 0.75
    assert metrics.coverage_curve(draws, [4.9, 5.0, 95.0, 50.0], [0.1, 0.9]).tolist() == [0.25, 0.75]


@pytest.mark.parametrize("width, low, high", [(1.0, 0, 0.03), (0.3, 0.25, 0.5), (3.0, 0.2, 0.5)])
def test_calibration_error_sees_the_width(width, low, high, rng):
    y = rng.normal(size=2000)
    draws = width * norm.ppf((np.arange(400) + 0.5) / 400)[:, None].repeat(2000, 1)
    assert low <= metrics.calibration_error(draws.reshape(4, 100, 2000), y) <= high
    curve = metrics.coverage_curve(draws, y)
    np.testing.assert_allclose(curve, 2 * norm.cdf(width * norm.ppf((1 + np.array(metrics.LEVELS)) / 2)) - 1, atol=0.04)


def test_accuracy_and_brier_by_hand():
    assert metrics.accuracy(THREE, LABELS) == 0.75
    rows = [0.09 + 0.04 + 0.01, 0.01 + 0.16 + 0.09, 0.25 + 0.49 + 0.04, 0.04 + 0.04 + 0.16]
    assert metrics.brier(THREE, torch.tensor(LABELS)) == pytest.approx(np.mean(rows))


def test_binary_probabilities_are_two_classes():
    p, y = np.array([0.9, 0.2, 0.4]), np.array([1.0, 0.0, 1.0])
    both = np.stack([1 - p, p], 1)
    for metric in (metrics.accuracy, metrics.brier, metrics.ece):
        assert metric(p, y) == metric(both, y.astype(int))
    assert metrics.accuracy(p, y) == pytest.approx(2 / 3)
    assert metrics.brier(p, y) == pytest.approx(2 * np.mean((p - y) ** 2))  # twice the one-class convention


def test_ece_by_hand():
    """Confidences .6 .8 .9 and .3, .4 in two bins, hits 1 0 1 and 0 1: 3/5 |.7667 - .6667| + 2/5 |.35 - .5|."""
    probs = [[0.6, 0.2, 0.2, 0], [0.8, 0.2, 0, 0], [0.9, 0.1, 0, 0], [0.3, 0.25, 0.25, 0.2], [0.4, 0.2, 0.2, 0.2]]
    y = [0, 1, 0, 1, 0]
    assert metrics.ece(probs, y, bins=2) == pytest.approx(0.6 * 0.1 + 0.4 * 0.15, rel=1e-5)
    confidence, accuracy, count = metrics.reliability_curve(probs, y, bins=2)
    np.testing.assert_allclose(confidence, [0.35, 2.3 / 3], rtol=1e-6)
    np.testing.assert_allclose(accuracy, [0.5, 2 / 3])
    assert count.tolist() == [2, 3]


@pytest.mark.parametrize("sharpness", [1.0, 5.0, 2000.0])
def test_ece_is_its_definition(sharpness, rng):
    """Also where the confidence is exactly 1, as of a saturated softmax, or exactly on an edge."""
    probs = torch.tensor(sharpness * rng.normal(size=(500, 4))).softmax(-1).numpy()
    probs[:4] = [[0.2, 0.8, 0, 0], [0.4, 0.6, 0, 0], [1, 0, 0, 0], [0.25] * 4]
    y = rng.integers(4, size=500)
    confidence, _, count = metrics.reliability_curve(probs, y)
    assert count.sum() == 500 and np.isnan(confidence[count == 0]).all()
    gap, top, hit = 0.0, probs.max(1), probs.argmax(1) == y
    for b in range(15):  # the definition, bin by bin; a softmax of float64 lies within 1e-9 of an edge in the first rows
        inside = (top >= b / 15 - 1e-9) & ((top < (b + 1) / 15 - 1e-9) | (b == 14))
        assert count[b] == inside.sum()
        gap += inside.sum() / 500 * abs(hit[inside].mean() - top[inside].mean()) if inside.any() else 0.0
    assert metrics.ece(probs, y) == pytest.approx(gap, rel=1e-5)


def test_calibrated_classes_have_no_calibration_error(rng):
    p = rng.uniform(size=20_000)
    y = (rng.uniform(size=20_000) < p).astype(int)
    assert metrics.ece(p, y) < 0.02 < 0.15 < metrics.ece(np.clip(p, 0.02, 0.98).round(), y)


def test_auroc():
    assert metrics.auroc([0.0, 1.0], torch.tensor([2.0, 3.0])) == 1.0
    assert metrics.auroc([2.0, 3.0], [0.0, 1.0]) == 0.0
    assert metrics.auroc([1.0, 2.0], [2.0, 3.0, 0.0]) == pytest.approx((1 + 2 + 0 + 0.5) / 6)  # of six pairs, one tied
    assert isinstance(metrics.auroc([1.0], [1.0]), float)


def test_entropy_and_mutual_information_by_hand():
    assert metrics.predictive_entropy([[0.5, 0.5], [1.0, 0.0]]) == pytest.approx([math.log(2), 0])
    assert metrics.predictive_entropy([0.5, 1.0]) == pytest.approx([math.log(2), 0])
    sure_but_split = np.array([[[1.0, 0.0], [0.5, 0.5]], [[0.0, 1.0], [0.5, 0.5]]])  # two draws, two rows
    assert metrics.mutual_information(sure_but_split) == pytest.approx([math.log(2), 0])
    assert metrics.mutual_information(torch.tensor(sure_but_split)[None]) == pytest.approx([math.log(2), 0])


def test_nll_of_probabilities(rng):
    assert metrics.nll_probs(THREE, LABELS) == pytest.approx(-math.log(0.7 * 0.6 * 0.3 * 0.6) / 4)
    assert metrics.nll_probs([0.8, 0.4], [1, 0]) == pytest.approx(-math.log(0.8 * 0.6) / 2)
    assert metrics.nll_probs([[1.0, 0.0], [0.5, 0.5]], [1, 0]) == math.inf
    draws = torch.tensor(rng.normal(size=(5, 40, 3))).softmax(-1)
    y = torch.tensor(rng.integers(3, size=40))
    mixture = metrics.nll(draws[:, torch.arange(40), y].log())
    assert metrics.nll_probs(draws.mean(0), y) == pytest.approx(mixture)
    assert metrics.nll_probs(draws.mean(0), y) == pytest.approx(sklearn.metrics.log_loss(y, draws.mean(0)))


def test_confidence_is_never_below_one_over_the_classes(rng):
    assert metrics.confidence(THREE).tolist() == [0.7, 0.6, 0.5, 0.6]
    assert metrics.confidence([0.9, 0.2]) == pytest.approx([0.9, 0.8])
    rounded = torch.full((3, 10), 0.1, dtype=torch.float16) * 0.999
    assert (metrics.confidence(rounded) >= 0.1).all()
    probs = torch.tensor(rng.normal(size=(2000, 10))).softmax(-1)
    assert metrics.confidence(probs).min() >= 0.1 and metrics.confidence(probs).max() <= 1


def test_aupr_by_hand():
    """Scores out 4, 2 among in 3, 1: precision 1 at recall 1/2, then 2/3 at recall 1."""
    assert metrics.aupr([3.0, 1.0], [4.0, 2.0]) == pytest.approx(0.5 * 1 + 0.5 * 2 / 3)
    assert metrics.aupr([0.0, 1.0], torch.tensor([2.0, 3.0])) == 1.0
    assert metrics.aupr([1.0] * 3, [1.0]) == pytest.approx(1 / 4)  # chance is the share of positives
    assert isinstance(metrics.aupr([1.0], [1.0]), float)


def test_risk_coverage_by_hand():
    """Confidences .9 .8 .7 .6, the second and the last wrong: errors 0 1 1 2 among 1 2 3 4."""
    probs = np.array([[0.7, 0.3], [0.9, 0.1], [0.6, 0.4], [0.2, 0.8]])
    y = np.array([0, 0, 1, 0])
    coverage, risk = metrics.risk_coverage(probs, y)
    assert coverage.tolist() == [0.25, 0.5, 0.75, 1.0]
    np.testing.assert_allclose(risk, [0, 1 / 2, 1 / 3, 2 / 4])
    assert metrics.aurc(probs, y) == pytest.approx((0 + 1 / 2 + 1 / 3 + 1 / 2) / 4)
    assert metrics.aurc(torch.tensor(probs[:, 1]), y) == metrics.aurc(probs, y)
    assert risk[-1] == 1 - metrics.accuracy(probs, y)


def test_risk_of_tied_rows_is_the_mean_over_their_orders():
    """A sure row that is right, then three that tie, of which one is wrong: all 3! orders at once."""
    probs = np.array([[0.6, 0.4], [0.6, 0.4], [0.9, 0.1], [0.4, 0.6]])
    y = np.array([1, 0, 0, 1])
    orders = [np.cumsum([0, *errors]) / np.arange(1, 5) for errors in itertools.permutations([1, 0, 0])]
    for rows in itertools.permutations(range(4)):
        _, risk = metrics.risk_coverage(probs[list(rows)], y[list(rows)])
        np.testing.assert_allclose(risk, np.mean(orders, axis=0))


@pytest.mark.parametrize("error", [0.05, 0.4])
def test_aurc_of_a_useless_and_of_a_perfect_order(error, rng):
    n = 20_000
    wrong = np.arange(n) < error * n
    y = wrong.astype(int)  # class 0 is predicted for every row
    perfect = metrics.aurc(np.linspace(0.4, 0.1, n)[np.where(wrong, 0, np.arange(n))], y)
    assert perfect == pytest.approx(error + (1 - error) * math.log(1 - error), abs=1e-3)
    assert metrics.aurc(np.full(n, 0.3), y) == pytest.approx(error)
    assert metrics.aurc(rng.uniform(0, 0.5, n), y) == pytest.approx(error, abs=0.02)


def test_ood_report_is_made_of_its_parts(rng):
    inside = torch.tensor(4 * rng.normal(size=(2, 3, 50, 4))).softmax(-1)
    outside = torch.tensor(rng.normal(size=(7, 30, 4))).softmax(-1)
    report = metrics.ood_report(inside, outside)
    assert list(report) == ["one_minus_confidence", "entropy", "mutual_information"]
    means = inside.flatten(0, 1).mean(0), outside.mean(0)
    for name, score in (
        ("one_minus_confidence", lambda p: 1 - metrics.confidence(p)),
        ("entropy", metrics.predictive_entropy),
    ):
        scores = [score(p) for p in means]
        truth = np.repeat([0, 1], [50, 30])
        assert report[name] == {
            "mean_in": pytest.approx(scores[0].mean()),
            "mean_out": pytest.approx(scores[1].mean()),
            "auroc": pytest.approx(sklearn.metrics.roc_auc_score(truth, np.concatenate(scores))),
            "aupr": pytest.approx(sklearn.metrics.average_precision_score(truth, np.concatenate(scores))),
        }
    information = metrics.mutual_information(inside), metrics.mutual_information(outside)
    assert report["mutual_information"]["auroc"] == metrics.auroc(*information)
    without = metrics.ood_report(*means)
    assert list(without) == ["one_minus_confidence", "entropy"]
    for name, values in without.items():
        assert values == pytest.approx(report[name], rel=1e-9)


def test_ood_report_by_hand():
    """Sure and right draws within; outside, draws that are sure of different classes, whose mean is flat."""
    within = np.array([[[1.0, 0.0], [0.0, 1.0]]] * 2)
    without = np.array([[[1.0, 0.0]], [[0.0, 1.0]]])
    perfect = {"mean_in": 0.0, "auroc": 1.0, "aupr": 1.0}
    report = metrics.ood_report(within, without)
    for name, mean in (("one_minus_confidence", 0.5), ("entropy", math.log(2)), ("mutual_information", math.log(2))):
        assert report[name] == pytest.approx({**perfect, "mean_out": mean})
    assert metrics.ood_report([0.99, 0.02], [0.4])["entropy"]["auroc"] == 1.0


def test_numbers_are_floats_whatever_comes_in(rng):
    draws, y = rng.normal(size=(2, 30, 5)), rng.normal(size=5)
    for metric in (metrics.crps, metrics.coverage, metrics.calibration_error):
        torch_draws = torch.tensor(draws, requires_grad=True)
        assert isinstance(metric(draws, y), float)
        assert metric(torch_draws, torch.tensor(y)) == metric(draws.reshape(60, 5), y.tolist())
    half = torch.tensor(rng.normal(size=(50, 10))).softmax(-1).to(torch.float16)
    assert 0 <= metrics.ece(half, torch.zeros(50, dtype=torch.long)) <= 1


NAN = math.nan
BAD = [
    ("rmse shapes", lambda: metrics.rmse(np.zeros((3, 1)), np.zeros(3)), r"\(3,\).*\(3, 1\).*reshape"),
    ("rmse nan", lambda: metrics.rmse([0.0, NAN], [0.0, 1.0]), r"mean: expected numbers, got nan at \(1,\)"),
    ("rmse empty", lambda: metrics.rmse([], []), "at least one row"),
    ("rmse scalar", lambda: metrics.rmse(1.0, 1.0), "at least one row"),
    ("lppd nan", lambda: metrics.lppd([[0.0, NAN]]), "nan"),
    ("lppd inf", lambda: metrics.lppd([[0.0, math.inf]]), "inf"),
    ("lppd empty", lambda: metrics.lppd(np.zeros((0, 3))), "at least one row"),
    ("crps without samples", lambda: metrics.crps([1.0, 2.0], [1.0, 2.0]), "sample axes first"),
    ("crps rows", lambda: metrics.crps(np.zeros((5, 3)), np.zeros(5)), "sample axes first"),
    ("crps columns", lambda: metrics.crps(np.zeros((5, 3)), np.zeros((3, 1))), "sample axes first"),
    ("coverage inf", lambda: metrics.coverage(np.full((5, 3), math.inf), np.zeros(3)), "draws: expected numbers, got inf"),
    ("coverage in percent", lambda: metrics.coverage(np.zeros((5, 3)), np.zeros(3), prob=90), "between 0 and 1"),
    ("coverage levels", lambda: metrics.calibration_error(np.zeros((5, 3)), np.zeros(3), [0.5, 1.0]), "between 0 and 1"),
    ("label too large", lambda: metrics.accuracy(THREE, [0, 1, 2, 3]), r"labels 0 \.\.\. 2, got 3"),
    ("label from minus one", lambda: metrics.brier(THREE, [0, 1, 2, -1]), "got -1"),
    ("label not whole", lambda: metrics.brier([0.5], [0.5]), "got 0.5"),
    ("labels one-hot", lambda: metrics.ece(THREE, np.eye(4)), "argmax of one-hot"),
    ("labels column", lambda: metrics.ece(THREE, LABELS[:, None]), "squeeze"),
    ("labels nan", lambda: metrics.accuracy(THREE, [0, 1, NAN, 2]), "y: expected numbers"),
    ("logits", lambda: metrics.accuracy(THREE * 5 - 1, LABELS), "softmax"),
    ("not summing to one", lambda: metrics.brier(THREE * 0.9, LABELS), "sums to 0.9"),
    ("binary logit", lambda: metrics.brier([2.5], [1]), "softmax"),
    ("probs of draws", lambda: metrics.ece(np.stack([THREE, THREE]), LABELS), "average over draws"),
    ("probs column", lambda: metrics.accuracy([[0.5], [0.5]], [0, 1]), "squeeze"),
    ("no bins", lambda: metrics.reliability_curve(THREE, LABELS, bins=0), "1 or more"),
    ("no bins, ece", lambda: metrics.ece(THREE, LABELS, bins=0), "1 or more"),
    ("mutual information of a mean", lambda: metrics.mutual_information(THREE), "pass the draws"),
    ("mutual information of logits", lambda: metrics.mutual_information(THREE[None] * 5), "softmax"),
    ("entropy nan", lambda: metrics.predictive_entropy([[NAN, 1.0]]), "probs: expected numbers"),
    ("confidence of draws", lambda: metrics.confidence(THREE[None]), "average over draws"),
    ("confidence of logarithms", lambda: metrics.confidence(np.log(THREE)), "softmax"),
    ("aupr empty", lambda: metrics.aupr([1.0], []), "scores_out"),
    ("risk of a label", lambda: metrics.risk_coverage(THREE, [0, 1, 2, 3]), "got 3"),
    ("report of one with draws", lambda: metrics.ood_report(THREE[None], THREE), "draws in both or in none"),
    ("report of other classes", lambda: metrics.ood_report(THREE, [0.5]), "the same classes"),
    ("report nan", lambda: metrics.ood_report(THREE, [[NAN, 1.0, 0.0]]), "probs_out: expected numbers"),
    ("auroc empty", lambda: metrics.auroc([], [1.0]), "scores_in"),
    ("auroc nan", lambda: metrics.auroc([1.0], [NAN]), "scores_out"),
]


@pytest.mark.parametrize("call, words", [pytest.param(call, words, id=name) for name, call, words in BAD])
def test_errors_teach(call, words):
    with pytest.raises(ValueError, match=words):
        call()


# ------------------------------------------------------------------------------------------------ a class for each pixel


def test_segmentation_metrics_are_those_of_scikit_learn():
    from sklearn.metrics import balanced_accuracy_score, jaccard_score

    rng = np.random.default_rng(0)
    probs, y = rng.dirichlet(np.ones(4), (3, 5, 6)), rng.integers(0, 3, (3, 5, 6))
    y[0, :2] = 255
    seen, found = y != 255, probs.argmax(-1)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # class 3 is predicted, and in no label
        expected = balanced_accuracy_score(y[seen], found[seen])
    shares = metrics.class_accuracy(probs, y, ignore=255)
    assert np.isnan(shares[3]) and np.nanmean(shares) == pytest.approx(expected)
    assert metrics.iou(probs, y, ignore=255) == pytest.approx(jaccard_score(y[seen], found[seen], average=None))
    assert metrics.confusion(probs, y, ignore=255).sum() == seen.sum()
    with pytest.raises(ValueError, match=r"got 255; .*ignore=255"):
        metrics.iou(probs, y)
