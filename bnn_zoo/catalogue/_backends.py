"""Rows of the catalogue: backends."""

from __future__ import annotations

from collections.abc import Iterator

from ._entry import Entry

LONG = "steps=100 * draws, thinning=50, batch_size=None if rows <= 1000 else 256"
"""Stochastic gradients in ``bnn-zoo compare``: half of the steps are burn-in, minibatches where there are many rows."""
FIT = "steps=6000, step_size=bz.schedules.cosine(0.02), batch_size=None if rows <= 1000 else 256"


def rows() -> Iterator[Entry]:
    def exact(
        name: str, module: str, line: str, year: int, reference: str, tiny: str, compare: str, off: str = "yes"
    ) -> Entry:
        facts = {"exact": off, "rows": "all", "family": "MCMC", "compare": f"bz.{name}(chains=chains, {compare})"}
        return Entry(name, "backend", module, line, year, reference, f"bz.{name}(chains=2, {tiny})", facts)

    def langevin(name: str, line: str, year: int, reference: str, step: str) -> Entry:
        facts = {
            "exact": "blurred by the step size and by minibatch noise",
            "rows": "minibatches",
            "family": "stochastic-gradient MCMC",
            "compare": f"bz.{name}(chains=chains, {LONG}, step_size={step}, compile=True)",
        }
        tiny = f"bz.{name}(chains=2, steps=40, warmup=20, thinning=5, step_size=1e-4)"
        return Entry(name, "backend", name.lower(), line, year, reference, tiny, facts)

    def fitted(
        name: str, module: str, line: str, year: int | None, reference: str, tiny: str, family: str, off: str, compare: str
    ) -> Entry:
        facts = {"exact": off, "rows": "minibatches", "family": family, "compare": f"bz.{name}({compare})"}
        return Entry(name, "backend", module, line, year, reference, f"bz.{name}(chains=2, {tiny})", facts)

    yield exact(
        "NUTS",
        "nuts",
        "no-U-turn sampler: trajectories as long as they need to be",
        2014,
        "Hoffman & Gelman",
        "warmup=10, draws=4, max_tree_depth=3",
        "warmup=200, draws=draws, max_tree_depth=8, compile=True",
    )
    yield exact(
        "HMC",
        "hmc",
        "Hamiltonian Monte Carlo with a jittered fixed length",
        2011,
        "Duane et al. 1987; Neal",
        "warmup=10, draws=4, max_leapfrogs=4",
        "warmup=200, draws=draws, compile=True",
    )
    yield exact(
        "MCLMC",
        "mclmc",
        "microcanonical Langevin: most effective draws for a gradient",
        2024,
        "Robnik & Seljak",
        "warmup=20, draws=4, thinning=2",
        "warmup=4000, draws=draws, thinning=20, compile=True",
        "blurred a little by its step size",
    )
    yield exact(
        "AdjustedMCLMC",
        "adjusted_mclmc",
        "microcanonical trajectories with an accept step",
        2025,
        "Robnik, Cohn-Gordon & Seljak",
        "warmup=10, draws=4, max_steps=4",
        "warmup=300, draws=draws, compile=True",
    )
    yield exact(
        "ChEES",
        "chees",
        "HMC for many chains at once: one tuned trajectory length",
        2021,
        "Hoffman, Radul & Sountsov",
        "warmup=10, draws=4, max_leapfrogs=4",
        "warmup=300, draws=draws, compile=True",
    )
    yield exact(
        "RandomWalk",
        "random_walk",
        "Metropolis without gradients: for a few dimensions",
        1953,
        "Metropolis et al.",
        "warmup=10, draws=4",
        "warmup=2000, draws=draws, thinning=100, compile=True",
    )
    yield langevin("SGLD", "Langevin dynamics on minibatches", 2011, "Welling & Teh", "0.08 / rows")
    yield langevin("PSGLD", "SGLD preconditioned as RMSprop does", 2016, "Li, Chen, Carlson & Carin", "0.08 / rows")
    yield langevin("SGHMC", "SGLD with momentum and friction; cyclical too", 2014, "Chen, Fox & Guestrin", "0.008 / rows")
    yield langevin("SGNHT", "SGHMC with a thermostat against minibatch noise", 2014, "Ding et al.", "0.008 / rows")
    yield fitted(
        "MeanField",
        "mean_field",
        "nearest product of normals, or any of Pyro's autoguides",
        2017,
        "Kucukelbir et al.",
        "steps=10, draws=4",
        "variational",
        "ignores correlations of weights",
        "chains=min(chains, 2), steps=1500, draws=draws",
    )
    yield fitted(
        "MCDropout",
        "mc_dropout",
        "dropout as variational inference: a draw is a mask",
        2016,
        "Gal & Ghahramani",
        "steps=10, draws=4",
        "variational",
        "a family of masks around one network",
        "chains=min(chains, 2), steps=1500, draws=draws",
    )
    yield fitted(
        "MAP",
        "map",
        "the mode: one draw, no error bars",
        None,
        "",
        "steps=20",
        "optimisation",
        "a point",
        f"chains=chains, {FIT}",
    )
    yield fitted(
        "DeepEnsemble",
        "map",
        "networks optimised from starts of their own",
        2017,
        "Lakshminarayanan, Pritzel & Blundell",
        "steps=20",
        "optimisation",
        "a few modes of equal weight",
        f"chains=max(chains, 5), {FIT}",
    )
    yield fitted(
        "SWAG",
        "swag",
        "a normal from the iterates of SGD",
        2019,
        "Maddox et al.",
        "steps=40, warmup=20, thinning=5, step_size=1e-4, draws=4",
        "optimisation",
        "a normal around one mode",
        f"chains=min(chains, 2), {LONG}, step_size=0.08 / rows, draws=draws",
    )
    yield fitted(
        "Laplace",
        "laplace",
        "a normal at the mode by the exact Hessian, of all weights or some",
        1992,
        "MacKay",
        "steps=20, draws=4",
        "optimisation",
        "a normal around one mode",
        f"chains=min(chains, 2), {FIT}, draws=draws",
    )
    yield fitted(
        "DiagonalLaplace",
        "laplace",
        "the same by the diagonal of the Hessian alone",
        1990,
        "Denker & LeCun",
        "steps=20, draws=4",
        "optimisation",
        "a normal around one mode, without correlations",
        f"chains=min(chains, 2), {FIT}, draws=draws",
    )
