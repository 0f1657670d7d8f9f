"""The log joint of more rows than fit at once: rows in chunks, values and gradients added in float64.

With the likelihood in a plate of N rows, the log joint of a chunk of n_k of them is L_k = log prior + N/n_k · log lik_k, so

    log p(u, data) = log prior + Σ_k log lik_k = Σ_k n_k/N · L_k

is exact for chunks of any sizes. Memory is set by the chunk, cost is linear in the rows.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from functools import partial
from typing import Any

import torch
from torch import Tensor

from .._scope import seeded
from ..bijections import bijection
from ..types import DataError, Model, ModelError
from .log_joint import LogJoint
from .messengers import Unconstrained
from .observed import check_observed, is_data
from .sites import Row, _run, is_latent, look

PROBE = 64
"""Rows on which a model is asked whether its log likelihood is a sum over rows."""


class ChunkedLogJoint(LogJoint):
    """Log joint of ``model(*rows, size=N)`` over all N rows, ``row_chunk`` of them at a time (the last may be shorter).

    Calling it gives the log joint ``[chain]`` in float64 and its gradient ``[chain, dim]`` in the dtype of the position.
    The network runs in the dtype of the rows; terms of the log joint are added in float64, because differences of a
    float32 sum of many rows are too coarse for a Metropolis decision. ``rows`` are tensors with the same number of
    rows; each chunk is moved to ``device`` (by default where the rows are) when its turn comes. With ``size`` they are some
    of so many rows, and the values are this part's share of the log joint: that of all parts is their sum.

    Attributes as ``LogJoint``; ``args`` is the first chunk, ``rows`` says that all N rows are seen, and ``evaluations``
    counts gradients over all rows. ``log_joint(position, *rows)`` evaluates one chunk as a minibatch, scaled to N rows.

    Raises ModelError where the log likelihood is not a sum over rows in a plate scaled to ``size`` (no plate, rows that
    depend on each other, a latent value for each row), DataError where rows of any chunk do not fit the model.
    """

    said = "chunks of rows", "set row_chunk=None"
    """What errors call it, and how to do without."""

    def __init__(
        self,
        model: Model,
        rows: tuple[Tensor, ...],
        *,
        row_chunk: int,
        size: int | None = None,
        dtype: torch.dtype | None = None,
        device: torch.device | str | None = None,
        compile: bool = False,
    ) -> None:
        need_size(model, *self.said)
        if isinstance(row_chunk, bool) or not isinstance(row_chunk, int) or row_chunk < 1:
            raise ValueError(f"row_chunk is a number of rows: expected a whole number of at least 1, got {row_chunk!r}")
        self.here = length(rows)
        self.size, self.row_chunk, self._all = self.here if size is None else size, row_chunk, tuple(rows)
        place = torch.device(device) if device else rows[0].device
        first = tuple(t.to(place) for t in self._slice(0, row_chunk))
        super().__init__(model, first, {"size": self.size}, dtype=dtype, device=place, compile=compile)
        self._check_chunks()
        self._check_sum()
        self.rows = [self._whole(row) for row in self.rows]

    def __call__(self, position: Tensor, *rows: Tensor) -> tuple[Tensor, Tensor]:
        self._check(position, rows)
        if rows:
            return super().__call__(position, *rows)
        value, gradient = self._summed(position)
        return value, gradient.to(position.dtype)

    def _summed(self, position: Tensor) -> tuple[Tensor, Tensor]:
        """Value ``[chain]`` and gradient ``[chain, dim]`` over all rows, both in float64."""
        counted, at = self.evaluations, position.to(self.dtype)
        value = torch.zeros(len(position), dtype=torch.float64, device=self.device)
        gradient = torch.zeros(position.shape, dtype=torch.float64, device=self.device)
        for chunk, share in self._chunks():
            part = super().__call__(at, *chunk)
            value.add_(part[0], alpha=share)
            gradient.add_(part[1], alpha=share)
        self.evaluations = counted + len(position)
        return value, gradient

    def value(self, position: Tensor) -> Tensor:
        """Log joint ``[…]`` in float64 of positions ``[…, dim]``, without gradient, one position and chunk at a time."""
        flat = position.to(self.dtype).reshape(-1, self.dim)
        total = torch.zeros(len(flat), dtype=torch.float64, device=self.device)
        with self._scope(), torch.no_grad():
            for chunk, share in self._chunks():
                each = [self._log_joint(self._split(one), *chunk)[0] for one in flat]
                total.add_(torch.stack(each), alpha=share)
        return total.reshape(position.shape[:-1])

    def inline(self, f: Callable[..., tuple[Tensor, ...]]) -> Callable[..., tuple[Tensor, ...]]:
        """``f(log_joint, *tensors)`` as a function of the tensors; never one graph with f, as a graph knows one chunk."""
        return partial(f, self)

    # ------------------------------------------------------------------ inside

    def _slice(self, start: int, stop: int) -> tuple[Tensor, ...]:
        return tuple(t[start:stop] for t in self._all)

    def _chunks(self) -> Iterator[tuple[tuple[Tensor, ...], float]]:
        """Each chunk on the device, with its share n_k/N of the rows."""
        for start in range(0, self.here, self.row_chunk):
            chunk = tuple(t.to(self.device, non_blocking=True) for t in self._slice(start, start + self.row_chunk))
            yield chunk, len(chunk[0]) / self.size

    def _log_joint(self, parts: Mapping[str, Tensor], *tensors: Tensor) -> tuple[Tensor, Unconstrained]:
        """Scalar log joint of one point, Jacobian included, in float64."""
        run = self._run(Unconstrained(parts), tensors)
        sites = {name: msg for name, msg in run.trace.nodes.items() if msg["type"] == "sample"}
        total = sum(_terms(msg).sum(dtype=torch.float64) for msg in sites.values())
        for name, u in parts.items():
            transform = bijection(sites[name]["fn"].support)
            total = total + transform.log_abs_det_jacobian(u, sites[name]["value"]).sum(dtype=torch.float64)
        return torch.as_tensor(total), run

    def _whole(self, row: Row) -> Row:
        """All rows are seen, though one chunk at a time."""
        return replace(row, seen=row.size) if (row.seen, row.size) == (len(self.args[0]), self.size) else row

    def _check_chunks(self) -> None:
        """Later chunks fit the model as the first does: observed values in their support, no NaN."""
        for i, (chunk, _) in enumerate(self._chunks()):
            if i == 0:
                continue
            try:
                with self._scope(validate=True), seeded(0, self.device), torch.no_grad():
                    nodes = _run(self.model, chunk, self.kwargs).nodes
                for name in (name for name, msg in nodes.items() if is_data(msg)):
                    check_observed(name, nodes[name])
            except (DataError, ModelError) as error:
                start = i * self.row_chunk
                raise type(error)(f"rows {start} to {start + len(chunk[0]) - 1}: {error}") from error

    def _look(self, start: int, stop: int) -> dict[str, torch.Size]:
        rows = tuple(t.to(self.device) for t in self._slice(start, stop))
        with self._scope(validate=True), seeded(0, self.device):
            return {site.name: site.shape for site in look(self.model, rows, self.kwargs).sites}

    def _check_sum(self) -> None:
        """The log likelihood of rows, scaled to N, is the mean of that of their halves, and no site depends on rows."""
        half = min(PROBE, self.here) // 2
        if half == 0:
            return
        now, other = {s.name: s.shape for s in self.sites}, self._look(0, half if half != len(self.args[0]) else 2 * half)
        local = [name for name in now.keys() | other.keys() if now.get(name) != other.get(name)]
        if local:
            raise ModelError(
                f"sites {sorted(local)} change with the number of rows: a latent value for each row cannot be added up over "
                f"chunks; integrate it out, or {self.said[1]}"
            )
        (both, scale), (a, _), (b, _) = (self._likelihood(*ends) for ends in ((0, 2 * half), (0, half), (half, 2 * half)))
        if bool((both - (a + b) / 2).abs() > 1e-3 * scale):
            seen = [f"{row.plate!r}: {row.seen} of {row.size}" for row in self.rows] or "no plate over the data"
            raise ModelError(
                f"{self.said[0]} need a log likelihood that is a sum over rows, scaled to {self.size} of them; here that of "
                f"{2 * half} rows is {float(both):.6g}, and the mean of its halves' is {float((a + b) / 2):.6g} (found "
                f"{seen}): write pyro.plate('data', size, subsample=x) and let no row depend on another, or "
                f"{self.said[1]}"
            )

    def _likelihood(self, start: int, stop: int) -> tuple[Tensor, Tensor]:
        """Sum of everything but the latent sites' terms, and of its absolute values, at a fixed position."""
        rows = tuple(t.to(self.device) for t in self._slice(start, stop))
        with self._scope(), torch.no_grad():
            position = 0.5 * torch.sin(1.0 + torch.arange(self.dim, dtype=self.dtype, device=self.device))
            nodes = self._run(Unconstrained(self._split(position)), rows).trace.nodes.values()
            terms = [_terms(msg).double() for msg in nodes if msg["type"] == "sample" and not is_latent(msg)]
        zero = torch.zeros((), dtype=torch.float64, device=self.device)
        return sum((t.sum() for t in terms), zero), sum((t.abs().sum() for t in terms), zero)


def _terms(msg: Any) -> Tensor:
    """A site's log density with its scale and mask, not yet added up where that can wait."""
    law, scale, mask = msg["fn"], msg["scale"], msg["mask"]
    while isinstance(law, torch.distributions.Independent) and mask is None and not isinstance(scale, Tensor):
        law = law.base_dist
    log_prob = law.log_prob(msg["value"])
    log_prob = log_prob if isinstance(scale, float | int) and scale == 1 else log_prob * scale
    return log_prob if mask is None else torch.where(torch.as_tensor(mask, device=log_prob.device), log_prob, 0.0)


def need_size(model: Model, what: str, instead: str) -> None:
    """Raise ModelError unless ``model`` takes the number of rows of the whole data set as ``size=``."""
    accepted = inspect.signature(model).parameters
    if "size" not in accepted and all(p.kind is not p.VAR_KEYWORD for p in accepted.values()):
        raise ModelError(
            f"{what} call model(*rows, size=N), but this model takes ({', '.join(accepted)}): add size=None and use "
            f"pyro.plate('data', size or len(x), subsample=x), or {instead}"
        )


def length(rows: tuple[Tensor, ...]) -> int:
    """The number of rows of all of them. Raises DataError where they are not tensors of one number of rows."""
    lengths = [len(t) if isinstance(t, Tensor) and t.dim() else None for t in rows]
    if len(set(lengths)) != 1 or not lengths[0]:
        raise DataError(
            f"chunks of rows need arguments that are tensors with the same number of rows, got lengths {lengths}"
        )
    return lengths[0]
