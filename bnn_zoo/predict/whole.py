"""Results of a pass over draws and rows, each array made once and filled block by block."""

from __future__ import annotations

from collections.abc import Mapping
from math import prod

import torch
from torch import Tensor

from .._memory import free_memory, said
from ..types import DataError

Parts = Mapping[str, Mapping[str, Tensor]]


class Whole:
    """``{site: {name: [draw, …]}}`` on the CPU for ``draws`` draws; in blocks of rows ``[draw, row, …]`` for ``rows`` rows.

    The first block shows how large all will be. Raises DataError there, before anything is filled, if that does not fit in
    the memory that is free.
    """

    def __init__(self, draws: int, rows: int | None = None) -> None:
        self.draws, self.rows = draws, rows
        self.arrays: dict[str, dict[str, Tensor]] = {}

    def put(self, parts: Parts, draw: int, row: int = 0) -> None:
        """Parts ``[some draws, …]`` that begin at ``draw`` and, in blocks of rows, at ``row``."""
        if not self.arrays:
            self._make(parts)
        for site, values in parts.items():
            for name, value in values.items():
                into = self.arrays[site][name][draw : draw + len(value)]
                (into if self.rows is None else into[:, row : row + value.shape[1]]).copy_(value)

    def _make(self, parts: Parts) -> None:
        shapes = {(s, n): self._shape(v) for s, values in parts.items() for n, v in values.items()}
        sizes = {(s, n): prod(shape) * parts[s][n].element_size() for (s, n), shape in shapes.items()}
        need, free = sum(sizes.values()), free_memory()
        if need > free:
            (site, _), shape = max(shapes.items(), key=lambda item: prod(item[1]))
            numbers = " × ".join(f"{n:,}" for n in shape)
            raise DataError(
                f"the results need {said(need)} (site {site!r}: {numbers}, draws × rows × …), and {said(free)} of memory "
                "are free: take fewer rows at a time, such as x[:1000], and keep what you need of each part, or take fewer "
                "draws (more thinning)"
            )
        for (site, name), shape in shapes.items():
            empty = torch.empty(shape, dtype=parts[site][name].dtype)
            self.arrays.setdefault(site, {})[name] = empty

    def _shape(self, value: Tensor) -> tuple[int, ...]:
        return (self.draws, *value.shape[1:]) if self.rows is None else (self.draws, self.rows, *value.shape[2:])
