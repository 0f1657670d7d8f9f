"""Class probabilities: are they calibrated, do they know their errors, do they know what they have not seen?"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from ..metrics import aurc, auroc, confidence, ece, predictive_entropy, reliability_curve, risk_coverage
from ._draws import by_model, probabilities
from ._style import PALETTE, axes_or_new, axes_pair, legend, unit_square

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def reliability(probs: Any, y: Any = None, *, bins: int = 15, ax: Axes | None = None) -> Axes:
    """Reliability diagram of a classifier: accuracy against confidence, in ``bins`` of confidence.

    probs ``[..., n, classes]``, an InferenceData or DataTree with predictions, or ``{model: probs}``: class probabilities;
    leading axes are draws and are averaged. y ``[n]``: class indices; a container brings its own. Marker
    areas show how many rows a bin has; the legend gives the expected calibration error (Guo et al. 2017, arXiv:1706.04599).
    Raises ValueError if n differs or rows do not sum to one.
    """
    ax = unit_square(axes_or_new(ax))
    for i, (name, of_model) in enumerate(by_model(probs).items()):
        p, labels, _ = probabilities(of_model, y)
        sure, accuracy, count = reliability_curve(p, labels, bins)
        colour = PALETTE[i % len(PALETTE)]
        seen = count > 0
        ax.plot(sure[seen], accuracy[seen], color=colour, label=f"{name}, ECE {ece(p, labels, bins):.3f}")
        ax.scatter(sure[seen], accuracy[seen], s=8 + 150 * count[seen] / count.sum(), color=colour, zorder=3)
    ax.set(xlabel="confidence (mean probability of the predicted class)", ylabel="accuracy")
    return legend(ax)


def plot_confidence(probs_in: Any, probs_out: Any, *, bins: int = 30, ax: Any = None) -> np.ndarray:
    """Histograms of confidence (from 1/C to 1) and of entropy (0 to log C), rows within and outside the distribution.

    probs_in, probs_out: ``[..., n, classes]``, ``[n]`` of class 1, or ``{set: probs}``; leading axes are draws of the
    weights and are averaged as probabilities, row by row. The legends give each set's mean and, for those outside, the
    AUROC of the score against all rows within. ax: two Axes. Returns the Axes ``[2]``. Raises ValueError for rows that
    do not sum to one and for other classes.
    """
    within, outside = _named(probs_in, "in distribution"), _named(probs_out, "out of distribution")
    classes = {p.shape[-1] if p.ndim > 1 else 2 for p in (*within.values(), *outside.values())}
    if len(classes) > 1:
        raise ValueError(f"expected the same classes in every set, got {sorted(classes)}; plot them apart")
    c = classes.pop()
    axes = axes_pair(ax)
    _overlay(axes[0], confidence, -1, within, outside, np.linspace(1 / c, 1, bins + 1))
    _overlay(axes[1], predictive_entropy, 1, within, outside, np.linspace(0, np.log(c), bins + 1))
    ticks = np.linspace(1 / c, 1, 4)  # the least that confidence can be is one of them
    axes[0].set_xticks(ticks, [f"{tick:.2g}" for tick in ticks])
    axes[0].set_xlabel("confidence (probability of the predicted class)")
    axes[1].set_xlabel("predictive entropy [nats]")
    return axes


def plot_risk_coverage(probs: Any, y: Any = None, *, ax: Axes | None = None) -> Axes:
    """Error rate among the most confident rows against their share: what refusing to answer when unsure would buy.

    probs ``[..., n, classes]``, ``[n]`` of class 1, an InferenceData or DataTree with predictions, or ``{model: probs}``;
    leading axes are draws and are averaged. y ``[n]``: class indices; a container brings its own. The
    legend gives the area under each curve (metrics.aurc); the right end is the error rate over all rows. Raises ValueError
    if n differs or rows do not sum to one.
    """
    ax = axes_or_new(ax)
    for i, (name, of_model) in enumerate(by_model(probs).items()):
        p, labels, _ = probabilities(of_model, y)
        share, risk = risk_coverage(p, labels)
        ax.plot(share, risk, color=PALETTE[i % len(PALETTE)], lw=1.5, label=f"{name}, AURC {aurc(p, labels):.2g}")
    ax.set(xlabel="coverage (share of rows, most confident first)", ylabel="risk (error rate among them)", xlim=(0, 1))
    ax.set_ylim(bottom=0)
    return legend(ax)


def _named(probs: Any, name: str) -> dict[str, np.ndarray]:
    """Mean probabilities over draws ``[n, classes]`` (or ``[n]``) by name."""
    return {label: probabilities(p).values for label, p in by_model(probs, name).items()}


def _overlay(ax: Axes, score: Any, sign: int, within: Any, outside: Any, edges: np.ndarray) -> None:
    """Histograms of the score of all sets; sign: 1 if a high score means out of distribution, else -1."""
    known = np.concatenate([score(p) for p in within.values()])
    sets = [(name, score(p), False) for name, p in within.items()] + [(name, score(p), True) for name, p in outside.items()]
    for i, (name, values, new) in enumerate(sets):
        label = f"{name}, mean {values.mean():.3f}" + (f", AUROC {auroc(sign * known, sign * values):.3f}" if new else "")
        height = np.histogram(values.clip(edges[0], edges[-1]), edges)[0] / len(values)
        colour = PALETTE[i % len(PALETTE)]
        ax.stairs(height, edges, fill=True, color=colour, alpha=0.35)
        ax.stairs(height, edges, color=colour, lw=1.5, label=label)
    margin = 0.01 * (edges[-1] - edges[0])
    ax.set(ylabel="share of rows", xlim=(edges[0] - margin, edges[-1] + margin), ylim=(0, None))
    ax.legend(frameon=False, fontsize="small", loc="lower left", bbox_to_anchor=(0, 1), borderaxespad=0)
