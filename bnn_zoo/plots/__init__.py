"""Draws and predictions as pictures: arrays in, matplotlib Axes out. Nothing here runs inference.

Weights of a network are not identified, so traces and ranks are drawn of its predictions at a few rows. Every function
draws on ``ax`` if given one, otherwise on a Figure of its own that pyplot does not know: nothing leaks, nothing pops up;
show it in a notebook with ``ax.figure`` and keep it with ``ax.figure.savefig``. Arrays may be tensors. Colours are those
of Okabe and Ito (2008), safe for the colour-blind. Matplotlib and ArviZ take seconds to import, so functions import them.
"""

from ._style import BLUE, GREEN, MANY, ORANGE, PALETTE, PURPLE, RED, SKY, YELLOW, panels
from .arviz_plots import OLD_PLOTS, SAME, Old, arviz_major, arviz_plot, compare
from .chains import BAND, SIMULATIONS, function_rank, function_trace
from .classification import plot_confidence, plot_risk_coverage, reliability
from .functions import functions
from .regression import LEVELS, coverage, intervals

__all__ = [
    "BAND",
    "BLUE",
    "GREEN",
    "LEVELS",
    "MANY",
    "OLD_PLOTS",
    "ORANGE",
    "PALETTE",
    "PURPLE",
    "RED",
    "SAME",
    "SIMULATIONS",
    "SKY",
    "YELLOW",
    "Old",
    "arviz_major",
    "arviz_plot",
    "compare",
    "coverage",
    "function_rank",
    "function_trace",
    "functions",
    "intervals",
    "panels",
    "plot_confidence",
    "plot_risk_coverage",
    "reliability",
]
