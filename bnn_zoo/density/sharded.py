"""The log joint of rows that are spread over ranks: each has every so manyth, and one all-reduce a gradient adds them up.

As for chunks of rows, of which a rank's share is one: with n_k of N rows on rank k, L_k = log prior + N/n_k · log lik_k and

    log p(u, data) = Σ_k n_k/N · L_k

so the prior is counted once. Value and gradient go in one buffer. Its sum has the same bits on all ranks; so all make the
same accept decisions, from the same random numbers, and go on at the same position.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor

from .._ranks import Ranks
from ..types import DataError, Model
from .chunked import ChunkedLogJoint, length
from .log_joint import LogJoint

CHECK = 100
"""Gradients from one look at whether all ranks are at the same position to the next."""
FAR = 1e-10
"""Relative difference of positions that is more than the rounding of a sum over ranks."""


class ShardedLogJoint(ChunkedLogJoint):
    """Log joint of ``model(*rows, size=N)`` over all N rows, of which this rank sees rows ``rank, rank + ranks, …``.

    All ranks are given the same ``rows``, and call it at the same positions. Sums are in float64, and ``row_chunk`` bounds
    the memory that they take, as in ``ChunkedLogJoint``, which says what else there is and what is refused.
    """

    said = "rows over ranks", "leave out RowsOverRanks"

    def __init__(
        self, model: Model, rows: tuple[Tensor, ...], *, ranks: Ranks, row_chunk: int | None = None, **more: Any
    ) -> None:
        self.ranks, self.meeting = ranks, Meeting(ranks)
        size = length(rows)
        need_rows(size, ranks)
        own = tuple(t[ranks.rank :: ranks.size].contiguous() for t in rows)
        if row_chunk is None:
            own, row_chunk = tuple(t.to(more.get("device") or t.device) for t in own), len(own[0])
        super().__init__(model, own, row_chunk=row_chunk, size=size, **more)

    def _summed(self, position: Tensor) -> tuple[Tensor, Tensor]:
        return self.meeting.add(position, *super()._summed(position))

    def value(self, position: Tensor) -> Tensor:
        return self.ranks.add(super().value(position).contiguous())

    def hessian(self, position: Tensor, index: Tensor, *rows: Tensor) -> Tensor:
        """As in ``LogJoint``, of all rows."""
        total = torch.zeros(len(index), len(index), dtype=torch.float64, device=self.device)
        for chunk, share in self._chunks():
            total.add_(super().hessian(position, index, *chunk), alpha=share)
        return self.ranks.add(total).to(position.dtype)


class ShardedMinibatch(LogJoint):
    """Log joint of ``model(*rows, size=N)`` on minibatches of ``batch_size`` rows, of which each rank is given its share.

    Other arguments and attributes: those of ``LogJoint``, whose dtype the sums have.
    """

    def __init__(self, *args: Any, ranks: Ranks, batch_size: int, **more: Any) -> None:
        self.ranks, self.meeting, self.batch_size = ranks, Meeting(ranks), batch_size
        super().__init__(*args, **more)

    @property
    def share(self) -> float:
        return len(self.tensors[0]) / self.batch_size

    def __call__(self, position: Tensor, *rows: Tensor) -> tuple[Tensor, Tensor]:
        value, gradient = super().__call__(position, *rows)
        return self.meeting.add(position, value * self.share, gradient * self.share)

    def hessian(self, position: Tensor, index: Tensor, *rows: Tensor) -> Tensor:
        return self.ranks.add(super().hessian(position, index, *rows) * self.share)

    def inline(self, f: Callable[..., tuple[Tensor, ...]]) -> Callable[..., tuple[Tensor, ...]]:
        return partial(f, self)


class Meeting:
    """Where ranks add up what each has found at one position."""

    def __init__(self, ranks: Ranks) -> None:
        self.ranks, self.count = ranks, 0

    def add(self, position: Tensor, value: Tensor, gradient: Tensor) -> tuple[Tensor, Tensor]:
        """The sums over the ranks of ``value [chain]`` and ``gradient [chain, dim]``, by one all-reduce.

        The positions' sums ride along. Raises RuntimeError where ranks turn out to be at different positions, which would
        be gradients of nothing.
        """
        here = position.detach().to(value.dtype).sum(-1)
        total = self.ranks.add(torch.cat([gradient, value.unsqueeze(-1), here.unsqueeze(-1)], -1))
        if self.count % CHECK == 0:
            off = (total[:, -1] / self.ranks.size - here).abs() > FAR ** (value.dtype.itemsize / 8) * (1.0 + here.abs())
            if bool(off.any()):
                raise RuntimeError(
                    f"rank {self.ranks.rank} is at another position than the others: give all ranks the same model, data, "
                    "settings and seed, on machines of one kind"
                )
        self.count += 1
        return total[:, -2].clone(), total[:, :-2].contiguous()


def need_rows(count: int, ranks: Ranks, what: str = "rows") -> None:
    """Raise DataError unless each rank has one at least."""
    if count < ranks.size:
        raise DataError(f"{count} {what} cannot be spread over {ranks.size} ranks: start fewer, or leave out RowsOverRanks")
