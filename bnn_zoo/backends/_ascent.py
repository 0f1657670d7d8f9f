"""The program of the variational backends: steps up the ELBO from one start, then draws from q."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import torch
from pyro import poutine
from torch import Tensor

from .._tree import node
from ..density import Elbo
from ..kernels import Optimise
from ..kernels.optimise import OptimiserState
from ..run import Record

LATELY = 100
"""Steps over which the ELBO that a progress bar shows is averaged, about."""


@node
class AscentState(NamedTuple):
    """The optimiser's state, its position ``[1, parameters of q]``, and about what the ELBO was lately."""

    optimiser: OptimiserState
    elbo: float


@dataclass
class Ascent:
    """``steps`` steps of ``kernel`` up the ELBO of the target, an ``Elbo``, at rates of a schedule; then ``draws`` draws.

    A draw is ``({site: values}, {"log_q": its log density in the sites' own space})``. Random numbers are those of torch's
    global state. ``name`` is what messages call it.
    """

    name: str
    kernel: Optimise
    steps: int
    draws: int
    rate: Callable[[int], float]
    sites: list[str]
    at: tuple[Tensor, AbstractContextManager[Any]] | None = field(default=None, repr=False)
    """Parameters of q ``[1, parameters]``, and the handler under which it has them: both for all draws."""

    @property
    def phases(self) -> dict[str, int]:
        return {"steps": self.steps, "draws": self.draws}

    @property
    def traces(self) -> int:
        return self.steps

    def init(self, target: Elbo, position: Tensor, random: Any) -> AscentState:
        return AscentState(self.kernel.init(position, target, random), 0.0)  # type: ignore[arg-type]

    def step(
        self, target: Elbo, rows: tuple[Tensor, ...], carry: AscentState, random: Any, at: int
    ) -> tuple[AscentState, Record]:
        if at >= self.steps:
            return carry, Record(draw=self._draw(target, carry.optimiser.position))  # type: ignore[arg-type]
        with torch.no_grad():
            elbo, entropy, gradient = target(carry.optimiser.position[0], *(t[0] for t in rows))
        optimiser = self.kernel.climbed(carry.optimiser, gradient.unsqueeze(0), self.rate(at))
        lately = carry.elbo + (float(elbo) - carry.elbo) / min(at + 1, LATELY)
        return AscentState(optimiser, lately), Record(trace={"elbo": elbo.unsqueeze(0), "entropy": entropy.unsqueeze(0)})

    def _draw(self, elbo: Elbo, position: Tensor) -> tuple[Mapping[str, Tensor], dict[str, Tensor]]:
        if self.at is None or self.at[0] is not position:
            flat = position[0]
            if not bool(torch.isfinite(flat).all()):
                raise FloatingPointError(
                    f"{self.name} diverged: parameters of q are not finite; use a smaller learning_rate"
                )
            self.at = position, elbo.parameters(flat)
        with torch.no_grad(), self.at[1]:
            trace = poutine.trace(elbo.guide).get_trace(*elbo.args, **elbo.kwargs)
            log_q = trace.log_prob_sum().detach()
        return {name: trace.nodes[name]["value"].detach() for name in self.sites}, {"log_q": log_q}

    def describe(self, carry: AscentState) -> str:
        return f"ELBO {carry.elbo:.5g}"


@dataclass
class SiteSink:
    """Draws of sites, ``block`` at a time, to ``put(number of the first, {name: [draw, *shape]})``, and their log q."""

    put: Callable[[int, Mapping[str, Tensor]], None]
    block: int
    log_q: Tensor
    count: int = 0
    waiting: list[Mapping[str, Tensor]] = field(default_factory=list)

    def add(self, values: Mapping[str, Tensor], stats: Mapping[str, Tensor]) -> None:
        if len(self.waiting) == self.block:
            self.write()
        self.log_q[self.count] = stats["log_q"]
        self.waiting.append(values)
        self.count += 1

    def write(self) -> None:
        if self.waiting:
            stacked = {name: torch.stack([values[name] for values in self.waiting]) for name in self.waiting[0]}
            self.put(self.count - len(self.waiting), stacked)
            self.waiting = []

    # as a sink of a run that is kept

    @property
    def tree(self) -> dict[str, Any]:
        self.write()
        return {"count": self.count, "log_q": self.log_q[: self.count]}

    def restore(self, tree: dict[str, Any]) -> int:
        self.count = tree["count"]
        self.log_q[: self.count] = tree["log_q"]
        return self.count


class GlobalStream:
    """Torch's global random state, of the CPU and of ``device``, as a random stream of a run."""

    def __init__(self, device: torch.device) -> None:
        self.device = device

    @property
    def tree(self) -> dict[str, Tensor | None]:
        there = torch.cuda.get_rng_state(self.device) if self.device.type == "cuda" else None
        return {"cpu": torch.get_rng_state(), "device": there}

    @tree.setter
    def tree(self, tree: dict[str, Tensor | None]) -> None:
        here, there = tree["cpu"], tree["device"]
        assert here is not None
        torch.set_rng_state(here)
        if there is not None:
            torch.cuda.set_rng_state(there, self.device)
