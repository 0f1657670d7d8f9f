"""Labels that are none (void pixels, rows without a label) and weights of classes, against torch's cross entropy."""

import math
import pickle

import numpy as np
import pyro
import pytest
import torch
from pyro import poutine
from torch import nn
from torch.nn.functional import cross_entropy

import bnn_zoo as bz
from bnn_zoo import metrics
from bnn_zoo.laws import WeightedCategorical
from bnn_zoo.likelihoods import Categorical
from bnn_zoo.predict.passes import _parameters

N, CLASSES = 6, 3
WEIGHTS = (0.5, 2.0, 1.25)
PLACES = {"rows": (), "sequences": (4,), "images": (3, 4)}
SETTINGS = {
    "ignore": {"ignore": 255},
    "negative": {"ignore": -1},
    "weights": {"class_weights": WEIGHTS},
    "both": {"ignore": 255, "class_weights": torch.tensor(WEIGHTS)},
}


def numbers(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def labels(places, ignore=None):
    """Row 1 has no label at all, and of row 2 every other place has none."""
    y = torch.randint(0, CLASSES, (N, *places), generator=torch.Generator().manual_seed(1))
    if ignore is not None:
        y[1] = ignore
        if places:
            y[2].flatten()[::2] = ignore
    return y


def torchs(f, y, ignore=None, weights=None):
    """What torch's cross entropy takes of each row, as a log mass."""
    weight = None if weights is None else torch.as_tensor(weights).to(f)
    loss = cross_entropy(f, y, weight=weight, ignore_index=-100 if ignore is None else ignore, reduction="none")
    return -loss.reshape(N, -1).sum(1)


def net(places):
    kind = (nn.Linear, nn.Conv1d, nn.Conv2d)[len(places)]
    return (kind(2, CLASSES) if not places else kind(2, CLASSES, 1)).double()


@pytest.mark.parametrize("places", PLACES.values(), ids=PLACES)
@pytest.mark.parametrize("settings", SETTINGS.values(), ids=SETTINGS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_log_masses_are_torchs_cross_entropy(settings, places, dtype):
    f, y = numbers(N, CLASSES, *places).to(dtype), labels(places, settings.get("ignore"))
    with pyro.validation_enabled(True):
        law = Categorical(**settings)(f)
        value = law.log_prob(y)
    assert (law.batch_shape, law.event_shape, value.dtype) == ((N,), places, dtype)
    torch.testing.assert_close(value, torchs(f, y, settings.get("ignore"), settings.get("class_weights")))
    weight = settings.get("class_weights")
    whole = cross_entropy(
        f,
        y,
        weight=None if weight is None else torch.as_tensor(weight, dtype=dtype),
        ignore_index=settings.get("ignore", -100),
        reduction="sum",
    )
    torch.testing.assert_close(value.sum(), -whole)
    if "ignore" in settings:
        assert value[1] == 0.0


@pytest.mark.parametrize("places", [(), (3, 4)], ids=["rows", "images"])
def test_the_traced_log_joint_and_pyros_are_the_formula(places):
    """Two chains; prior N(0, 0.7²) on each weight, written out; Pyro's own value with its validation on."""
    module, x, y = net(places), numbers(N, 2, *places, seed=2), labels(places, 255)
    model = bz.BNN(module, bz.priors.Normal(0.7), Categorical(ignore=255, class_weights=WEIGHTS))
    joint = bz.LogJoint(model, (x, y), dtype=torch.float64)
    u = numbers(2, joint.dim, seed=3)
    value, gradient = joint(u)
    for chain in range(2):
        w = u[chain].clone().requires_grad_()
        weight, bias = w[: 2 * CLASSES].reshape(CLASSES, 2), w[2 * CLASSES :]
        f = torch.einsum("kj,nj...->nk...", weight, x) + bias.reshape(CLASSES, *[1] * len(places))
        prior = (-0.5 * (w / 0.7) ** 2 - math.log(0.7) - 0.5 * math.log(2 * math.pi)).sum()
        expected = prior + torchs(f, y, 255, WEIGHTS).sum()
        torch.testing.assert_close(value[chain], expected.detach())
        torch.testing.assert_close(gradient[chain], torch.autograd.grad(expected, w)[0])
        sites = {n: s[0] for n, s in joint.constrain(u[chain : chain + 1]).items()}
        with pyro.validation_enabled(True):
            plain = poutine.trace(poutine.condition(model, sites)).get_trace(x, y).log_prob_sum()
        torch.testing.assert_close(plain, expected.detach())


def posterior(places, likelihood, y):
    module = net(places)
    sites = {n: numbers(2, 3, *p.shape, seed=4 + i) for i, (n, p) in enumerate(module.named_parameters())}
    x = numbers(N, 2, *places, seed=2)
    return bz.Posterior(bz.BNN(module, bz.priors.Normal(), likelihood), (x, y), bz.types.Draws(sites, {}, {}, {}))


def logits(places, draws, x):
    """``[chain, draw, n, classes, *places]``, by einsum."""
    weight = draws.sites["weight"].reshape(2, 3, CLASSES, 2)
    f = torch.einsum("cdkj,nj...->cdnk...", weight, x)
    return f + draws.sites["bias"].reshape(2, 3, 1, CLASSES, *[1] * len(places))


@pytest.mark.parametrize("places", [(), (3, 4)], ids=["rows", "images"])
def test_scores_and_predictions_are_of_labels_alone_and_unweighted(places):
    y = labels(places, 255)
    fitted = posterior(places, Categorical(ignore=255, class_weights=WEIGHTS), y)
    x, f = fitted.data[0], logits(places, fitted.draws, fitted.data[0])
    each = torch.stack([torch.stack([torchs(d, y, 255) for d in chain]) for chain in f])
    kept = [0, 2, 3, 4, 5]
    torch.testing.assert_close(fitted.log_likelihood()["y"], each[:, :, kept])
    prediction = fitted.predict(x)
    torch.testing.assert_close(prediction.f, f.softmax(3).movedim(3, -1))
    assert prediction.draws.shape == (2, 3, N, *places) and set(prediction.draws.unique().tolist()) == {0, 1, 2}
    score = prediction.log_prob(y)
    torch.testing.assert_close(score[kept], each[:, :, kept].flatten(0, 1).logsumexp(0) - math.log(6))
    assert score[1].isnan()
    exported = fitted.to_inference_data(prior=2)
    for group in ("log_likelihood", "posterior_predictive", "observed_data", "prior_predictive"):
        assert bz.export.group(exported, group)["obs_id"].values.tolist() == kept
    for group in ("posterior_predictive", "prior_predictive"):
        assert bz.export.group(exported, group)["y"].max() < CLASSES
    np.testing.assert_array_equal(bz.export.group(exported, "observed_data")["y"], y[kept])
    with pytest.raises(ValueError, match="leave out what has no label"):
        metrics.accuracy(prediction.mean, y)
    assert metrics.accuracy(prediction.mean, y, ignore=255) == pytest.approx(
        float((prediction.mean.argmax(-1) == y)[y != 255].double().mean())
    )


def test_metrics_without_void_are_those_of_the_rest():
    y = labels((3, 4), 255)
    probs = numbers(N, 3, 4, CLASSES, seed=5).softmax(-1)
    for name in ("accuracy", "nll_probs", "brier", "ece", "aurc"):
        metric = getattr(metrics, name)
        assert metric(probs, y, ignore=255) == metric(probs[y != 255], y[y != 255])
    with pytest.raises(ValueError, match=r"got 255; .* leave out what has no label \(metrics of classes take ignore=255\)"):
        metrics.ece(probs, y)
    with pytest.raises(ValueError, match="expected at least one label, got ignore=255 in all places"):
        metrics.accuracy(probs, torch.full_like(y, 255), ignore=255)


def test_samples_are_of_the_classes_in_the_shares_of_softmax():
    law = Categorical(ignore=255, class_weights=[1.0, 50.0, 1.0])(torch.tensor([[0.2, 0.3, 0.5]]).log())
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        share = law.sample((20_000,)).flatten().bincount() / 20_000
    torch.testing.assert_close(share, torch.tensor([0.2, 0.3, 0.5]), atol=4 * 0.5 / 20_000**0.5, rtol=0.0)


def test_the_law_is_batched_over_draws_with_its_settings():
    law = Categorical(ignore=-1, class_weights=WEIGHTS)(numbers(N, CLASSES, 4))
    tensors, again = _parameters(law)
    made, y = again(tensors), labels((4,), -1)
    assert isinstance(made.base_dist, WeightedCategorical) and tensors.keys() == {"logits"}
    torch.testing.assert_close(made.log_prob(y), law.log_prob(y))
    torch.testing.assert_close(law.expand((2, N)).log_prob(y), law.log_prob(y).expand(2, N))
    likelihood = Categorical(ignore=-1, class_weights=WEIGHTS)
    assert (
        pickle.loads(pickle.dumps(likelihood)) == likelihood == Categorical(ignore=-1, class_weights=torch.tensor(WEIGHTS))
    )
    assert law.support.check(torch.tensor([-1, 0, 2, 3, -2]).reshape(5, 1)).tolist() == [True, True, True, False, False]


# ------------------------------------------------------------------------------------------------ bad input

BATCHES = bz.SGLD(chains=1, steps=2, step_size=1e-4, batch_size=5)


@pytest.mark.parametrize(
    "places, backend, mark", [((), BATCHES, 255), ((3, 4), bz.MAP(steps=1), -1)], ids=["rows in batches", "images"]
)
def test_a_void_label_without_ignore_says_what_to_write(places, backend, mark):
    data = numbers(N, 2, *places), labels(places, mark)

    def fit(likelihood, y=data[1]):
        return bz.fit(bz.BNN(net(places), bz.priors.Normal(), likelihood), (data[0], y), backend, progress=False)

    with pytest.raises(bz.DataError, match=rf"if {mark} marks what has no label, write Categorical\(ignore={mark}\)"):
        fit(Categorical())
    fit(Categorical(ignore=mark))
    with pytest.raises(bz.DataError, match=r"labels are 0 … classes - 1, one output of the network a class$"):
        fit(Categorical(ignore=100), torch.where(data[1] == 0, 7, data[1]))
    with pytest.raises(
        bz.DataError, match=r"from 1 to 3: labels are 0 … classes - 1, one output of the network a class, write y - 1$"
    ):
        each_twice = torch.arange(N).view(N, *(1 for _ in places)) % CLASSES  # so that any batch of 5 of 6 has all three
        fit(Categorical(), each_twice.repeat(1, *places) + 1)


def test_settings():
    f = numbers(N, CLASSES)
    with pytest.raises(bz.ModelError, match=r"ignore=2 is one of the 3 classes of the network, 0 … 2"):
        Categorical(ignore=2)(f)
    with pytest.raises(bz.ModelError, match=r"expected an output for each of 2 classes, got 3"):
        Categorical(class_weights=[1.0, 2.0])(f)
    with pytest.raises(ValueError, match=r"one number for each of the 3 classes, got 2"):
        Categorical(3, class_weights=[1.0, 2.0])
    with pytest.raises(ValueError, match="classes must be at least 2, got 1"):
        Categorical(1)
    with pytest.raises(TypeError, match=r"classes must be a whole number or None, got 3\.0"):
        Categorical(3.0)
    for wrong in (2.5, True, "255"):
        with pytest.raises(TypeError, match="ignore must be a whole number such as 255 or -1"):
            Categorical(ignore=wrong)
    for wrong in ([1.0, 0.0], [1.0, -1.0], [1.0, math.nan], torch.eye(2), torch.tensor(1.0), ["a", "b"]):
        with pytest.raises(ValueError, match="class_weights must be finite numbers > 0, one for each class"):
            Categorical(class_weights=wrong)
    for wrong in (1.0, "balanced", {0: 1.0}):
        with pytest.raises(TypeError, match="class_weights must be a tensor or a list of numbers"):
            Categorical(class_weights=wrong)
