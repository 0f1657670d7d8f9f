"""A run is its kernel's steps by hand: thinning, warm-up, minibatches and statistics are the loop's, and nothing else is."""

from typing import NamedTuple

import pytest
import torch
from targets import orthogonal_design, regression

import bnn_zoo as bz
from bnn_zoo import kernels
from bnn_zoo._random import Streams, Use
from bnn_zoo.backends._rows import rows_and_density
from bnn_zoo.backends._sampling import Sampling
from bnn_zoo.data import minibatches
from bnn_zoo.kernels.chees import Lockstep
from bnn_zoo.kernels.hmc import Dynamics
from bnn_zoo.kernels.langevin import Heat
from bnn_zoo.kernels.mclmc import Microcanonical
from bnn_zoo.run import Recorder, Run

CHAINS, EPSILON, SEED = 3, 0.07, 5
DATA = orthogonal_design(24)
START = 0.1 * torch.randn(CHAINS, 4, generator=torch.Generator().manual_seed(0)).double()
FIXED = {"chains": CHAINS, "init": lambda *_: START, "compile": False}
EACH = torch.full((CHAINS,), EPSILON, dtype=torch.float64)
METRIC = kernels.Diagonal(torch.ones_like(START))


def streams(chains=CHAINS):
    return Streams(SEED, Use.MOVES, range(chains), torch.device("cpu"), torch.float64)


def by_hand(kernel, parameters, steps, target, random):
    """The states after each step, and what the kernel said of it."""
    state, made = kernel.init(START, target(0), random), []
    for i in range(steps):
        state, info = kernel.step(target(i), state, parameters, random)
        made.append((state, info))
    return made


UNTUNED = {"warmup": 0, "draws": 4, "thinning": 3, "step_size": EPSILON, "processes": 1}
FULL_BATCH = {
    "HMC": (bz.HMC(**FIXED, **UNTUNED, trajectory_length=0.4), kernels.HMC(0.4), Dynamics(METRIC, EACH)),
    "NUTS": (bz.NUTS(**FIXED, **UNTUNED), kernels.NUTS(), Dynamics(METRIC, EACH)),
    "RandomWalk": (bz.RandomWalk(**FIXED, **UNTUNED), kernels.RandomWalk(), Dynamics(METRIC, EACH)),
    "AdjustedMCLMC": (
        bz.AdjustedMCLMC(**FIXED, **UNTUNED, trajectory_length=0.3),
        kernels.AdjustedMCLMC(0.3),
        Dynamics(METRIC, EACH),
    ),
    "ChEES": (bz.ChEES(**FIXED, **UNTUNED), kernels.ChEES(), Lockstep(METRIC, EACH, EPSILON)),
    "MCLMC": (
        bz.MCLMC(**FIXED, **UNTUNED, length=2.0),
        kernels.MCLMC(),
        Microcanonical(torch.ones_like(START), EACH, torch.full_like(EACH, 2.0)),
    ),
}


@pytest.mark.parametrize("name", FULL_BATCH)
def test_every_third_step_of_the_kernel_is_a_draw(name):
    """At a step size that is given and a metric that nothing has tuned."""
    backend, kernel, parameters = FULL_BATCH[name]
    draws = backend.run(regression, DATA, seed=SEED, progress=False)
    joint = bz.LogJoint(regression, DATA)
    made = by_hand(kernel, parameters, 12, lambda _: joint, streams())[2::3]
    torch.testing.assert_close(draws.sites["w"], torch.stack([state.position for state, _ in made], 1))
    torch.testing.assert_close(draws.stats["lp"], torch.stack([state.log_joint for state, _ in made], 1))
    error = torch.stack([info.energy_error for _, info in made], 1)
    torch.testing.assert_close(draws.stats["energy_error"], error, rtol=1e-6, atol=1e-10)
    assert (draws.sites["w"].diff(dim=1).abs().amax((0, 2)) > 0).all() and not draws.history


HEAT = Heat(2e-3, 0.7)
STOCHASTIC = {"chains": CHAINS, "steps": 14, "warmup": 0, "thinning": 4, "batch_size": 8, "init": lambda *_: START}
STOCHASTIC |= {"step_size": HEAT.step_size, "temperature": HEAT.temperature}
MINIBATCH = {
    "SGLD": (bz.SGLD(**STOCHASTIC), kernels.SGLD()),
    "PSGLD": (bz.PSGLD(**STOCHASTIC), kernels.PSGLD(rows=24)),
    "SGHMC": (bz.SGHMC(**STOCHASTIC, friction=0.2), kernels.SGHMC(0.2)),
    "SGNHT": (bz.SGNHT(**STOCHASTIC, friction=0.2), kernels.SGNHT(0.2)),
}


@pytest.mark.parametrize("name", MINIBATCH)
def test_minibatch_samplers_see_the_rows_of_each_step(name):
    backend, kernel = MINIBATCH[name]
    draws = backend.run(regression, DATA, seed=SEED, progress=False)
    rows = minibatches(DATA, 8, CHAINS, SEED, None).rows

    def target(i):
        """The plain log density: the prior once, and three times the likelihood of eight rows; and its gradient."""

        def value(q):
            x, y = rows(i)
            residual = (y - (x * q[:, None]).sum(-1)) / 0.5
            constant = -0.5 * (4 + 24) * torch.log(torch.tensor(2 * torch.pi)) - 24 * torch.log(torch.tensor(0.5))
            return -0.5 * q.square().sum(-1) - 1.5 * residual.square().sum(-1) + constant

        def both(q):
            q = q.detach().requires_grad_()
            (gradient,) = torch.autograd.grad(value(q).sum(), q)
            return value(q).detach(), gradient

        return both

    made = by_hand(kernel, HEAT, 12, target, streams())
    torch.testing.assert_close(draws.sites["w"], torch.stack([state.position for state, _ in made[3::4]], 1))
    lp = torch.stack([info.lp for _, info in made[3::4]], 1)
    torch.testing.assert_close(draws.stats["lp"], lp, rtol=1e-6, atol=1e-6)
    assert (draws.stats["temperature"] == 0.7).all() and (draws.stats["step_size"] == 2e-3).all()


def test_map_is_the_loop_that_one_writes_with_torch():
    """Adam on −log joint over the minibatches of each step, one optimiser a chain."""
    settings = {k: v for k, v in STOCHASTIC.items() if k in ("chains", "batch_size", "init")}
    draws = bz.MAP(**settings, steps=9, step_size=0.03).run(regression, DATA, seed=SEED, progress=False)
    joint, batches = rows_and_density(regression, DATA, batch_size=8, chains=CHAINS, seed=SEED, device=None, compile=False)
    for chain in range(CHAINS):
        w = START[chain].clone().requires_grad_()
        optimiser = torch.optim.Adam([w], lr=0.03)
        for step in range(9):
            x, y = (t[chain] for t in batches.rows(step))
            optimiser.zero_grad()
            (0.5 * w.square().sum() + 1.5 * ((y - x @ w) / 0.5).square().sum()).backward()
            optimiser.step()
        torch.testing.assert_close(draws.sites["w"][chain, 0], w.detach())
    assert joint.dim == 4


class Counted(NamedTuple):
    """A state that counts its steps, ``[chain, 1]``."""

    position: torch.Tensor


class Told(NamedTuple):
    diverging: torch.Tensor


class Clockwork:
    """A kernel that makes one step after another; at those of ``lost`` the second chain diverges."""

    lost = (1, 6, 8, 12)

    def init(self, position, target, random):
        return Counted(position)

    def step(self, target, state, parameters, random):
        now = state.position + 1
        return Counted(now), Told(torch.tensor([False, int(now[1]) - 1 in self.lost]))


def test_what_is_kept_of_which_step():
    """Four steps of warm-up, of which every third goes into the history; then four draws, each the third of three steps."""

    def statistics(before, after, info):
        return {"moved": (after.position - before.position)[:, 0], "at": before.position[:, 0], "diverging": info.diverging}

    program = Sampling(Clockwork(), 4, 4, 3, statistics, ("at",), 3, lambda carry: "")
    assert program.phases == {"warm-up": 4, "draws": 12} and program.traces == 2
    run = Run(program, None, None, Recorder(4), torch.device("cpu"))
    run.begin(torch.zeros(2, 1))
    for step in range(16):
        assert run.step == step
        run.advance()
    positions, stats = run.sink.result()
    assert positions[..., 0].tolist() == [[7, 10, 13, 16]] * 2 and (stats["moved"] == 1).all()
    # step 1 is of the warm-up; steps 6, 8 and 12 lie between the draws after steps 3, 6, 9, 12 and 15
    assert stats["diverging"].tolist() == [[False] * 4, [True, True, True, False]]
    assert run.carry.diverged.tolist() == [0, 3] and run.traced()["at"].tolist() == [[0, 3]] * 2
