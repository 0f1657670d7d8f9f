"""Draws on disk as xarray has arrays of files: read when they are asked for, and only the part that is."""

from __future__ import annotations

from typing import Any

import numpy as np
from xarray.backends import BackendArray
from xarray.core import indexing

from ..run import Stored


class _Read(BackendArray):
    """What xarray asks of an array in a file."""

    def __init__(self, stored: Stored) -> None:
        kind = np.dtype(str(stored.dtype).removeprefix("torch."))
        self.stored, self.shape = stored, tuple(stored.shape)
        self.dtype = np.dtype(np.float32) if kind == np.float16 else kind

    def __getitem__(self, key: Any) -> Any:
        return indexing.explicit_indexing_adapter(key, self.shape, indexing.IndexingSupport.BASIC, self._read)

    def _read(self, key: tuple[Any, ...]) -> np.ndarray:
        return self.stored[key].numpy().astype(self.dtype, copy=False)


def lazily(stored: Stored) -> Any:
    """An array for an xarray.Dataset; nothing of it is read or kept until ``.values``, ``.load()`` or a computation."""
    return indexing.LazilyIndexedArray(_Read(stored))
