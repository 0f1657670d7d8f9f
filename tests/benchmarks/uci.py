"""Test log likelihood and RMSE on six UCI regression sets over their standard splits, with one configuration for all.

``python tests/benchmarks/uci.py`` runs what ``docs/results/uci.csv`` lacks: 20 splits of four sets, 5 of the two large ones.
It may be stopped at any moment and started again: a finished (data, split) is a row of that file and is not run again;
Ctrl-C loses the runs under way only. ``--summary`` prints means and standard errors beside two published rows.

The log likelihood of a test row is that of the mixture over draws, in nats and the data's own units. Inputs and targets are
standardised by the training rows alone. One run is one process with one thread; ``--jobs`` of them run at a time.
"""

from __future__ import annotations

import argparse
import csv
import fcntl
import io
import json
import math
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import fields
from pathlib import Path

import numpy as np
import torch
from _common import uci

import bnn_zoo as bz
from bnn_zoo.types import Backend

ROOT = Path(__file__).resolve().parents[2]
SPLITS = {"boston": 20, "concrete": 20, "energy": 20, "yacht": 20, "power-plant": 5, "kin8nm": 5}
COLUMNS = ("data", "split", "rows", "LL", "RMSE", "max_rhat", "min_ess", "gradients", "seconds", "settings", "version")


def configuration(d: int) -> tuple[bz.BNN, Backend]:
    """The model for d inputs and the backend: the same for every data set, tuned on none."""
    model = bz.BNN(
        bz.nets.MLP(d, 1, hidden=(50,)), bz.priors.Normal(1.0), bz.likelihoods.Gaussian(bz.priors.HalfNormal(1.0))
    )
    return model, bz.MCLMC(chains=4, warmup=4000, draws=250, thinning=16, init=bz.density.Adam(), compile=True)


PUBLISHED = ROOT / "docs" / "results" / "uci_published.csv"
"""Mean test LL and RMSE of the rows to reach."""


# ---------------------------------------------------------------------------------------------------- one run


def settings(d: int) -> str:
    """The configuration for d inputs in one line; rows of another configuration are never mixed with its own."""
    model, backend = configuration(d)
    chosen = {f.name: getattr(backend, f.name) for f in fields(backend)}  # type: ignore[arg-type]
    shown = json.dumps(chosen, default=lambda value: getattr(value, "__name__", repr(value)))
    net = " ".join(str(model.net).split())
    return f"{net}; {model.prior}; {model.likelihood}; {type(backend).__name__} {shown}"


def run(data: str, split: int) -> dict[str, object]:
    """Fit and score one split: a row of the table."""
    torch.set_num_threads(1)
    table = uci(data, split)
    model, backend = configuration(table.x.shape[1])
    begin = time.perf_counter()
    posterior = bz.fit(model, (table.x, table.y), backend, seed=split, progress=False)
    seconds = time.perf_counter() - begin
    prediction = posterior.predict(table.x_test)
    health = bz.diagnostics.summarise(prediction.f)
    return {
        "data": data,
        "split": split,
        "rows": len(table.x),
        "LL": round(float(prediction.log_prob(table.y_test).mean()) - math.log(table.y_scale), 5),
        "RMSE": round(bz.metrics.rmse(prediction.mean, table.y_test) * table.y_scale, 5),
        "max_rhat": round(health["max_rhat"], 4),
        "min_ess": round(health["min_ess_bulk"], 1),
        "gradients": posterior.draws.attrs["gradients"],
        "seconds": round(seconds, 1),
        "settings": settings(table.x.shape[1]),
        "version": bz.__version__,
    }


# ---------------------------------------------------------------------------------------------------- the runner


def read(path: Path) -> list[dict[str, str]]:
    """The rows of the file; none where it is not there."""
    if not path.exists():
        return []
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def done(path: Path) -> set[tuple[str, int]]:
    return {(row["data"], int(row["split"])) for row in read(path)}


def add(path: Path, row: dict[str, object]) -> None:
    """Add one row: the file is replaced as a whole, so that a reader or a power cut sees the old one or the new one.

    Several runners may share the file; a (data, split) that another has added meanwhile is left as it is.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        fcntl.flock(folder, fcntl.LOCK_EX)
        if (row["data"], row["split"]) in done(path):
            return
        rows = sorted([*read(path), row], key=lambda r: (list(SPLITS).index(str(r["data"])), int(str(r["split"]))))
        text = io.StringIO()
        writer = csv.DictWriter(text, COLUMNS, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
        with tempfile.NamedTemporaryFile("w", dir=path.parent, prefix=path.name, delete=False) as file:
            file.write(text.getvalue())
            file.flush()
            os.fsync(file.fileno())
        os.chmod(file.name, 0o644)
        os.replace(file.name, path)
    finally:
        os.close(folder)


class Runner:
    """Runs tasks in child processes, each with its own process group, so that Ctrl-C reaches this process alone."""

    def __init__(self, out: Path) -> None:
        self.out, self.lock, self.stopped = out, threading.Lock(), False
        self.children: set[subprocess.Popen[str]] = set()
        self.failed: list[tuple[str, int]] = []

    def one(self, data: str, split: int) -> None:
        command = [sys.executable, str(Path(__file__).resolve()), "--run", data, str(split)]
        env = os.environ | {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
        pipe = subprocess.PIPE
        with self.lock:
            if self.stopped or (data, split) in done(self.out):  # another runner may have been faster
                return
            child = subprocess.Popen(command, stdout=pipe, stderr=pipe, text=True, env=env, start_new_session=True)
            self.children.add(child)
        stdout, stderr = child.communicate()
        with self.lock:
            self.children.discard(child)
            if self.stopped:
                return
            if child.returncode:
                self.failed.append((data, split))
                print(f"{data} split {split} failed:\n{stderr[-2000:]}", flush=True)
                return
            row = json.loads(stdout.splitlines()[-1])
            add(self.out, row)
        shown = ", ".join(f"{name} {row[name]}" for name in ("LL", "RMSE", "max_rhat", "min_ess", "seconds"))
        print(f"{data} split {split}: {shown}", flush=True)

    def stop(self) -> None:
        with self.lock:
            self.stopped = True
            for child in self.children:
                if child.poll() is None:
                    os.killpg(child.pid, signal.SIGKILL)

    def all(self, tasks: list[tuple[str, int]], jobs: int) -> None:
        pool = ThreadPoolExecutor(jobs)
        try:
            for future in [pool.submit(self.one, *task) for task in tasks]:
                future.result()
        finally:
            self.stop()
            pool.shutdown(cancel_futures=True)


def missing(out: Path, data: list[str], splits: int | None) -> list[tuple[str, int]]:
    """What is still to be run. Exits where the file has rows of another configuration."""
    rows = read(out)
    tasks = []
    for name in data:
        now = settings(uci(name).x.shape[1])
        if any(row["data"] == name and row["settings"] != now for row in rows):
            raise SystemExit(
                f"{out} has rows of {name} under other settings than\n  {now}\nwrite to another file with --out"
            )
        count = min(splits or SPLITS[name], SPLITS[name])
        tasks += [(name, i) for i in range(count) if (name, i) not in done(out)]
    return tasks


# ---------------------------------------------------------------------------------------------------- the summary


def summary(path: Path) -> int:
    """Print means ± standard errors over splits beside the published ones; returns on how many sets both are reached."""
    rows, reached = read(path), 0
    published = {(row["method"], row["data"]): row for row in read(PUBLISHED)}
    both = tuple(dict.fromkeys(method for method, _ in published))
    print(f"test LL{'':18s}{'ours':>19s}" + "".join(f"{name:>23s}" for name in both) + "  reached   splits")
    for data, planned in SPLITS.items():
        mine = [row for row in rows if row["data"] == data]
        if not mine:
            print(f"{data:25s}{'not run':>19s}")
            continue
        mean, error = _mean(mine, "LL")
        good = all(mean >= float(published[name, data]["LL"]) for name in both)
        reached += good and len(mine) == planned
        theirs = "".join(f"{published[name, data]['LL']:>23s}" for name in both)
        print(f"{data:25s}{mean:10.3f} ± {error:.3f} {theirs}  {'yes' if good else 'no':8s}{len(mine):3d} of {planned}")
        mean, error = _mean(mine, "RMSE")
        theirs = "".join(f"{published[name, data]['RMSE']:>23s}" for name in both)
        rhat, ess = (np.median([float(row[k]) for row in mine]) for k in ("max_rhat", "min_ess"))
        seconds = sum(float(row["seconds"]) for row in mine) / len(mine)
        cost = f"median max R-hat {rhat:.2f}, min ESS {ess:.0f}; {seconds:.0f} s a split"
        print(f"{'  RMSE':25s}{mean:10.3f} ± {error:.3f} {theirs}  {cost}")
    print(f"at least as good as both on {reached} of {len(SPLITS)} sets with all splits run; target 5: ", end="")
    print("met" if reached >= 5 else "MISSED")
    return reached


def _mean(rows: list[dict[str, str]], column: str) -> tuple[float, float]:
    """Mean and its standard error (NaN for one row)."""
    values = np.array([float(row[column]) for row in rows])
    return float(values.mean()), float(values.std(ddof=1) / math.sqrt(len(values))) if len(values) > 1 else math.nan


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", nargs="+", choices=SPLITS, default=list(SPLITS))
    parser.add_argument("--splits", type=int, help="only the first so many splits of each set")
    parser.add_argument("--jobs", type=int, default=2, help="runs at a time, one thread each")
    parser.add_argument("--out", type=Path, default=ROOT / "docs" / "results" / "uci.csv")
    parser.add_argument("--summary", action="store_true", help="run nothing, print the table of what is there")
    parser.add_argument("--run", nargs=2, metavar=("DATA", "SPLIT"), help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.run:
        print(json.dumps(run(args.run[0], int(args.run[1]))))
        return
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    if not args.summary:
        try:
            tasks, runner = missing(args.out, args.data, args.splits), Runner(args.out)
        except bz.DataError as error:
            raise SystemExit(f"{error}: set BNN_ZOO_DATA to the folder that holds uci/*.npz") from None
        print(f"{len(tasks)} runs to do, {args.jobs} at a time; Ctrl-C stops, the same command goes on", flush=True)
        try:
            runner.all(tasks, args.jobs)
        except KeyboardInterrupt:
            raise SystemExit(f"stopped: {len(read(args.out))} rows are in {args.out}") from None
        if runner.failed:
            raise SystemExit(f"{len(runner.failed)} runs failed: {runner.failed}")
    summary(args.out)


if __name__ == "__main__":
    main()
