"""What a backend's settings describe, for the loop to drive."""

from __future__ import annotations

from typing import Any, NamedTuple, Protocol

from torch import Tensor


class Record(NamedTuple):
    """What there is to keep of a step: of a draw positions ``[chain, dim]`` and statistics ``[chain]``, and what goes into
    the history, ``[chain]`` each."""

    draw: tuple[Tensor, dict[str, Tensor]] | None = None
    trace: dict[str, Tensor] | None = None


class Program(Protocol):
    """Steps from a carry, a tree of tensors and numbers, to the next.

    ``phases`` are names and numbers of steps: those that are thrown away, as "warm-up", then those of the draws. ``step``
    number ``at``, counted from 0 over all phases, sees ``rows``; ``describe`` is what a progress bar says of where it is.
    ``traces`` is the most records of the history that there can be.
    """

    @property
    def phases(self) -> dict[str, int]: ...

    @property
    def traces(self) -> int: ...

    def init(self, target: Any, position: Tensor, random: Any) -> Any: ...

    def step(self, target: Any, rows: tuple[Tensor, ...], carry: Any, random: Any, at: int) -> tuple[Any, Record]: ...

    def describe(self, carry: Any) -> str: ...
