"""R-hat, bulk and tail ESS of very many scalars against ArviZ in the same run, and peak memory at a million scalars.

``python tests/benchmarks/diagnostics.py``. Autoregressive draws (0.7), 4 chains x 1,000 draws. ArviZ handles one scalar
after the other on one core, so it is timed on ``--subset`` scalars and extrapolated in proportion; the two take turns.
Target: at least 15 times faster on two cores.
"""

from __future__ import annotations

import argparse
import resource
import time
import warnings
from collections.abc import Iterator

import numpy as np
import torch

from bnn_zoo import diagnostics

CHAINS, DRAWS, BLOCK, PROB = 4, 1000, 2_000, (0.05, 0.95)


def draws(scalars: int, dtype: torch.dtype) -> Iterator[torch.Tensor]:
    """Blocks ``[chain, draw, BLOCK]``, each made when it is asked for."""
    rng = torch.Generator().manual_seed(0)
    for start in range(0, scalars, BLOCK):
        x = torch.randn(CHAINS, DRAWS, min(BLOCK, scalars - start), generator=rng, dtype=dtype)
        for t in range(1, DRAWS):
            x[:, t] += 0.7 * x[:, t - 1]
        yield x


def arviz_all_three(x: np.ndarray) -> np.ndarray:
    import arviz as az

    one = lambda x: (az.rhat(x), az.ess(x, method="bulk"), az.ess(x, method="tail", prob=PROB))
    return np.array([one(x[..., i]) for i in range(x.shape[-1])], dtype=float).T


def million(scalars: int) -> None:
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    start = time.perf_counter()
    summary = diagnostics.summarise(draws(scalars, torch.float32))
    seconds = time.perf_counter() - start
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    size = scalars * CHAINS * DRAWS * 4 / 2**20
    print(
        f"summarise of {scalars:,} scalars, {size:,.0f} MiB of draws made block by block: {seconds:.0f} s (making included)"
    )
    print(f"peak memory {peak:.0f} MiB, {before:.0f} MiB before the call")
    print(summary)


def ratio(scalars: int, subset: int, rounds: int, dtype: torch.dtype) -> None:
    x = torch.empty(CHAINS, DRAWS, scalars, dtype=dtype)
    for i, block in enumerate(draws(scalars, dtype)):
        x[..., i * BLOCK : i * BLOCK + block.shape[-1]] = block
    some = np.ascontiguousarray(x[..., :subset])
    arviz_all_three(some[..., :2])
    diagnostics.convergence(x[..., :500])
    ratios, ours = [], None
    for _ in range(rounds):
        clock = [(time.perf_counter(), time.process_time())]
        theirs = arviz_all_three(some)
        clock.append((time.perf_counter(), time.process_time()))
        ours = diagnostics.convergence(x)
        clock.append((time.perf_counter(), time.process_time()))
        spent = np.diff(np.array(clock), axis=0) / [[subset], [scalars]]  # arviz, ours; wall, CPU; seconds per scalar
        ratios.append(spent[0] / spent[1])
        print(f"  ms per scalar, wall (CPU): ArviZ {spent[0, 0] * 1e3:.2f} ({spent[0, 1] * 1e3:.2f}), ", end="")
        print(f"ours {spent[1, 0] * 1e3:.3f} ({spent[1, 1] * 1e3:.3f}); all of ours {spent[1, 0] * scalars:.1f} s")
    off = max(np.abs(o[:subset].numpy() / t - 1).max() for o, t in zip(ours, theirs, strict=True))
    wall, cpu = np.median(ratios, 0)
    print(f"{dtype}: ArviZ / ours, median of {rounds}: wall {wall:.1f}, CPU {cpu:.1f}; target 15 (wall): ", end="")
    print(f"{'met' if wall >= 15 else 'MISSED'}. Largest relative difference on the subset: {off:.1e}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--scalars", type=int, default=100_000)
    parser.add_argument("--subset", type=int, default=300, help="scalars that ArviZ is timed on")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--million", type=int, default=1_000_000, help="scalars of the memory measurement; 0 leaves it out")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # ArviZ's notice of its refactoring
        import arviz
    print(f"torch {torch.__version__}, arviz {arviz.__version__}, {args.threads} threads")
    if args.million:
        million(args.million)
    print(f"{args.scalars:,} scalars; ArviZ timed on {args.subset} of them and extrapolated linearly")
    for dtype in (torch.float32, torch.float64):
        ratio(args.scalars, args.subset, args.rounds, dtype)


if __name__ == "__main__":
    main()
