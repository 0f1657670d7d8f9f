"""Draws and predictions as pictures: a Posterior, InferenceData, DataTree or arrays in, matplotlib Axes out.

Nothing here runs inference. Weights of a network are not identified, so traces, ranks and R-hat are drawn of what it
computes. Every function draws on ``ax`` if given one, otherwise on a Figure of its own that pyplot does not know: nothing
leaks, nothing pops up; show it in a notebook with ``ax.figure`` and keep it with ``ax.figure.savefig``. Arrays may be
tensors. What ArviZ draws, ``arviz_plot`` hands to it. Colours are those of Okabe and Ito (2008), safe for the
colour-blind. Matplotlib and ArviZ take seconds to import, so functions import them.
"""

from ._style import BLUE, GREEN, MANY, ORANGE, PALETTE, PURPLE, RED, SKY, YELLOW, panels
from .arviz_plots import OLD_PLOTS, SAME, Old, arviz_major, arviz_plot, compare
from .backends import efficiency, pairwise, plot_agreement
from .chains import BAND, SIMULATIONS, function_convergence, function_rank, function_trace
from .classification import plot_confidence, plot_risk_coverage, reliability
from .functions import functions
from .regression import LEVELS, coverage, intervals, pit
from .weights import filter_norms, prior_posterior, weight_histogram

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
    "efficiency",
    "filter_norms",
    "function_convergence",
    "function_rank",
    "function_trace",
    "functions",
    "intervals",
    "pairwise",
    "panels",
    "pit",
    "plot_agreement",
    "plot_confidence",
    "plot_risk_coverage",
    "prior_posterior",
    "reliability",
    "weight_histogram",
]
