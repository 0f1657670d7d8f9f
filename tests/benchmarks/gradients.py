"""µs of one leapfrog step of one chain against the number of chains: our engine, NumPyro and JAX, tanh networks and LeNet-5.

``python tests/benchmarks/gradients.py --peers PYTHON --chains 1 4 16 64 256 --nets mlp8 mlp50 mlp200 lenet5``

A 1-8-1 tanh network on 100 rows, as Neal's regression has, d-50-1 and d-200-1 on UCI concrete, LeNet-5 on 512 random images
of MNIST's size; float32. Ours: HMC through ``fit``, 32 leapfrogs a transition, everything around them included, compilation
apart; traced, compiled, and compiled in a single process. NumPyro: its HMC of 32 leapfrogs a transition, everything around
them included, by its three chain methods (not LeNet-5). JAX: a compiled loop of leapfrogs on the gradient of NumPyro's
potential and nothing else, vectorised over chains on one device, and over as many devices as cores. Every figure comes from
a fresh process with all cores; rounds alternate; medians. All chains advance together, so a figure is wall time over
(chains × steps).
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
from pathlib import Path

import numpy as np
import torch
from _common import uci
from _contest import HERE, PEERS, Absent, last_json, launch, need, peers_python, write_data

NETS = {
    "mlp8": (["--net", "mlp", "--hidden", 8], 400_000),
    "mlp50": (["--net", "mlp", "--hidden", 50], 20_000),
    "mlp200": (["--net", "mlp", "--hidden", 200], 8_000),
    "lenet5": (["--net", "lenet5"], 40),
}
"""Options of the workers, and chain-leapfrogs that one figure of ours takes; traced a twentieth."""
OURS = {"compiled": [], "compiled, 1 process": ["--processes", 1], "traced": ["--traced"]}
CORES = os.cpu_count() or 1
NUMPYRO = {"sequential": 4, "vectorized": 10**6, "parallel": 16}
"""NumPyro's HMC, as ours with all around it, and up to how many chains: one after the other costs the same for any number,
and parallel needs a device for each."""
JAX = {"JAX, 1 device": 1, f"JAX, {CORES} devices": CORES}
STEPS = 32
IMAGES = 512


def data_of(net: str, folder: Path) -> Path:
    rng = np.random.default_rng(0)
    if net == "mlp8":
        x = rng.normal(size=(100, 1)).astype(np.float32)
        y = np.sin(2 * x[:, 0]) + 0.1 * rng.normal(size=100).astype(np.float32)
        np.savez(folder / "rows.npz", x=x, y=y.astype(np.float32), y_mean=0.0, y_scale=1.0, x_test=x, y_test=y)
        return folder / "rows.npz"
    if net != "lenet5":
        return write_data(uci("concrete"), folder / "data.npz")
    x, y = rng.normal(size=(IMAGES, 1, 28, 28)).astype(np.float32), rng.integers(0, 10, IMAGES)
    np.savez(folder / "images.npz", x=x, y=y)
    return folder / "images.npz"


def our_figure(net: str, data: Path, chains: int, options: list[object], device: str) -> float:
    chosen, budget = NETS[net]
    draws = max(2, budget // (STEPS * chains * (20 if "--traced" in options else 1)))
    script, more = HERE / "_our_leapfrogs.py", ["--chains", chains, "--draws", draws, "--device", device]
    return 1e6 / last_json(launch(sys.executable, script, data, *chosen, *more, *options))["per_second"]


def jax_figures(net: str, data: Path, args: argparse.Namespace, devices: int) -> dict[int, float]:
    python = peers_python(args.peers)
    need(python, "numpyro")
    chosen, budget = NETS[net]
    chains = [c for c in args.chains if c >= devices and c % devices == 0]
    options = [*chosen, "--chains", *chains, "--budget", max(4, budget // 10)]
    printed = launch(python, PEERS / "jax_gradients.py", data, *options, devices=devices, platform=args.device)
    lines = [json.loads(line) for line in printed.strip().splitlines()]
    return {line["chains"]: 1e6 * line["seconds"] for line in lines}


def numpyro_figure(net: str, data: Path, chains: int, method: str, args: argparse.Namespace) -> float:
    """Raises Absent for a method that is not for this net or so many chains."""
    if net == "lenet5" or chains > NUMPYRO[method]:
        raise Absent("not measured")
    python = peers_python(args.peers)
    need(python, "numpyro")
    draws = max(8, 2 * NETS[net][1] // (STEPS * chains))  # its compiler is taken off: long enough for what is left
    options = ["--chain-method", method, "--chains", chains, "--draws", draws, "--hidden", NETS[net][0][-1]]
    devices = chains if method == "parallel" else 1
    printed = launch(python, PEERS / "numpyro_leapfrogs.py", data, *options, devices=devices, platform=args.device)
    return 1e6 / last_json(printed)["per_second"]


def measure(net: str, args: argparse.Namespace) -> dict[str, dict[int, list[float]]]:
    """µs per chain-leapfrog, ``{contestant: {chains: [round]}}``."""
    made: dict[str, dict[int, list[float]]] = {name: {c: [] for c in args.chains} for name in [*args.ours, *NUMPYRO, *JAX]}
    with tempfile.TemporaryDirectory() as folder:
        data = data_of(net, Path(folder))
        for _ in range(args.rounds):
            for name in args.ours:
                for chains in args.chains:
                    made[name][chains].append(our_figure(net, data, chains, OURS[name], args.device))
            for method in NUMPYRO:
                for chains in args.chains:
                    try:
                        made[method][chains].append(numpyro_figure(net, data, chains, method, args))
                    except Absent as reason:
                        print(f"NumPyro, {method}, {chains} chains: absent: {reason}")
            for name, devices in JAX.items():
                try:
                    for chains, figure in jax_figures(net, data, args, devices).items():
                        made[name][chains].append(figure)
                except Absent as reason:
                    print(f"{name}: absent: {reason}")
    return made


def show(net: str, made: dict[str, dict[int, list[float]]], chains: list[int]) -> None:
    print(f"\n{net}: µs per chain-leapfrog{'chains':>12s}" + "".join(f"{c:>10d}" for c in chains))
    for key, figures in made.items():
        name = f"NumPyro, {key}" if key in NUMPYRO else key
        cells = "".join(f"{np.median(figures[c]) if figures[c] else np.nan:>10.1f}" for c in chains)
        print(f"{name:>{len(net) + 35}s}{cells}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--nets", nargs="+", default=list(NETS), choices=NETS)
    parser.add_argument("--chains", type=int, nargs="+", default=[1, 4, 16, 64, 256])
    parser.add_argument("--ours", nargs="+", default=list(OURS), choices=OURS, help="LeNet-5 is not compiled by default")
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--peers", help="interpreter with numpyro; default BNN_ZOO_PEERS, then this one")
    parser.add_argument("--device", default="cpu", choices=("cpu", "cuda"))
    args = parser.parse_args()
    print(f"torch {torch.__version__}, {args.device}, {CORES} cores")
    for net in args.nets:
        show(net, measure(net, args), args.chains)


if __name__ == "__main__":
    main()
