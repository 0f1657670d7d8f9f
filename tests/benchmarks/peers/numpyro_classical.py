"""The posteriors of classical.py in NumPyro: priors, parameters and arguments as in tests/posteriordb/models.py.

``python numpyro_classical.py sample NAME DATA OUT`` samples one by NUTS with default settings: diagonal mass matrix, target
0.8, depth 10. ``python numpyro_classical.py densities FOLDER`` prints, for every ``NAME.npz`` in the folder, the log density
over the real line at its points, and the versions of the libraries, as JSON. Run by classical.py.
"""

from __future__ import annotations

import argparse
import json
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
from _jax import Stopwatch
from numpyro.distributions import constraints
from numpyro.infer import MCMC
from numpyro.infer.util import potential_energy, unconstrain_fn
from numpyro_nuts import CountingNUTS

CHAINS = 4


def flat(name: str, size: int) -> Any:
    return numpyro.sample(name, dist.ImproperUniform(constraints.real, (), (size,)))


def flat_positive(name: str) -> Any:
    return numpyro.sample(name, dist.ImproperUniform(constraints.positive, (), ()))


def normal_rows(mean: Any, scale: Any, y: Any) -> None:
    with numpyro.plate("rows", y.shape[0]):
        numpyro.sample("y", dist.Normal(mean, scale), obs=y)


def kilpisjarvi(x: Any, y: Any, pmualpha: Any, psalpha: Any, pmubeta: Any, psbeta: Any) -> None:
    alpha = numpyro.sample("alpha", dist.Normal(pmualpha, psalpha))
    beta = numpyro.sample("beta", dist.Normal(pmubeta, psbeta))
    normal_rows(alpha + beta * x, flat_positive("sigma"), y)


def flat_regression(design: Any, y: Any) -> None:
    beta = flat("beta", design.shape[1])
    normal_rows(design @ beta, flat_positive("sigma"), y)


def half_cauchy_regression(design: Any, y: Any) -> None:
    beta = flat("beta", design.shape[1])
    normal_rows(design @ beta, numpyro.sample("sigma", dist.HalfCauchy(2.5)), y)


def blr(design: Any, y: Any) -> None:
    beta = numpyro.sample("beta", dist.Normal(0.0, 10.0).expand([design.shape[1]]).to_event(1))
    normal_rows(design @ beta, numpyro.sample("sigma", dist.HalfNormal(10.0)), y)


def ark(lags: Any, y: Any) -> None:
    alpha = numpyro.sample("alpha", dist.Normal(0.0, 10.0))
    beta = numpyro.sample("beta", dist.Normal(0.0, 10.0).expand([lags.shape[1]]).to_event(1))
    normal_rows(alpha + lags @ beta, numpyro.sample("sigma", dist.HalfCauchy(2.5)), y)


def eight_schools_noncentered(y: Any, sigma: Any) -> None:
    mu = numpyro.sample("mu", dist.Normal(0.0, 5.0))
    tau = numpyro.sample("tau", dist.HalfCauchy(5.0))
    z = numpyro.sample("theta_trans", dist.Normal(jnp.zeros_like(y), jnp.ones_like(y)).to_event(1))
    normal_rows(numpyro.deterministic("theta", mu + tau * z), sigma, y)


def gp_regr(x: Any, y: Any) -> None:
    """``sigma`` is the variance of the noise."""
    rho = numpyro.sample("rho", dist.Gamma(25.0, 4.0))
    alpha = numpyro.sample("alpha", dist.HalfNormal(2.0))
    sigma = numpyro.sample("sigma", dist.HalfNormal(1.0))
    cov = alpha**2 * jnp.exp(-0.5 * ((x[:, None] - x) / rho) ** 2) + sigma * jnp.eye(x.shape[0])
    numpyro.sample("y", dist.MultivariateNormal(jnp.zeros_like(y), scale_tril=jnp.linalg.cholesky(cov)), obs=y)


MODELS: dict[str, Callable[..., None]] = {
    "arK-arK": ark,
    "earnings-logearn_interaction": flat_regression,
    "eight_schools-eight_schools_noncentered": eight_schools_noncentered,
    "gp_pois_regr-gp_regr": gp_regr,
    "kidiq-kidscore_interaction": half_cauchy_regression,
    "kidiq-kidscore_momhs": half_cauchy_regression,
    "kidiq_with_mom_work-kidscore_interaction_c": flat_regression,
    "kilpisjarvi_mod-kilpisjarvi": kilpisjarvi,
    "mesquite-logmesquite_logvolume": flat_regression,
    "nes1980-nes": flat_regression,
    "sblrc-blr": blr,
}


def arguments(file: Any) -> tuple[Any, ...]:
    """The model's, in JAX's precision."""
    count = sum(name.startswith("data_") for name in file.files)
    return tuple(jnp.asarray(file[f"data_{i}"], float) for i in range(count))


def densities(folder: Path) -> dict[str, list[float]]:
    """The log density that is sampled, of unconstrained parameters, at the points of each file."""
    jax.config.update("jax_enable_x64", True)
    found = {}
    for path in sorted(folder.glob("*.npz")):
        file, model = np.load(path), MODELS[path.stem]
        args = arguments(file)
        points = {name.removeprefix("point_"): file[name] for name in file.files if name.startswith("point_")}
        found[path.stem] = []
        for i in range(len(file["log_density"])):
            at = unconstrain_fn(model, args, {}, {site: jnp.asarray(value[i]) for site, value in points.items()})
            found[path.stem].append(-float(potential_energy(model, args, {}, at)))
    return found


def sample(args: argparse.Namespace) -> None:
    jax.config.update("jax_enable_x64", args.dtype == "float64")
    if args.chain_method == "parallel" and jax.local_device_count() < CHAINS:
        raise SystemExit(f"parallel needs {CHAINS} devices, JAX sees {jax.local_device_count()}: set XLA_FLAGS")
    data = jax.block_until_ready(arguments(np.load(args.data)))
    stopwatch = Stopwatch()
    mcmc = MCMC(
        CountingNUTS(MODELS[args.name]),
        num_warmup=args.warmup,
        num_samples=args.draws,
        num_chains=CHAINS,
        chain_method=args.chain_method,
        progress_bar=False,
    )
    mcmc.run(jax.random.PRNGKey(args.seed), *data, extra_fields=("num_steps", "diverging"))
    samples = jax.block_until_ready(mcmc.get_samples(group_by_chain=True))
    sites = {f"site_{name}": np.asarray(value) for name, value in samples.items()}
    times = stopwatch.read()
    fields = mcmc.get_extra_fields(group_by_chain=True)
    compiling = times.pop("compile")
    note = f"{compiling:.2f} s of XLA's compiler, {int(fields['diverging'].sum())} divergences"
    np.savez(args.out, **sites, **times, gradients=int(fields["num_steps"][:, -1].sum()), note=note)


def main() -> None:
    warnings.simplefilter("ignore")
    parser = argparse.ArgumentParser()
    commands = parser.add_subparsers(dest="command", required=True)
    checked = commands.add_parser("densities")
    checked.add_argument("folder", type=Path)
    sampled = commands.add_parser("sample")
    sampled.add_argument("name", choices=MODELS)
    sampled.add_argument("data")
    sampled.add_argument("out")
    sampled.add_argument("--chain-method", default="parallel")
    sampled.add_argument("--warmup", type=int, default=1_000)
    sampled.add_argument("--draws", type=int, default=1_000)
    sampled.add_argument("--seed", type=int, default=0)
    sampled.add_argument("--dtype", default="float32", choices=("float32", "float64"))
    args = parser.parse_args()
    if args.command == "densities":
        versions = f"numpyro {numpyro.__version__}, jax {jax.__version__}"
        print(json.dumps({"versions": versions, "densities": densities(args.folder)}))
    else:
        sample(args)


if __name__ == "__main__":
    main()
