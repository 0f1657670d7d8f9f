"""What the diagnostics of a fit mean, in sentences."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

from ..diagnostics.agreement import rhat_limit

FINE, GOOD, FEW = 1.01, 1.05, 100
"""R-hat that is well, R-hat above which chains disagree; effective draws below which quantiles are rough."""
MANY = 100
"""Numbers of which the worst R-hat is taken, for what it reaches by chance."""
RARE = 2.576
"""Standard errors that chance exceeds once in a hundred times."""
NOTHING = "Nothing was found. That is no proof: a mode that no chain has seen shows in no diagnostic."


@dataclass(frozen=True)
class Findings:
    """What is known of one backend's draws; NaN, 0 or "" where it is not.

    rhat, ess: the worst over predictions and log likelihoods of the test rows. divergences: of ``draws`` times ``chains``
    transitions. inside, nominal, inside_se: a share of the test rows, what it would be if predictions were calibrated, and
    its standard error then; ``inside_what`` says of what. behind: log predictive density by which a test row is predicted
    worse than by ``best``, nats, paired over the rows, and its standard error ``behind_se``. exact: "yes", or how draws are
    off by construction. family: of the backend, such as "MCMC" or "variational". high_k, rows: so many training rows
    have an unreliable Pareto k, of so many. said: what ``fit`` warned of.
    """

    chains: int = 1
    draws: int = 1
    rhat: float = math.nan
    ess: float = math.nan
    divergences: int = 0
    inside: float = math.nan
    nominal: float = math.nan
    inside_se: float = math.nan
    inside_what: str = "of the test rows lie in their 90 % intervals"
    best: str = ""
    behind: float = math.nan
    behind_se: float = math.nan
    exact: str = "yes"
    family: str = "MCMC"
    high_k: int = 0
    rows: int = 0
    said: str = ""


def doubts(found: Findings) -> list[str]:
    """Sentences, the gravest kinds first; ``[NOTHING]`` where nothing is to be said."""
    sentences = [*_of_chains(found), *_of_the_method(found), *_of_predictions(found)]
    if found.said:
        sentences.append(f"The fit itself warned: {found.said}")
    return sentences or [NOTHING]


def _of_chains(f: Findings) -> Iterator[str]:
    variational, point = f.family == "variational", f.draws < 2
    what = "restarts" if variational else "chains"
    if f.chains < 2 and not point:
        yield f"One of the {what} alone: nothing shows whether another start would have ended elsewhere."
    by_chance = rhat_limit(f.chains, f.draws, MANY) if f.draws >= 4 and f.chains > 1 else math.inf
    if f.rhat > max(GOOD, by_chance):
        apart = "ended in different optima" if variational else "do not describe one law, or not yet"
        remedy = "take more steps" if variational else "run longer, and look at the traces"
        yield (
            f"R-hat of f is {f.rhat:.3g} at worst, where {FINE} is well: the {what} {apart}. Predictions are an average "
            f"over them with arbitrary weights; {remedy}."
        )
    elif f.rhat > GOOD:
        yield (
            f"R-hat of f is {f.rhat:.3g} at worst, which {f.draws} draws of a chain reach by chance: whether the {what} "
            "agree they cannot tell. Draw more."
        )
    elif f.rhat > FINE:
        yield (
            f"R-hat of f is {f.rhat:.3f} at worst, a little above {FINE}: means of predictions may be used, their tails "
            "less."
        )
    if f.ess < FEW and not point:
        error = 100 / math.sqrt(max(f.ess, 1.0))
        yield (
            f"Only {f.ess:.0f} effective draws at worst of {f.chains * f.draws:,}: a predictive mean is known to "
            f"{error:.0f} % of its posterior sd, intervals less well."
        )
    if f.divergences:
        yield (
            f"{f.divergences:,} of {f.chains * f.draws:,} transitions diverged: regions of strong curvature are visited too "
            "rarely. Ask for smaller steps (a higher target acceptance), or write the prior non-centred."
        )


def _of_the_method(f: Findings) -> Iterator[str]:
    if f.exact == "yes":
        return
    yield f"By construction these are not draws from the posterior up to Monte Carlo error: {f.exact}."
    if f.family == "variational":
        yield (
            "A variational approximation: R-hat and effective draws say that restarts agree and not that they are near the "
            "posterior. Its spread can be too small, or too large where it stays near the prior: compare a sampler's."
        )


def _of_predictions(f: Findings) -> Iterator[str]:
    z = (f.inside - f.nominal) / f.inside_se if f.inside_se > 0 else math.nan
    if abs(z) > RARE:
        word = "too sure: errors are larger than they say" if z < 0 else "too cautious: errors are smaller than they say"
        yield (
            f"{100 * f.inside:.0f} % {f.inside_what}, where {100 * f.nominal:.0f} ± {100 * f.inside_se:.1f} % would be "
            f"calibrated: predictions are {word}."
        )
    if f.best and f.behind_se >= 0:
        gap = f"{f.behind:.3f} ± {f.behind_se:.3f} nats a test row"
        if f.behind > 2 * f.behind_se:
            yield f"It predicts worse than {f.best}, by {gap} (log predictive density; standard error paired over rows)."
        else:
            yield f"Whether it predicts worse than {f.best} these test rows cannot tell: {gap}."
    if f.high_k:
        yield (
            f"{f.high_k:,} of {f.rows:,} training rows have a Pareto k that is too high: do not trust its leave-one-out "
            "estimate."
        )
