"""Settings that people write: numbers of all kinds are taken, what cannot work is refused with the setting's name."""

import functools

import numpy as np
import pytest
import torch
from pyro.infer.autoguide import AutoNormal
from test_contract import METHODS, MODEL, rows
from torch import nn

import bnn_zoo as bz
from bnn_zoo import schedules as s

NAN, INF = float("nan"), float("inf")
ADAM = functools.partial(torch.optim.Adam, betas=(0.8, 0.9))
WHOLE = ("chains", "warmup", "draws", "thinning", "steps", "batch_size", "particles", "processes", "row_chunk", "rank")
OPTIONAL = {"batch_size", "processes", "row_chunk"}


def fit(backend, **more):
    return bz.fit(MODEL, rows(), backend, progress=False, **more)


def counts():
    for name, backend in METHODS.items():
        for setting in WHOLE:
            if setting in backend.__dataclass_fields__ and not (
                setting in ("warmup", "thinning") and hasattr(backend, "kept")
            ):
                yield pytest.param(type(backend), setting, id=f"{name}-{setting}")


@pytest.mark.parametrize("backend, setting", list(counts()))
def test_counts_are_whole_numbers(backend, setting):
    """Of Python, numpy or torch; None only where it means something."""
    lowest = {"chains": 2, "rank": 2}.get(setting, 1)
    for value in (np.int64(5), torch.tensor(5), np.uint8(5)):
        kept = getattr(backend(**{setting: value}), setting)
        assert kept == 5 and type(kept) is int
    for value in ("5", 5.0, True, [5], NAN, *([] if setting in OPTIONAL else [None])):
        with pytest.raises(TypeError, match=rf"{backend.__name__}: {setting} must be a whole number"):
            backend(**{setting: value})
    with pytest.raises(ValueError, match=rf"{backend.__name__}.* {setting} must be at least"):
        backend(**{setting: lowest - 2})


NUMBERS = [
    *[(bz.NUTS, "target_accept"), (bz.HMC, "step_size"), (bz.HMC, "trajectory_length"), (bz.HMC, "jitter")],
    *[(bz.MCLMC, "energy_variance"), (bz.MCLMC, "length"), (bz.SGLD, "step_size"), (bz.SGLD, "temperature")],
    *[(bz.PSGLD, "decay"), (bz.PSGLD, "damping"), (bz.SGHMC, "friction"), (bz.SGNHT, "coupling")],
    *[(bz.SWAG, "momentum"), (bz.MeanField, "learning_rate"), (bz.MCDropout, "rate"), (bz.MAP, "step_size")],
]


@pytest.mark.parametrize("backend, setting", NUMBERS, ids=lambda v: getattr(v, "__name__", v))
def test_numbers(backend, setting):
    for value in (0.25, np.float32(0.25), np.float64(0.25), torch.tensor(0.25), np.array(0.25)):
        kept = getattr(backend(**{setting: value}), setting)
        assert kept == 0.25 and type(kept) is float
    for value in ("0.25", True, [0.25], 0.25j, torch.ones(2)):
        with pytest.raises(TypeError, match=rf"{backend.__name__}: {setting} must be a number"):
            backend(**{setting: value})
    for value in (NAN, INF, -1.0):
        with pytest.raises(ValueError, match=rf"{backend.__name__}: {setting} must be"):
            backend(**{setting: value})


def stateful(t):
    return [1e-4, 1e-4, 1e-4][t]


BAD = {
    "NUTS step size as a schedule": (
        lambda: bz.NUTS(step_size=s.cosine(0.1)),
        TypeError,
        "step_size .* a schedule of steps is",
    ),
    "a schedule's class": (lambda: bz.SGLD(step_size=s.cosine), TypeError, r"SGLD: step_size .* write cosine\(…\)"),
    "step size None": (lambda: bz.SGLD(step_size=None), TypeError, "SGLD: step_size must be a number .* got None"),
    "constant zero": (
        lambda: bz.SGLD(step_size=s.constant(0.0)),
        ValueError,
        "SGLD: step_size must be a positive .* at step 0",
    ),
    "cosine backwards": (
        lambda: bz.SGLD(step_size=s.cosine(1e-5, steps=-5)),
        ValueError,
        "cosine: steps must be at least 1",
    ),
    "cosine of no steps": (
        lambda: bz.SGLD(step_size=s.cosine(1e-5, steps=0)),
        ValueError,
        "cosine: steps must be at least 1",
    ),
    "cosine from below": (lambda: bz.SGLD(step_size=s.cosine(-1.0)), ValueError, "cosine: start must be .*0"),
    "cosine to below": (lambda: bz.SGLD(step_size=s.cosine(1.0, end=-1.0)), ValueError, "cosine: end must be"),
    "cosine from NaN": (lambda: bz.SGLD(step_size=s.cosine(NAN)), ValueError, "cosine: start must be finite"),
    "cosine from text": (lambda: bz.SGLD(step_size=s.cosine("1e-3")), TypeError, "cosine: start must be a number"),
    "no cycles": (lambda: bz.SGLD(step_size=s.cyclical(1e-4, cycles=0)), ValueError, "cyclical: cycles must be at least 1"),
    "half a cycle": (lambda: bz.SGLD(step_size=s.cyclical(1e-4, cycles=0.5)), TypeError, "cyclical: cycles must be a whole"),
    "more cycles than steps": (
        lambda: bz.SGLD(steps=10, step_size=s.cyclical(1e-4, cycles=20)),
        ValueError,
        "10 steps have no room for cycles=20",
    ),
    "pole at step 0": (lambda: bz.SGLD(step_size=s.polynomial(1e-4, b=0)), ValueError, "polynomial: b must be positive"),
    "polynomial that grows": (lambda: bz.SGLD(step_size=s.polynomial(1e-4, gamma=-1.0)), ValueError, "polynomial: gamma"),
    "exploring for ever": (
        lambda: bz.SGLD(temperature=s.exploring(share=2.0), warmup=0),
        ValueError,
        "share must be below 1",
    ),
    "cycles that differ": (
        lambda: bz.SGLD(step_size=s.cyclical(1e-4, cycles=4), temperature=s.exploring(cycles=3), warmup=0),
        ValueError,
        "the same cycles",
    ),
    "temperature below 0": (
        lambda: bz.SGLD(temperature=lambda t: -1.0),
        ValueError,
        "temperature must be .* -1.0 at step 0",
    ),
    "NaN at one step": (
        lambda: bz.SGLD(steps=5_000, step_size=lambda t: NAN if t == 4_321 else 1e-4),
        ValueError,
        "step_size must be .* got nan at step 4321",
    ),
    "a pair at one step": (
        lambda: bz.SGLD(steps=50, step_size=lambda t: torch.ones(2) if t == 17 else 1e-4),
        TypeError,
        "step_size must be .* at step 17",
    ),
    "text": (lambda: bz.SGLD(step_size=lambda t: "1e-4"), TypeError, "step_size must be .* got '1e-4' at step 0"),
    "a list too short": (
        lambda: bz.SGLD(steps=9, step_size=stateful),
        ValueError,
        "all 9 steps, fails at step 3: IndexError",
    ),
    "learning rate": (
        lambda: bz.MeanField(learning_rate=lambda t: 1.0 - t),
        ValueError,
        "learning_rate must be .* at step 1",
    ),
    "no coefficients": (lambda: fit(bz.MCLMC(coefficients=())), ValueError, "MCLMC: coefficients must be a tuple"),
    "coefficients that add up to 2": (lambda: fit(bz.MCLMC(coefficients=(1.0, 2.0, 1.0))), ValueError, "with sum 1"),
    "coefficients that are not symmetric": (
        lambda: fit(bz.AdjustedMCLMC(coefficients=(0.3, 0.5, 0.4, 0.5, 0.3000001))),
        ValueError,
        "AdjustedMCLMC: coefficients must be",
    ),
    "init as text": (lambda: bz.NUTS(init="prior"), TypeError, "NUTS: init must be a function .*from_prior"),
    "init as a class": (lambda: bz.NUTS(init=bz.density.Adam), TypeError, r"NUTS: init .* write init=Adam\(…\)"),
    "init as a network": (lambda: bz.MAP(init=MODEL.net), TypeError, r"MAP: init .* write init=density\.FromNet\(net\)"),
    "init of another shape": (
        lambda: fit(bz.NUTS(init=lambda joint, chains, generator: torch.zeros(chains, 3))),
        ValueError,
        r"NUTS: init must give floating positions \[chain, dim\] = \(\d, 26\), got torch\.float32 \(\d, 3\)",
    ),
    "init of no tensor": (
        lambda: fit(bz.SGLD(init=lambda joint, chains, generator: {"0.weight": 0.0})),
        ValueError,
        "SGLD: init must give .* got dict",
    ),
    "optimiser as text": (lambda: bz.MAP(optimiser="adam"), TypeError, r"MAP: optimiser .* torch\.optim\.Adam"),
    "optimiser made": (
        lambda: bz.MAP(optimiser=torch.optim.SGD([nn.Parameter(torch.ones(1))])),
        TypeError,
        r"MAP: optimiser must be a class",
    ),
    "LBFGS": (
        lambda: fit(bz.MAP(optimiser=torch.optim.LBFGS)),
        TypeError,
        "MAP: optimiser must work coordinate by coordinate",
    ),
    "Adafactor": (lambda: fit(bz.Laplace(optimiser=torch.optim.Adafactor)), TypeError, "Laplace: optimiser .* mixes them"),
    "handler made": (
        lambda: bz.MeanField(handler=bz.handlers.LocalReparameterization()),
        TypeError,
        r"MeanField: handler .* write handler=LocalReparameterization, without \(\)",
    ),
    "handler None": (lambda: bz.MeanField(handler=None), TypeError, "MeanField: handler must be a class or function"),
    "guide as text": (lambda: bz.MeanField(guide="AutoNormal"), TypeError, "MeanField: guide must be a family"),
    "guide made": (lambda: bz.MeanField(guide=AutoNormal(MODEL)), TypeError, "MeanField: guide .* write guide=AutoNormal"),
    "guide of data": (lambda: bz.MeanField(guide=lambda x, y: None), TypeError, r"guide .* which takes \(x, y\)"),
    "sites as one text": (lambda: bz.Laplace(sites="2.*"), TypeError, r"Laplace: sites .* write \('2\.\*',\)"),
    "dropout sites as one text": (lambda: bz.MCDropout(sites="2.weight"), TypeError, "MCDropout: sites must be a tuple"),
    "compile as text": (lambda: bz.NUTS(compile="yes"), TypeError, "NUTS: compile must be True, False or None"),
    "scale_adapted": (lambda: bz.SGHMC(scale_adapted=1), TypeError, "SGHMC: scale_adapted must be True or False"),
    "hidden as a number": (lambda: bz.nets.MLP(3, 1, hidden=4), TypeError, r"MLP: hidden must be the sizes .* got 4"),
    "hidden of fractions": (
        lambda: bz.nets.MLP(3, 1, hidden=(4.0,)),
        TypeError,
        "MLP: hidden must be a whole number, got 4.0",
    ),
    "no outputs": (lambda: bz.nets.MLP(3, 0), ValueError, "MLP: outputs must be at least 1, got 0"),
    "activation made": (lambda: bz.nets.MLP(3, 1, activation=nn.Tanh()), TypeError, r"write activation=nn\.Tanh, without"),
    "activation as a function": (
        lambda: bz.nets.LeNet5(activation=torch.tanh),
        TypeError,
        "LeNet5: activation must be a module",
    ),
    "priors in a list": (lambda: bz.priors.PerSite([("*", bz.priors.Normal())]), TypeError, "PerSite needs a mapping"),
    "a class in PerSite": (lambda: bz.priors.PerSite({"*": bz.priors.Normal}), TypeError, r"PerSite: '\*' needs a prior"),
    "a rule as prior": (
        lambda: bz.BNN(MODEL.net, bz.priors.fan_in, bz.likelihoods.Categorical()),
        TypeError,
        r"prior\(name, shape\), but fan_in takes .* Normal\(fan_in\)",
    ),
    "a law as prior": (
        lambda: bz.BNN(MODEL.net, torch.distributions.Normal(0.0, 1.0), bz.likelihoods.Categorical()),
        TypeError,
        r"needs an instance as its prior|needs a prior such as Normal\(1\.0\)",
    ),
}


@pytest.mark.parametrize("row", BAD)
def test_refused_with_the_name_of_the_setting(row):
    make, error, message = BAD[row]
    with pytest.raises(error, match=f"(?s){message}"):
        make()


@pytest.mark.parametrize("name", METHODS)
def test_draws_that_no_memory_holds_are_refused_before_warm_up(name, monkeypatch):
    from dataclasses import replace

    from bnn_zoo.run import loop

    monkeypatch.setattr(loop, "tqdm", lambda *_, **__: pytest.fail("the run had started"))
    many = {"draws": 10**13} if "draws" in METHODS[name].__dataclass_fields__ else {"chains": 10**13}
    with pytest.raises(
        ValueError, match=rf"{name}: .* draws with chains=.* need .*B, and .* of memory are free: keep fewer"
    ):
        fit(replace(METHODS[name], **many))


def test_what_advice_names_works():
    """The remedies of the errors above, followed."""
    torch.manual_seed(0)
    fit(bz.SGLD(chains=1, steps=4, step_size=s.cosine(1e-4)))
    fit(bz.SGLD(chains=1, steps=8, warmup=0, step_size=s.cyclical(1e-4, cycles=2), temperature=s.exploring(cycles=2)))
    fit(bz.SGLD(chains=1, steps=4, step_size=lambda t: torch.tensor(1e-5)))
    fit(bz.MAP(steps=2, optimiser=ADAM, init=bz.density.FromNet(MODEL.net)))
    fit(bz.MeanField(steps=2, draws=2, handler=bz.handlers.LocalReparameterization))
    fit(bz.Laplace(steps=2, draws=2, sites=("2.*",)))
    bz.BNN(bz.nets.MLP(3, 1, hidden=[4], activation=nn.Tanh), bz.priors.Normal(bz.priors.fan_in), bz.likelihoods.Gaussian())


@pytest.mark.parametrize("optimiser", ["Adam", "AdamW", "SGD", "RMSprop", "Adagrad", "NAdam", "RAdam", "Rprop", "ASGD"])
def test_optimisers_that_work_coordinate_by_coordinate_are_taken(optimiser):
    bz.kernels.check_coordinatewise(getattr(torch.optim, optimiser), "MAP")


def test_schedules_are_looked_at_as_they_run_too():
    """Of a schedule of more steps than are looked at before."""
    checked = s.checked(lambda t: NAN if t == 3 else 1.0, 10, "SGLD: step_size")
    assert checked(2) == 1.0
    with pytest.raises(ValueError, match="got nan at step 3"):
        checked(3)
