"""NumPyro's NUTS, as its documentation starts it: 500 + 500 transitions of 4 chains, diagonal mass matrix, target 0.8.

``python numpyro_nuts.py DATA OUT [--chain-method parallel]``; run by ess.py. Chains start from the prior.
"""

from __future__ import annotations

import argparse
from typing import Any

import jax
from _jax import Stopwatch, contest, network
from numpyro.infer import MCMC, NUTS, init_to_sample, init_to_uniform


class CountingNUTS(NUTS):
    """``num_steps`` of the state counts all leapfrogs since the start, so that those of the warm-up are known too."""

    def sample(self, state: Any, model_args: Any, model_kwargs: Any) -> Any:
        new = super().sample(state, model_args, model_kwargs)
        return new._replace(num_steps=state.num_steps + new.num_steps)


def sample(args: argparse.Namespace, x: Any, y: Any, stopwatch: Stopwatch) -> dict[str, Any]:
    start = init_to_sample if args.model is network else init_to_uniform  # a draw of a vague hierarchy is a hopeless start
    kernel = CountingNUTS(args.model, init_strategy=start, max_tree_depth=args.depth)
    mcmc = MCMC(
        kernel,
        num_warmup=args.warmup,
        num_samples=args.draws,
        num_chains=args.chains,
        chain_method=args.chain_method,
        progress_bar=False,
    )
    mcmc.run(jax.random.PRNGKey(args.seed), x, y, extra_fields=("num_steps", "diverging"))
    sites = jax.block_until_ready(mcmc.get_samples(group_by_chain=True))
    times = stopwatch.read()
    fields = mcmc.get_extra_fields(group_by_chain=True)
    total, after_first = int(fields["num_steps"][:, -1].sum()), int(fields["num_steps"][:, 0].sum())
    # warm-up and sampling are one compiled loop: its seconds are shared out by leapfrogs
    times["warmup"] = (times["seconds"] - times["compile"]) * after_first / total
    each = (total - after_first) / (args.draws - 1) / args.chains
    note = f"{mcmc.chain_method}, {each:.0f} leapfrogs/draw, {int(fields['diverging'].sum())} divergences"
    return {"sites": sites, "times": times, "gradients": total, "tuning_gradients": after_first, "note": note}


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--warmup", type=int, default=500)
    parser.add_argument("--draws", type=int, default=500)
    parser.add_argument("--chains", type=int, default=4)
    parser.add_argument("--depth", type=int, default=10)
    parser.add_argument("--chain-method", default="parallel")
    contest(sample, parser)
