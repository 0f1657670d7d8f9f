"""Matrix products and what is triangular."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from torch import Tensor

from .bodies import SHORT
from .nests import fold
from .operations import as_value
from .values import C_TYPES, Array, Block, Expression, Statement, Unsupported, Value, contiguous

if TYPE_CHECKING:
    from .lowering import Program


WORTH = 8
"""Times that a matrix must be read for a copy of it in better order."""


def product(program: Program, result: Tensor, a: Value, b: Value) -> Array:
    """``[…, i, k] @ […, k, j]``, ``[i, k] @ [k]`` or ``[k] @ [k]``: a sum over k of products."""
    a, b = program.array(a), program.array(b)
    vectors = len(a.shape) == 1, len(b.shape) == 1
    a = Array(a.buffer, (1, *a.shape), (0, *a.strides), a.offset) if vectors[0] else a
    b = Array(b.buffer, (*b.shape, 1), (*b.strides, 0), b.offset) if vectors[1] else b
    (*batch, i, k), j = a.shape, b.shape[-1]
    count = math.prod((*batch, i, j, k))
    if k > SHORT:  # vector instructions go along k, otherwise along j
        a, b = _along(program, a, -1, count), _along(program, b, -2, count)
    else:
        b = _along(program, b, -1, count)
    left = Array(a.buffer, (*batch, i, 1, k), (*a.strides[:-1], 0, a.strides[-1]), a.offset)
    right = Array(b.buffer, (*batch, 1, j, k), (*b.strides[:-2], 0, b.strides[-1], b.strides[-2]), b.offset)
    terms = Expression("{0} * {1}", (left, right), a.dtype, (*batch, i, j, k), a.dtype)
    program.products += math.prod(terms.shape)
    out = program.new((*batch, i, j, 1), result.dtype)
    real = a.dtype.is_floating_point
    program.statements.append(fold(terms, out, [len(batch) + 2], "0", "acc += x;", "double" if real else "int64_t", "+"))
    return Array(out.buffer, tuple(result.shape), contiguous(result.shape))


def _along(program: Program, m: Array, axis: int, count: int) -> Array:
    """A matrix that lies in memory along this axis, copied where so many terms make up for that."""
    if m.strides[axis] in (0, 1) or count < WORTH * math.prod(m.shape):
        return m
    key = m.buffer, m.shape, m.strides, m.offset, axis
    if key not in program.copies:
        program.copies[key] = program.ordered(m) if axis == -1 else _transposed(program.ordered(_transposed(m)))
    return program.copies[key]


def added_product(program: Program, result: Tensor, c: Value, a: Value, b: Value, *, beta: Any = 1, alpha: Any = 1) -> Array:
    """β c + α a @ b."""
    ab = product(program, result, a, b)
    terms = (c, ab, as_value(beta, ab.dtype), as_value(alpha, ab.dtype))
    return program.array(Expression("{2} * {0} + {3} * {1}", terms, ab.dtype, ab.shape, ab.dtype))


def triangle(keep: str) -> Callable[..., Array]:
    """The lower or upper triangle, zeros elsewhere."""

    def made(program: Program, result: Tensor, x: Value, diagonal: int = 0) -> Array:
        x, out = program.array(x), program.new(result.shape, result.dtype)
        block = Block(out.shape, [out, x])
        plainly(block, out, x)
        row, column = f"i{len(out.shape) - 2}", f"i{len(out.shape) - 1}"
        body = f"{block.at(out)} = {column} - {row} {keep} {diagonal} ? {block.at(x)} : 0;"
        program.statements.append(block.statement(nested(block, body), out.buffer))
        return out

    return made


def plainly(block: Block, *arrays: Array) -> None:
    """Let the block have one loop for each axis, none joined: ``i3`` is the third index."""
    shape = arrays[0].shape
    block.outer, block.inner, block.sizes = [(n, d) for d, n in enumerate(shape)], [], list(shape)
    block.strides = {id(a): list(a.expanded(shape).strides) for a in arrays}


def nested(block: Block, body: str) -> str:
    return "\n".join([*(block.loop(n) for n in range(len(block.sizes))), "{", body, "}"])


def cholesky(
    program: Program, result: Any, x: Value, *, upper: bool = False, check_errors: bool = False
) -> tuple[Array, Array]:
    """L Lᵀ = x, and for each matrix 0, or the first column at which x is not positive definite."""
    if upper or check_errors:
        raise Unsupported("cholesky_ex with upper or check_errors")
    x = program.ordered(x)
    out, info = program.new(result[0].shape, result[0].dtype), program.new(result[1].shape, result[1].dtype)
    (*batch, n, _), c = x.shape, C_TYPES[x.dtype]
    root = "sqrtf" if c == "float" else "sqrt"
    text = f"""{{ const {c} *a = {x.buffer.token} + {x.offset}; {c} *l = {out.buffer.token}; int32_t *info =
  {info.buffer.token};
for (int64_t b = 0; b < {math.prod(batch)}; ++b, a += {n * n}, l += {n * n}) {{
  info[b] = 0;
  for (int64_t i = 0; i < {n}; ++i) for (int64_t j = 0; j < {n}; ++j) {{
    double s = j <= i ? a[i * {n} + j] : 0;
    for (int64_t k = 0; j <= i && k < j; ++k) s -= (double)l[i * {n} + k] * l[j * {n} + k];
    if (i == j && !(s > 0) && !info[b]) info[b] = (int32_t)(i + 1);
    l[i * {n} + j] = j > i ? 0 : i == j ? {root}(s) : s / l[j * {n} + j];
  }}
}} }}"""
    program.statements.append(Statement(text, {x.buffer}, {out.buffer, info.buffer}))
    return out, info


def _transposed(m: Array) -> Array:
    return Array(m.buffer, (*m.shape[:-2], *m.shape[:-3:-1]), (*m.strides[:-2], *m.strides[:-3:-1]), m.offset)


def solve_triangular(
    program: Program, result: Tensor, a: Value, b: Value, *, upper: bool, left: bool = True, unitriangular: bool = False
) -> Array:
    """x of a x = b, or x a = b, a triangular, by substitution."""
    a, b = program.array(a), program.array(b)
    out = program.new(result.shape, result.dtype)
    batch = tuple(result.shape[:-2])
    a, x = a.expanded((*batch, *a.shape[-2:])), out
    b = b.expanded(out.shape)
    if not left:  # its transpose
        a, b, x = (
            Array(m.buffer, (*batch, *m.shape[:-3:-1]), (*m.strides[:-2], *m.strides[:-3:-1]), m.offset) for m in (a, b, x)
        )
        upper = not upper
    n, m = x.shape[-2:]
    loops = "\n".join(f"for (int64_t i{d} = 0; i{d} < {size}; ++i{d})" for d, size in enumerate(batch))

    def at(matrix: Array, name: str, i: str, j: str) -> str:
        outer = "".join(f" + i{d} * {s}" for d, s in enumerate(matrix.strides[:-2]))
        return f"{name}[{matrix.offset}{outer} + {i} * {matrix.strides[-2]} + {j} * {matrix.strides[-1]}]"

    c = C_TYPES[out.dtype]
    order = f"const int64_t i = {n - 1} - r;" if upper else "const int64_t i = r;"
    inner = f"for (int64_t k = i + 1; k < {n}; ++k)" if upper else "for (int64_t k = 0; k < i; ++k)"
    divided = "s" if unitriangular else f"s / {at(a, 'a', 'i', 'i')}"
    text = f"""{{ const {c} *a = {a.buffer.token}, *b = {b.buffer.token}; {c} *x = {out.buffer.token};
{loops}
for (int64_t r = 0; r < {n}; ++r) {{ {order}
for (int64_t j = 0; j < {m}; ++j) {{
  double s = {at(b, "b", "i", "j")};
  {inner} s -= (double){at(a, "a", "i", "k")} * {at(x, "x", "k", "j")};
  {at(x, "x", "i", "j")} = {divided};
}} }} }}"""
    program.statements.append(Statement(text, {a.buffer, b.buffer}, {out.buffer}))
    return out


LINEAR: dict[str, Callable[..., Any]] = {
    "mm": product,
    "bmm": product,
    "mv": product,
    "dot": product,
    "addmm": added_product,
    "baddbmm": added_product,
    "tril": triangle("<="),
    "triu": triangle(">="),
    "linalg_cholesky_ex": cholesky,
    "linalg_solve_triangular": solve_triangular,
}
