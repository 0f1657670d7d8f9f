"""BlackJAX's microcanonical Langevin sampler with its own tuner, from an Adam start: ``python blackjax_mclmc.py DATA OUT``.

Run by ess.py. Each chain: a prior draw, ``--adam`` steps of Adam on the log joint of the unconstrained parameters, then
``mclmc_find_L_and_step_size`` with diagonal preconditioning for ``--steps`` steps, then those steps, every ``--thinning``-th
kept. A step of its default integrator (McLachlan) takes two gradients. Chains: one device each (``--devices`` of the host,
in threads), or all vectorised on one.
"""

from __future__ import annotations

import argparse
from functools import partial
from typing import Any

import blackjax
import jax
import optax
from _jax import Stopwatch, contest, network
from jax.flatten_util import ravel_pytree
from numpyro.infer import init_to_sample
from numpyro.infer.util import initialize_model

INTEGRATOR = blackjax.mcmc.integrators.isokinetic_mclachlan
GRADIENTS = 2  # of one step


def adam(log_density: Any, position: Any, steps: int, rate: float) -> Any:
    optimiser = optax.adam(optax.cosine_decay_schedule(rate, steps))

    def step(carry: Any, _: Any) -> Any:
        position, state = carry
        updates, state = optimiser.update(jax.grad(lambda p: -log_density(p))(position), state)
        return (optax.apply_updates(position, updates), state), None

    return jax.lax.scan(step, (position, optimiser.init(position)), length=steps)[0][0]


def tune(log_density: Any, position: Any, key: Any, steps: int) -> Any:
    begin, key = jax.random.split(key)
    state = blackjax.mclmc.init(position=position, logdensity_fn=log_density, rng_key=begin)
    kernel = lambda sqrt_diag_cov: blackjax.mcmc.mclmc.build_kernel(
        logdensity_fn=log_density, integrator=INTEGRATOR, sqrt_diag_cov=sqrt_diag_cov
    )
    return blackjax.mclmc_find_L_and_step_size(
        mclmc_kernel=kernel, num_steps=steps, state=state, rng_key=key, diagonal_preconditioning=True
    )


def run(log_density: Any, state: Any, params: Any, key: Any, draws: int, thinning: int) -> Any:
    kernel = blackjax.mcmc.mclmc.build_kernel(
        logdensity_fn=log_density, integrator=INTEGRATOR, sqrt_diag_cov=params.sqrt_diag_cov
    )

    def step(state: Any, key: Any) -> Any:
        return kernel(key, state, params.L, params.step_size)[0], None

    def draw(state: Any, key: Any) -> Any:
        state, _ = jax.lax.scan(step, state, jax.random.split(key, thinning))
        return state, state.position

    return jax.lax.scan(draw, state, jax.random.split(key, draws))[1]


def over_chains(f: Any) -> Any:
    """``f`` of every chain: a device each where there are as many, else vectorised on one."""
    return jax.pmap(f) if jax.local_device_count() > 1 else jax.jit(jax.vmap(f))


def sample(args: argparse.Namespace, x: Any, y: Any, stopwatch: Stopwatch) -> dict[str, Any]:
    keys = jax.random.split(jax.random.PRNGKey(args.seed), 3 * args.chains).reshape(3, args.chains, 2)
    if args.model is not network:
        raise SystemExit("blackjax_mclmc.py knows the network of ess.py alone")
    info = initialize_model(keys[0], network, model_args=(x, y), init_strategy=init_to_sample)
    unravel = ravel_pytree(jax.tree.map(lambda v: v[0], info.param_info.z))[1]
    start = jax.vmap(lambda z: ravel_pytree(z)[0])(info.param_info.z)
    log_density = lambda p: -info.potential_fn(unravel(p))

    start = over_chains(partial(adam, log_density, steps=args.adam, rate=args.rate))(start)
    state, params = over_chains(partial(tune, log_density, steps=args.steps))(start, keys[1])
    jax.block_until_ready(params)
    tuned, draws = stopwatch.read(), args.steps // args.thinning
    positions = over_chains(partial(run, log_density, draws=draws, thinning=args.thinning))(state, params, keys[2])
    sites = jax.jit(jax.vmap(jax.vmap(lambda p: info.postprocess_fn(unravel(p)))))(positions)
    sites = jax.block_until_ready(sites)
    times = stopwatch.read()
    times["warmup"] = tuned["seconds"] - tuned["compile"]
    # the tuner: a tenth of the steps, a tenth, a third of a tenth to readjust, a tenth
    tuning = args.adam + GRADIENTS * int(args.steps * (0.3 + 0.1 / 3))
    L, step = ([round(float(v), 2) for v in values] for values in (params.L, params.step_size))
    note = f"Adam {args.adam}, {args.steps} steps, L {L}, step {step}"
    return {
        "sites": sites,
        "times": times,
        "gradients": args.chains * (tuning + GRADIENTS * draws * args.thinning),
        "tuning_gradients": args.chains * tuning,
        "note": note,
    }


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--chains", type=int, default=4)
    parser.add_argument("--steps", type=int, default=50_000)
    parser.add_argument("--thinning", type=int, default=10)
    parser.add_argument("--adam", type=int, default=2_000)
    parser.add_argument("--rate", type=float, default=1e-2)
    contest(sample, parser)
