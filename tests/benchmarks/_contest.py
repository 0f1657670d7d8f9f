"""What ess.py, gradients.py and classical.py share: contestants in fresh processes, and one judgement of their draws."""

from __future__ import annotations

import csv
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from bnn_zoo.diagnostics import ess_bulk, rhat

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
PEERS = HERE / "peers"
LIMITS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "JAX_ENABLE_X64")


class Absent(Exception):
    """A contestant whose library is not there."""


def launch(
    python: str, script: Path, *args: Any, devices: int = 1, platform: str = "cpu", caches: Path | None = None
) -> str:
    """Run a script in a fresh process with all cores and cold compiler caches; return what it printed.

    ``devices``: into how many devices JAX divides the CPU. ``caches``: a folder for the compiler caches, kept: a second run
    with it finds what the first compiled, JAX's too. Raises RuntimeError with the end of its errors where it fails.
    """
    with tempfile.TemporaryDirectory() as empty:
        folder = caches or empty
        environment = {k: v for k, v in os.environ.items() if k not in LIMITS} | {
            "PYTHONPATH": os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH", "")])),
            "TORCHINDUCTOR_CACHE_DIR": f"{folder}/inductor",
            "TRITON_CACHE_DIR": f"{folder}/triton",
            "XDG_CACHE_HOME": str(folder),
            "JAX_ENABLE_COMPILATION_CACHE": "true" if caches else "false",
            "JAX_COMPILATION_CACHE_DIR": f"{folder}/jax",
            "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
            "JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES": "-1",
            "JAX_PLATFORMS": platform,
            "XLA_FLAGS": f"{os.environ.get('XLA_FLAGS', '')} --xla_force_host_platform_device_count={devices}",
        }
        command = [python, str(script), *map(str, args)]
        done = subprocess.run(command, env=environment, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"{' '.join(command[1:])} ended with exit code {done.returncode}:\n{done.stderr[-2000:]}")
    return done.stdout


def peers_python(given: str | None) -> str:
    """The peers' interpreter: what was given, else BNN_ZOO_PEERS, else this one."""
    return given or os.environ.get("BNN_ZOO_PEERS") or sys.executable


def need(python: str, *libraries: str) -> None:
    """Raise Absent unless ``python`` imports them all."""
    for library in libraries:
        if subprocess.run([python, "-c", f"import {library}"], capture_output=True).returncode:
            raise Absent(f"{library} is not installed in {Path(python).name}: pip install 'bnn-zoo[bench]', or give --peers")


def last_json(printed: str) -> dict[str, Any]:
    """The JSON object on the last line of a script's output."""
    return json.loads(printed.strip().splitlines()[-1])


def write_data(table: Any, path: Path) -> Path:
    """A ``uci`` table as the file that contestants read: all get bit-identical float32 arrays."""
    names = ("x", "y", "x_test", "y_test", "y_mean", "y_scale")
    more = {"neal": np.array(1)} if hasattr(table, "neal") else {}
    np.savez(path, **{name: np.asarray(getattr(table, name)) for name in names}, **more)
    return path


def append(path: Path | None, columns: list[str], row: dict[str, Any]) -> None:
    """Add a row to a CSV file, with a header where the file is new; nothing without a path."""
    if path is None:
        return
    new = not path.exists()
    with path.open("a", newline="") as file:
        writer = csv.DictWriter(file, columns)
        if new:
            writer.writeheader()
        writer.writerow(row)


def log_likelihood(f: np.ndarray, noise: np.ndarray, table: Any) -> float:
    """Mean over test rows of the log mixture density in y's own units: log mean_draws N(y | f s + m, (noise s)²)."""
    f, noise = f.reshape(-1, f.shape[-1]).astype(float), noise.reshape(-1, 1).astype(float)
    z = (table.y_test.numpy().astype(float) - f) / noise
    each = -0.5 * z**2 - np.log(noise * table.y_scale) - 0.5 * np.log(2 * np.pi)
    return float((np.logaddexp.reduce(each, 0) - np.log(len(each))).mean())


def judge(path: Path, table: Any) -> dict[str, Any]:
    """The file of a contestant as one row of the table; ESS and R-hat are bnn_zoo's, of f ``[chain, draw, test row]``."""
    with np.load(path) as file:
        made = {name: file[name] for name in file.files}
    f, noise = made.pop("f"), made.pop("noise")
    row: dict[str, Any] = {name: value.item() for name, value in made.items()}
    ess = ess_bulk(f).numpy()
    error = f.astype(float).mean((0, 1)) - table.y_test.numpy()
    return {
        **row,
        "chains": f.shape[0],
        "draws": f.shape[1],
        "ess_min": float(ess.min()),
        "ess_median": float(np.median(ess)),
        "ess_min_per_s": float(ess.min() / row["seconds"]),
        "ess_median_per_s": float(np.median(ess) / row["seconds"]),
        "ess_min_per_1000_gradients": float(1e3 * ess.min() / row["gradients"]),
        "rhat_max": float(rhat(f).max()),
        "ll": log_likelihood(f, noise, table),
        "rmse": float(np.sqrt((error**2).mean()) * table.y_scale),
    }
