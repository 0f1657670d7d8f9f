"""What ranks run in these tests, and one process to compare: ``runs.py NAME FOLDER`` writes ``NAME-<rank>.pt`` there."""

import os
import signal
import sys
import warnings
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pyro
import pyro.distributions as dist
import torch

sys.path.insert(0, str(Path(__file__).parents[1]))

import bnn_zoo as bz
from bnn_zoo._ranks import here
from bnn_zoo.density import LogJoint, ShardedLogJoint
from bnn_zoo.run.loop import Run


def numbers(*shape, seed=0):
    return torch.from_numpy(np.random.default_rng(seed).standard_normal(shape))


SCHOOLS = "eight_schools-eight_schools_noncentered"
X, Y = numbers(61, 3), numbers(61, seed=1)
"""An odd number of rows: ranks have unequal shares."""
NET = bz.BNN(bz.nets.MLP(3, 1, hidden=(4,)), bz.priors.Normal(1.0), bz.likelihoods.Gaussian())
PLAIN = {"compile": False, "processes": 1, "init": bz.density.from_support}


@dataclass(frozen=True)
class Given:
    """Starts of the chains by their numbers, whichever rank has them."""

    chains: int

    def __call__(self, log_joint, chains, generator):
        ranks = here() if chains < self.chains else None
        begin = ranks.rank * self.chains // ranks.size if ranks else 0
        return 0.3 * numbers(self.chains, log_joint.dim, seed=2)[begin : begin + chains].to(log_joint.dtype)


def short(backend, **more):
    return backend(chains=4, warmup=40, draws=6, **(PLAIN | {"init": Given(4)} | more))


SHARED = {
    "NUTS": short(bz.NUTS, max_tree_depth=4),
    "HMC, dense": short(bz.HMC, mass_matrix=bz.DenseMass(), max_leapfrogs=10),
    "HMC, low rank": short(bz.HMC, mass_matrix=bz.LowRankFisherMass(), max_leapfrogs=10),
    "ChEES": short(bz.ChEES, max_leapfrogs=10),
    "MCLMC": short(bz.MCLMC, mass_matrix=bz.FisherMass()),
    "SGLD": bz.SGLD(chains=4, steps=60, batch_size=16, init=Given(4), step_size=1.0),
}
"""Tuned over all chains of all ranks, so that ranks are one process."""

OWN = {
    "NUTS": short(bz.NUTS, max_tree_depth=4, mass_matrix=bz.DiagonalMass(pooled=False), init=bz.density.BestOf()),
    "MCLMC": short(bz.MCLMC, init=bz.density.BestOf()),
}
"""Tuned by each chain for itself, so that ranks are forks."""

ROWS = {
    "NUTS": bz.NUTS(chains=2, warmup=12, draws=6, max_tree_depth=4, **PLAIN),
    "HMC": bz.HMC(chains=2, warmup=12, draws=6, max_leapfrogs=10, **PLAIN),
    "HMC, chunks": bz.HMC(chains=2, warmup=12, draws=6, max_leapfrogs=10, row_chunk=7, **PLAIN),
    "MCLMC": bz.MCLMC(chains=2, warmup=40, draws=3, **PLAIN),
    "SGLD": bz.SGLD(chains=2, steps=60, batch_size=15),
    "SGLD, all rows": bz.SGLD(chains=2, steps=60),
    "SGHMC": bz.SGHMC(chains=2, steps=60, batch_size=15),
    "MAP": bz.MAP(chains=2, steps=60, batch_size=15),
    "SWAG": bz.SWAG(chains=2, steps=60, batch_size=15),
    "Laplace": bz.Laplace(chains=1, steps=60, batch_size=15),
}


def result(posterior):
    draws = posterior.draws
    sites = {name: value[:] for name, value in draws.sites.items()}  # those of a run that is kept are on disk
    stats = {name: value[:] for name, value in draws.stats.items()}
    return {"sites": sites, "stats": stats, "history": dict(draws.history), "attrs": draws.attrs}


def fits(backends, **more):
    return {name: result(bz.fit(NET, (X, Y), backend, seed=3, progress=False, **more)) for name, backend in backends.items()}


def shared(folder):
    return fits(SHARED)


def own(folder):
    if here().several:
        return fits(OWN)
    return fits({name: replace(backend, processes=2) for name, backend in OWN.items()})


def rows(folder):
    return fits({name: bz.RowsOverRanks(backend) for name, backend in ROWS.items()})


def density(folder):
    """Value, gradient, value alone and Hessian of a hierarchical model, in float64 and float32, whole and over ranks."""

    def hierarchical(x, y, *, size=None):
        scale = pyro.sample("scale", dist.HalfCauchy(x.new_ones(())))
        w = pyro.sample("w", dist.Normal(x.new_zeros(3), scale).to_event(1))
        with pyro.plate("data", size or len(x), subsample=x):
            pyro.sample("y", dist.StudentT(x.new_tensor(4.0), x @ w, 0.5), obs=y)

    out = {}
    for name, model in {"hierarchical": hierarchical, "network": NET}.items():
        for dtype in (torch.float64, torch.float32):
            data = X.to(dtype), Y.to(dtype)
            target = ShardedLogJoint(model, data, ranks=here()) if here().several else LogJoint(model, data)
            at = 0.4 * numbers(3, target.dim, seed=4).to(dtype)
            some = torch.arange(min(target.dim, 3))
            out[f"{name} {dtype}"] = (*target(at), target.value(at), target.hessian(at[0], some))
    return out


def least(folder):
    """The smallest run there is, over rows and over chains."""
    nuts = bz.HMC(chains=2, warmup=3, draws=2, max_leapfrogs=3, **(PLAIN | {"init": Given(2)}))
    return fits({"rows": bz.RowsOverRanks(nuts), "chains": nuts})


KILLED = {
    "chains": (bz.NUTS(chains=3, warmup=40, draws=20, max_tree_depth=4, **PLAIN), {"warm-up": 25, "draws": 52}),
    "own": (replace(OWN["NUTS"], draws=20), {"warm-up": 25, "draws": 52}),
    "rows": (bz.RowsOverRanks(bz.NUTS(chains=2, warmup=20, draws=20, max_tree_depth=3, **PLAIN)), {"draws": 30}),
    "SGLD": (bz.SGLD(chains=3, steps=80, batch_size=16, step_size=1.0), {"burn-in": 25, "draws": 65}),
}


def killed(folder):
    """Each run kept in a folder; at each of these steps SIGKILL ends one rank, once, and torchrun starts all again."""
    advance, out = Run.advance, {}
    for name, (backend, steps) in KILLED.items():
        deaths = {step: (folder / f"died-{name}-{phase}", i % 2) for i, (phase, step) in enumerate(steps.items())}

        def until(run, _=0, deaths=deaths):
            mark, victim = deaths.get(run.step, (None, -1))
            if here().rank == victim and not mark.exists():
                mark.touch()
                os.kill(os.getpid(), signal.SIGKILL)
            advance(run)

        Run.advance = until
        out |= fits({name: backend}, checkpoint=folder / f"run-{name}", every=0)
    Run.advance = advance
    return out


def unbroken(folder):
    return fits({name: backend for name, (backend, _) in KILLED.items()})


def error(folder):
    """One rank fails in the midst of its draws."""
    advance = Run.advance

    def failing(run, _=0):
        if run.step == 45 and here().rank == 1:
            raise FloatingPointError("rank 1 has had enough")
        advance(run)

    Run.advance = failing
    return fits({"NUTS": SHARED["NUTS"]})


def interrupted(folder):
    """Ctrl-C reaches one rank in its steps that all make together: all stop there."""
    advance = Run.advance

    def pressed(run, _=0):
        if run.step == 15 and here().rank == 1:
            os.kill(os.getpid(), signal.SIGINT)
        advance(run)

    Run.advance = pressed
    backend = bz.RowsOverRanks(bz.HMC(chains=2, warmup=5, draws=40, max_leapfrogs=5, **PLAIN))
    out = fits({"rows": backend})
    Run.advance = advance
    return out


def variational(folder):
    return fits({"MeanField": bz.MeanField(steps=30, draws=5)})


def posteriors(folder):
    """Eight schools, and what a network computes, with chains over ranks."""
    from posteriordb.models import POSTERIORS
    from posteriordb.reference import load

    schools = POSTERIORS[SCHOOLS]
    data = schools.data(load(os.environ["BNN_ZOO_DATA"], SCHOOLS)[0], torch.float64)
    exact = bz.NUTS(chains=4, warmup=1000, draws=1000, target_accept=0.9, compile=False)
    made = result(bz.fit(schools.model, data, exact, seed=1, progress=False))
    network = bz.fit(NET, (X, Y), bz.NUTS(chains=4, warmup=300, draws=300, compile=False), seed=1, progress=False)
    return {"schools": made, "network": result(network) | {"f": network.predict(X[:5]).f.squeeze(-1)}}


def main():
    name, folder = sys.argv[1], Path(sys.argv[2])
    warnings.simplefilter("ignore")
    torch.save(globals()[name](folder), folder / f"{name}-{here().rank}.pt")


if __name__ == "__main__":
    main()
