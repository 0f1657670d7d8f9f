"""One argument of a model, whatever library it comes from, as a tensor: or an error that says what to write instead."""

from __future__ import annotations

from typing import Any, NoReturn, Protocol, runtime_checkable

import numpy as np
import pandas as pd
import scipy.sparse
import torch
import xarray as xr
from torch import Tensor
from torch.masked import MaskedTensor

from ..types import DataError

DTYPES = (torch.float32, torch.float64, torch.int64, torch.int32, torch.int16, torch.int8, torch.uint8, torch.bool)
"""Those that models run on. Half precision is not among them: sums over rows lose all their digits in it."""


@runtime_checkable
class ArrayLike(Protocol):
    """Arrays of other libraries (polars, JAX) that numpy can read."""

    def __array__(self) -> np.ndarray: ...


def as_tensor(name: str, value: Any) -> Any:
    """Tensors and arrays as detached tensors in a dtype and layout that models run on; anything else as it is.

    Tables of pandas are taken with their columns in order, ``xarray.DataArray`` and what else numpy can read as arrays.
    Raises DataError, beginning with ``name``, for values that are masked, missing or no numbers, for sparse, nested and
    quantised tensors, and for complex, half, extended or foreign-endian numbers.
    """
    if isinstance(value, Tensor):
        return _tensor(name, value)
    if isinstance(value, pd.DataFrame | pd.Series | pd.Index):
        return _array(name, _table(name, value))
    if isinstance(value, xr.Dataset):
        raise DataError(f"{name} is an xarray Dataset: pass its variables, such as data[{next(iter(value), 'x')!r}]")
    if scipy.sparse.issparse(value):
        raise DataError(f"{name} is a sparse matrix of SciPy: expected a dense array; write .toarray()")
    if isinstance(value, np.ndarray):
        return _array(name, value)
    if isinstance(value, ArrayLike) and not isinstance(value, np.generic | type):
        return _array(name, np.asarray(value))
    return value


def _tensor(name: str, t: Tensor) -> Tensor:
    if isinstance(t, MaskedTensor):
        raise DataError(f"{name} is a masked tensor: drop the masked rows or fill them, such as by .to_tensor(value)")
    if t.is_nested:
        raise DataError(f"{name} is a nested tensor, of rows of several lengths: pad them, .to_padded_tensor(0.0)")
    if t.layout is not torch.strided:
        raise DataError(f"{name} is a sparse tensor ({t.layout}): expected a dense one; write .to_dense()")
    if t.device.type == "meta":
        raise DataError(f"{name} is on the meta device, which holds shapes and no values: expected data on 'cpu' or 'cuda'")
    if t.is_complex():
        raise DataError(f"{name} is {t.dtype}: expected real numbers; write torch.view_as_real(x) or x.abs()")
    if t.dtype in (torch.uint16, torch.uint32, torch.uint64):
        return t.detach().to(torch.int64)
    if t.dtype not in DTYPES:
        remedy = ".dequantize()" if t.is_quantized else ".float()"
        raise DataError(
            f"{name} is {t.dtype}: expected float32, float64, integers or truth values, since lower precision loses the sum "
            f"over rows; write {remedy}"
        )
    return t.detach()


def _table(name: str, frame: Any) -> np.ndarray:
    """The numbers of a DataFrame ``[rows, columns]``, Series or Index ``[rows]``; missing ones are NaN."""
    kinds = frame.dtypes if isinstance(frame, pd.DataFrame) else pd.Series({frame.name: frame.dtype})
    bad = [(column, kind) for column, kind in kinds.items() if not pd.api.types.is_numeric_dtype(kind)]
    if bad:
        column, kind = bad[0]
        more = f" and {len(bad) - 1} more" if len(bad) > 1 else ""
        raise DataError(
            f"{name}: column {column!r}{more} holds {kind}, expected numbers; encode it (pandas.get_dummies, .cat.codes, "
            ".astype('int64')) or leave it out (.select_dtypes('number'))"
        )
    missing = bool(np.asarray(frame.isna()).any())
    values = frame.to_numpy(dtype="float64", na_value=np.nan) if missing else frame.to_numpy()
    return values.astype("float64") if values.dtype == object else values  # nullable columns of several dtypes


def _array(name: str, a: np.ndarray) -> Tensor:
    if isinstance(a, np.ma.MaskedArray):
        hidden = int(np.ma.count_masked(a))
        if hidden:
            raise DataError(
                f"{name} is a masked array with {hidden} masked values of {a.size}: drop those rows, or fill them with "
                ".filled(value); a model of what is missing gives them a site of their own"
            )
        a = a.data
    if a.dtype.kind == "O":
        _refuse_objects(name, a)
    if a.dtype.kind == "c":
        raise DataError(f"{name} is an array of {a.dtype}: expected real numbers; write numpy.stack([x.real, x.imag], -1)")
    if a.dtype.kind in "mM":
        said = "of times: expected numbers; write (x - x[0]) / numpy.timedelta64(1, 'D')"
        raise DataError(f"{name} is an array of {a.dtype}, {said}")
    if a.dtype.kind not in "fiub":
        raise DataError(f"{name} is an array of {a.dtype}: expected numbers; encode text and categories first")
    if not a.dtype.isnative:
        raise DataError(
            f"{name} has the byte order of another machine ({a.dtype.str}): write x.astype(x.dtype.newbyteorder('='))"
        )
    if a.dtype.kind == "f" and a.dtype not in (np.float32, np.float64):
        near = "float32" if a.dtype.itemsize < 4 else "float64"
        raise DataError(f"{name} is an array of {a.dtype}: expected float32 or float64; write x.astype('{near}')")
    if a.dtype in (np.uint16, np.uint32, np.uint64):
        a = a.astype(np.int64)
    return torch.from_numpy(np.array(a, order="C") if not a.flags.writeable else np.asarray(a, order="C"))


def _refuse_objects(name: str, a: np.ndarray) -> NoReturn:
    """An array of objects is refused, with the remedy that fits what is in it."""
    held = [v for v in a.flat if v is not None]
    first = held[0] if held else None
    if held and all(isinstance(v, int | float | np.number) for v in held):
        raise DataError(f"{name} is an array of object that holds numbers: write x.astype('float64')")
    if isinstance(first, np.ndarray | list | tuple | Tensor):
        raise DataError(f"{name} is an array of object whose rows differ in length: pad them to one, then numpy.stack")
    raise DataError(f"{name} is an array of object: expected numbers; encode text and categories first")
