"""The plots of "How to choose a sampler" from the tables in docs/results: ``python tests/benchmarks/figures.py``.

ess.csv is what ``ess.py --csv`` wrote; sbc.png and bias.png come from sbc.py and bias.py themselves.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import matplotlib
import pandas as pd

matplotlib.use("Agg")
import matplotlib.pyplot as plt

MEASURES = {
    "ess_min_per_s": "minimum ESS per second,\ncompilation and warm-up included",
    "ess_min_per_1000_gradients": "minimum ESS per 1,000 gradients,\nwarm-up included",
}
NAMES = {
    "MCLMC": "MCLMC",
    "blackjax_mclmc": "BlackJAX MCLMC",
    "NUTS": "NUTS",
    "numpyro_nuts": "NumPyro NUTS",
    "pyro_nuts": "Pyro NUTS (extrapolated)",
}


def efficiency(table: pd.DataFrame, path: Path) -> None:
    """Bars for each data set and contestant: medians over rounds."""
    data = list(dict.fromkeys(table["data"]))
    fig, axes = plt.subplots(len(data), len(MEASURES), figsize=(10, 2.1 * len(data)), squeeze=False)
    for row, name in zip(axes, data, strict=True):
        mine = table[table["data"] == name].groupby("contestant")[list(MEASURES)].median()
        mine = mine.loc[[c for c in reversed(NAMES) if c in mine.index]]
        for ax, (measure, label) in zip(row, MEASURES.items(), strict=True):
            colours = ["C0" if c in ("MCLMC", "NUTS") else "0.65" for c in mine.index]
            bars = ax.barh([NAMES[c] for c in mine.index], mine[measure], color=colours)
            ax.bar_label(bars, fmt="%.3g", padding=3, fontsize=8)
            ax.set_xlim(0, 1.18 * mine[measure].max())
            ax.set_title(name, fontsize=10)
            if name == data[-1]:
                ax.set_xlabel(label)
    fig.tight_layout()
    fig.savefig(path, dpi=100)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--results", type=Path, default=Path(__file__).resolve().parents[2] / "docs" / "results")
    args = parser.parse_args()
    efficiency(pd.read_csv(args.results / "ess.csv"), args.results / "ess.png")


if __name__ == "__main__":
    main()
