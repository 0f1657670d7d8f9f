"""``ess.py --leapfrogs``: chain-leapfrogs a second of our HMC and NUTS, NumPyro's three chain methods, and Pyro."""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from _common import uci
from _contest import HERE, PEERS, Absent, last_json, launch, need, peers_python, write_data

CHAINS = 4
METHODS = ("sequential", "vectorized", "parallel")


def measured(name: str, kernel: str, data: Path, args: argparse.Namespace) -> dict[str, Any]:
    """One contestant, one round: JSON with ``per_second``."""
    if name == "ours":
        script = HERE / "_our_leapfrogs.py"
        return last_json(launch(sys.executable, script, data, "--kernel", kernel, "--device", args.device))
    if name == "pyro":
        script = PEERS / "pyro_leapfrogs.py"
        return last_json(launch(sys.executable, script, data, "--kernel", kernel, "--seconds", args.pyro_seconds))
    python, method = peers_python(args.peers), name.removeprefix("numpyro ")
    need(python, "numpyro")
    options = ("--kernel", kernel, "--chain-method", method, "--chains", CHAINS)
    devices = CHAINS if method == "parallel" else 1
    return last_json(launch(python, PEERS / "numpyro_leapfrogs.py", data, *options, devices=devices, platform=args.device))


def table(name: str, args: argparse.Namespace) -> None:
    """Print medians over rounds, contestants alternating, and the ratios that count."""
    print(f"\n{name}: chain-leapfrogs a second, {CHAINS} chains, all cores, compilation apart; median (least to most)")
    contestants = ("ours", *(f"numpyro {method}" for method in METHODS), "pyro")
    with tempfile.TemporaryDirectory() as folder:
        data = write_data(uci(name, args.split), Path(folder) / "data.npz")
        for kernel in ("hmc", "nuts"):
            rates: dict[str, list[float]] = {c: [] for c in contestants}
            for _ in range(args.rounds):
                for contestant in contestants:
                    try:
                        rates[contestant].append(measured(contestant, kernel, data, args)["per_second"])
                        print(f"    {kernel} {contestant}: {rates[contestant][-1]:.0f}", flush=True)
                    except Absent as reason:
                        print(f"{contestant}: absent: {reason}")
            report(kernel, {c: r for c, r in rates.items() if r})


def report(kernel: str, rates: dict[str, list[float]]) -> None:
    medians = {c: float(np.median(r)) for c, r in rates.items()}
    for contestant, values in rates.items():
        print(f"  {kernel:5s}{contestant:22s}{medians[contestant]:10.0f}  ({min(values):.0f} to {max(values):.0f})")
    numpyro = [m for c, m in medians.items() if c.startswith("numpyro")]
    if numpyro:
        print(f"  {kernel:5s}ours / best of NumPyro: {medians['ours'] / max(numpyro):.2f}")
    print(f"  {kernel:5s}ours / Pyro: {medians['ours'] / medians['pyro']:.1f}", flush=True)
