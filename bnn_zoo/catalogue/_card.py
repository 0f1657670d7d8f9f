"""What is known of a published model besides its facts in the table: the record from which its card is written."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Figure:
    """A number of the paper beside the one measured here; empty for what was not reported, or not measured."""

    what: str
    published: str
    ours: str = ""


@dataclass(frozen=True)
class Card:
    """Stands in the file of the model, as ``CARDS[name]``; ``python .ci/lists.py`` writes ``docs/zoo/<name>.md`` from it.

    formula
        the model, a law a line.
    fit
        a short run of one backend, as code: the card's example is this on a few rows, and a test runs it.
    paper
        how the paper fits the model, and how to ask for that here.
    facts
        pairs of a fact and where it stands: a section of the paper, or a file of the authors' program.
    figures, command, why
        numbers beside those of the paper, what measures them again, and why they differ. Without ours, the card says that
        nothing was run at size.
    cost
        what a run costs, if it was measured: the bytes of a draw come from the table.
    traps
        what a reader of the paper would get wrong.
    unchecked
        what could not be compared with the paper or its program.
    around
        what the example puts around the model, as code with ``{}`` in its place: an effect that the fit needs.
    citation
        authors, title, where, year.
    """

    formula: str
    fit: str
    paper: str
    citation: str
    facts: tuple[tuple[str, str], ...]
    figures: tuple[Figure, ...] = ()
    command: str = ""
    why: str = ""
    cost: str = ""
    traps: tuple[str, ...] = ()
    unchecked: str = ""
    around: str = ""
