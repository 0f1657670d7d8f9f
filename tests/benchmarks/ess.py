"""Function-space effective sample size a second, compilation and warm-up included: our samplers against their peers.

``python tests/benchmarks/ess.py --data concrete boston --samplers NUTS numpyro_nuts blackjax_mclmc --peers PYTHON``

Split 0 of a UCI set, d-50-1 tanh network, weights N(0, 1/fan-in), biases N(0, 1), noise sd half-normal on standardised y,
float32, 4 chains. Every contestant runs in a fresh process with all cores and cold compiler caches, in turn, ``--rounds``
times. ``seconds`` begin when libraries are imported and data read, and end when all draws are there: tracing, compilation,
warm-up and sampling. Measured is the bulk ESS of f(x_test), for each test row over all draws, by
``bnn_zoo.diagnostics.ess_bulk`` for all: minimum and median over rows. All must agree on the test log likelihood (LL, of the
mixture over draws, y's own units) within 0.05, else somebody is wrong or not converged.

The peers (``peers/``) are run by another interpreter, ``--peers`` or BNN_ZOO_PEERS, with numpyro, blackjax and optax. Pyro's
NUTS would take hours: its leapfrogs a second are measured for ``--pyro-seconds``, and its row says how long NumPyro's
gradients, and so its draws, would have taken it; both implement the same algorithm and warm-up. ``--csv`` appends to a file.
``--data neal`` is FBM's regression with Neal's hierarchical priors (1-8-1, two modes: R-hat tells; NUTS, MCLMC and
NumPyro). ``--leapfrogs`` prints chain-leapfrogs a second instead. ``--data yacht --samplers MCLMC_long`` is a quarter of an
hour of MCLMC on the set whose noise is a hundredth of the targets' spread.
"""

from __future__ import annotations

import argparse
import itertools
import os
import sys
import tempfile
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import _leapfrogs
import numpy as np
import torch
from _common import SHARED, uci
from _contest import PEERS, Absent, append, judge, last_json, launch, need, peers_python, write_data
from _ours import CONTESTANTS

SHOWN = {
    "seconds": ".1f",
    "compile": ".1f",
    "warmup": ".1f",
    "cpu": ".1f",
    "gradients": ",.0f",
    "ess_min": ".0f",
    "ess_median": ".0f",
    "ess_min_per_s": ".2f",
    "ess_median_per_s": ".2f",
    "ess_min_per_1000_gradients": ".2f",
    "rhat_max": ".3f",
    "ll": ".3f",
    "rmse": ".3f",
}
COLUMNS = ["data", "split", "round", "contestant", *SHOWN, "tuning_gradients", "chains", "draws", "note"]
AGREE = 0.05  # on LL
CONVERGED = 1.05  # R-hat


def ours(name: str, data: Path, out: Path, seed: int, args: argparse.Namespace) -> None:
    launch(sys.executable, Path(__file__).parent / "_ours.py", name, data, out, "--seed", seed, "--device", args.device)


def peer(script: str, libraries: tuple[str, ...], data: Path, out: Path, seed: int, args: argparse.Namespace) -> None:
    python = peers_python(args.peers)
    need(python, *libraries)
    launch(python, PEERS / script, data, out, "--seed", seed, devices=args.chains, platform=args.device)


RUN = {name: partial(ours, name) for name in CONTESTANTS} | {
    "numpyro_nuts": partial(peer, "numpyro_nuts.py", ("numpyro",)),
    "blackjax_mclmc": partial(peer, "blackjax_mclmc.py", ("blackjax", "optax", "numpyro")),
}
EXTRAPOLATED = "pyro_nuts"
"""Goes after numpyro_nuts: its row is that one's draws at Pyro's speed."""


def extrapolate(numpyro: dict[str, Any] | None, data: Path, seed: int, args: argparse.Namespace) -> dict[str, Any]:
    """NumPyro's row as Pyro would have made it, from the leapfrogs a second that Pyro makes on all cores."""
    if numpyro is None:
        raise Absent("extrapolation needs numpyro_nuts in the same run")
    printed = launch(sys.executable, PEERS / "pyro_leapfrogs.py", data, "--seconds", args.pyro_seconds, "--seed", seed)
    rate = last_json(printed)
    seconds = numpyro["gradients"] / rate["per_second"]
    share = numpyro["tuning_gradients"] / numpyro["gradients"]
    note = f"extrapolated: {rate['leapfrogs']} leapfrogs in {rate['seconds']:.0f} s, {rate['processes']} processes"
    return numpyro | {
        "seconds": seconds,
        "compile": 0.0,
        "warmup": seconds * share,
        "cpu": seconds * rate["processes"],
        "ess_min_per_s": numpyro["ess_min"] / seconds,
        "ess_median_per_s": numpyro["ess_median"] / seconds,
        "note": note,
    }


def neal() -> SimpleNamespace:
    """FBM's ``rdata``: 100 rows to learn from, 1,000 to predict, in its own units."""
    rows = torch.tensor(np.loadtxt(Path(os.environ.get("BNN_ZOO_DATA", SHARED)) / "fbm" / "rdata"), dtype=torch.float32)
    x, y = rows[:, :1], rows[:, 1]
    return SimpleNamespace(x=x[:100], y=y[:100], x_test=x[100:], y_test=y[100:], y_mean=0.0, y_scale=1.0, neal=True)


def contest(name: str, args: argparse.Namespace) -> list[dict[str, Any]]:
    """All rounds on one data set; a row is printed and written when it is there."""
    table, rows = neal() if name == "neal" else uci(name, args.split), []
    print(f"\n{name}, split {args.split}: {len(table.x)} rows, {table.x.shape[1]} inputs, {len(table.x_test)} test rows")
    print(f"{'':20s}" + "".join(f"{column.replace('_gradients', ''):>17s}" for column in SHOWN))
    with tempfile.TemporaryDirectory() as folder:
        data, out = write_data(table, Path(folder) / "data.npz"), Path(folder) / "out.npz"
        for turn in range(args.rounds):
            made: dict[str, dict[str, Any]] = {}
            for sampler in sorted(args.samplers, key=lambda s: s == EXTRAPOLATED):
                seed = args.seed + turn
                try:
                    if sampler == EXTRAPOLATED:
                        row = extrapolate(made.get("numpyro_nuts"), data, seed, args)
                    else:
                        RUN[sampler](data, out, seed, args)
                        row = judge(out, table)
                except Absent as reason:
                    print(f"{sampler:20s}absent: {reason}")
                    continue
                made[sampler] = row | {"data": name, "split": args.split, "round": turn, "contestant": sampler}
                show(made[sampler])
                append(args.csv, COLUMNS, made[sampler])
            rows += made.values()
    return rows


def show(row: dict[str, Any]) -> None:
    cells = "".join(f"{format(row[column], style):>17s}" for column, style in SHOWN.items())
    print(f"{row['contestant']:20s}{cells}  {row['note']}", flush=True)


def conclude(rows: list[dict[str, Any]]) -> None:
    """Medians over rounds: agreement on LL, who has not converged, and our rates over the peers'."""
    names = list(dict.fromkeys(row["contestant"] for row in rows))
    median = lambda name, column: float(np.median([row[column] for row in rows if row["contestant"] == name]))
    lls = [row["ll"] for row in rows]
    verdict = "agree" if max(lls) - min(lls) <= AGREE else "DISAGREE"
    print(f"LL {min(lls):.3f} to {max(lls):.3f}: {verdict} within {AGREE}")
    for name in names:
        worst = max(row["rhat_max"] for row in rows if row["contestant"] == name)
        if not worst <= CONVERGED:
            print(f"{name}: R-hat up to {worst:.2f}, NOT CONVERGED: its ESS means little")
    for mine, other in itertools.product(names, names):
        if mine in CONTESTANTS and other not in CONTESTANTS:
            ratios = [median(mine, c) / median(other, c) for c in ("ess_min_per_s", "ess_median_per_s")]
            print(f"{mine} / {other}: {ratios[0]:.2f} in minimum ESS/s, {ratios[1]:.2f} in median ESS/s")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    everybody = [*RUN, EXTRAPOLATED]
    usual = [name for name in everybody if name != "MCLMC_long"]
    parser.add_argument("--data", nargs="+", default=["concrete"])
    parser.add_argument("--samplers", nargs="+", default=usual, choices=everybody, metavar="NAME", help=str(everybody))
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--split", type=int, default=0)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--peers", help="interpreter with the peers' libraries; default BNN_ZOO_PEERS, then this one")
    parser.add_argument("--pyro-seconds", type=float, default=60.0)
    parser.add_argument("--device", default="cpu", choices=("cpu", "cuda"))
    parser.add_argument("--csv", type=Path)
    parser.add_argument("--leapfrogs", action="store_true", help="chain-leapfrogs a second, by chain method")
    args = parser.parse_args()
    args.chains = 4
    print(f"torch {torch.__version__}, {args.device}, {torch.get_num_threads()} threads here, all cores for contestants")
    for name in args.data:
        if args.leapfrogs:
            _leapfrogs.table(name, args)
        else:
            conclude(contest(name, args))


if __name__ == "__main__":
    main()
