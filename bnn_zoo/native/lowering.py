"""A graph of ATen operations as C: views are strides, pointwise operations go into the loops that use them."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, fx

from . import routines
from .nests import Nest, fold, write
from .operations import POINTWISE, as_value, fitting, pointwise, suffixed
from .values import C_TYPES, SIZES, Array, Buffer, Expression, Number, Statement, Unsupported, Value, contiguous

aten = torch.ops.aten
VIEWS = {"expand", "permute", "t", "transpose", "select", "slice", "unbind", "split", "split_with_sizes", "diagonal"}
VIEWS |= {"squeeze", "unsqueeze", "view", "reshape", "_unsafe_view"}
SEEN = {"expand", "permute", "t", "transpose", "select", "slice", "squeeze", "unsqueeze", "view", "reshape", "_unsafe_view"}
"""Views that pointwise operations are written through."""
SAME = {"alias", "detach", "lift_fresh_copy", "clone"}
FILLED: dict[str, Callable[..., tuple[Any, Any]]] = {
    "empty_like": lambda like, **_: (like.shape, 0),
    "fill": lambda like, value: (like.shape, value),
    "full": lambda size, value, **_: (size, value),
    "full_like": lambda like, value, **_: (like.shape, value),
    "new_full": lambda like, size, value, **_: (size, value),
    "zeros": lambda size, **_: (size, 0),
    "zeros_like": lambda like, **_: (like.shape, 0),
    "new_zeros": lambda like, size, **_: (size, 0),
    "ones": lambda size, **_: (size, 1),
    "ones_like": lambda like, **_: (like.shape, 1),
    "new_ones": lambda like, size, **_: (size, 1),
    "scalar_tensor": lambda value, **_: ((), value),
}
FOLDED = {"sum", "mean", "amax", "amin", "any", "all"}
JOINED = {"cat", "stack"}
OUTER = {"mm", "bmm"}
"""Products that are pointwise where there is one term to a sum."""
OTHERS = {"getitem", "where", "masked_fill", "_to_copy", "to", "copy"}
DEEP = 50
"""Operations that one loop makes one inside the other, at most."""


class Program:
    """Statements that compute the outputs of a graph, for inputs of these shapes and dtypes, all contiguous."""

    def __init__(self, graph: fx.GraphModule, inputs: Sequence[Tensor]) -> None:
        self.graph, self.statements = graph, list[Statement | Nest]()
        self.constants: list[Tensor] = []
        self.slots = self.buffers = 0
        self.products = 0
        """Multiplications in matrix products."""
        self.kinds = _Kinds(graph)
        self.kinds.run(*inputs)
        self.largest = max((t.numel() for t in self.kinds.tensors()), default=0)
        self.known: dict[fx.Node, Any] = {}
        self.inputs: list[Array] = []
        self.copies: dict[Any, Array] = {}
        """Of matrices in another order: nothing is written over once it is read."""
        self.outputs: list[Array | None] = []
        nodes = list(graph.graph.nodes)
        for node in nodes:
            if node.op == "placeholder":
                self.known[node] = self._given(self.kinds.of[node])
                self.inputs.append(self.known[node])
        for node in nodes:
            if node.op == "get_attr":
                self.known[node] = self._constant(self.kinds.of[node])
            elif node.op == "call_function":
                self.known[node] = self._call(node)
            elif node.op == "output":
                self._finish(fx.node.map_arg(node.args[0], self.known.__getitem__))

    # memory
    def _given(self, like: Tensor) -> Array:
        """The contents of the next pointer."""
        shape = tuple(like.shape)
        self.slots += 1
        return Array(self._buffer(like.dtype, like.numel(), self.slots - 1), shape, contiguous(shape))

    def _constant(self, value: Tensor) -> Array | Number:
        first = value.flatten()[:1]
        if (
            value.dtype in SIZES
            and value.numel()
            and bool((value == first).all() and (value.signbit() == first.signbit()).all())
        ):
            return Number(first.item(), value.dtype, tuple(value.shape))
        self.constants.append(value.detach().contiguous())
        return self._given(value)

    def new(self, shape: Sequence[int], dtype: torch.dtype) -> Array:
        return Array(self._buffer(dtype, math.prod(shape)), tuple(shape), contiguous(shape))

    def _buffer(self, dtype: torch.dtype, count: int, slot: int | None = None) -> Buffer:
        self.buffers += 1
        return Buffer(_supported(dtype), count, self.buffers, slot)

    def array(self, value: Value) -> Array:
        """The value in memory."""
        if isinstance(value, Array):
            return value
        out = self.new(value.shape, value.dtype)
        self.statements.append(write(value, out))
        return out

    def ordered(self, value: Value) -> Array:
        """The value in memory, contiguous."""
        array = self.array(value)
        if array.strides == contiguous(array.shape):
            return array
        out = self.new(array.shape, array.dtype)
        self.statements.append(write(array, out))
        return out

    # operations
    def _call(self, node: fx.Node) -> Any:
        result = self.kinds.of[node]
        args, kwargs = (fx.node.map_arg(part, self.known.__getitem__) for part in (node.args, node.kwargs))
        target: Any = node.target
        name = _name(target)
        if name == "getitem":
            return args[0][args[1]]
        if not node.all_input_nodes and name not in FILLED and isinstance(result, Tensor):
            if torch.Tag.nondeterministic_seeded in target.tags:
                raise Unsupported(f"{name}, which is random")
            return self._constant(result)
        if name in SAME:
            return args[0]
        if name in VIEWS:
            return self._view(target, name, result, args, kwargs)
        if name in FILLED:
            size, value = fitting(FILLED[name], *args, **kwargs)
            if not isinstance(value, bool | int | float):
                raise Unsupported(f"{name} with a tensor")
            return Number(torch.tensor(value, dtype=_supported(result.dtype)).item(), result.dtype, tuple(size))
        if name in FOLDED:
            return self._fold(name, result, args, kwargs)
        if name in JOINED:
            return self._join(name, result, *args, **kwargs)
        if name in OUTER and len(args[0].shape) == len(args[1].shape) and args[0].shape[-1] == 1:
            made = Expression("{0} * {1}", tuple(args), result.dtype, tuple(result.shape), result.dtype)
            return made if self._once(node) else self.array(made)
        if name in routines.TABLE:
            return fitting(routines.TABLE[name], self, result, *args, **kwargs)
        return self._pointwise(node, name, result, args, kwargs)

    def _pointwise(self, node: fx.Node, name: str, result: Any, args: Any, kwargs: Any) -> Any:
        if not isinstance(result, Tensor):
            raise Unsupported(name)
        dtype, shape = _supported(result.dtype), tuple(result.shape)
        if name in ("_to_copy", "to", "copy"):
            template, operands, inner = "{0}", args[1 if name == "copy" else 0 :][:1], dtype
        elif name == "where":
            if len(args) != 3:
                raise Unsupported("where with one argument")
            # the choice is a boolean, the others have the dtype of the result
            chosen = [Expression("{0}", (as_value(a, dtype),), dtype, _shape(a), dtype) for a in args[1:]]
            template, operands, inner = "{0} ? {1} : {2}", (args[0], *chosen), None
        elif name == "masked_fill":
            new = Expression("{0}", (as_value(args[2], dtype),), dtype, _shape(args[2]), dtype)
            template, operands, inner = "{1} ? {2} : {0}", (args[0], args[1], new), None
        else:
            found = pointwise(name, args, kwargs, dtype)
            if found is None:
                raise Unsupported(name)
            template, operands, inner = found
        values = tuple(as_value(a, inner or dtype) for a in operands)
        if any(not isinstance(v, Array | Number | Expression) for v in values):
            raise Unsupported(f"{name} with {operands}")
        made = Expression(suffixed(template, inner or values[0].dtype), values, dtype, shape, inner)
        return made if made.depth < DEEP and self._once(node) else self.array(made)

    @staticmethod
    def _once(node: fx.Node) -> bool:
        """Whether one loop alone will read it."""
        if len(node.users) != 1:
            return False
        (user,) = node.users
        name = _name(user.target)
        if name in SEEN:
            return user.args[0] is node and Program._once(user)
        return not any(name in table for table in (SAME, VIEWS, routines.TABLE, FILLED))

    def _view(self, target: Any, name: str, result: Any, args: Any, kwargs: Any) -> Any:
        several = not isinstance(result, Tensor)
        if isinstance(args[0], Number):
            same = [Number(args[0].value, args[0].dtype, tuple(r.shape)) for r in (result if several else [result])]
            return same if several else same[0]
        reshaped = name in ("view", "reshape", "_unsafe_view")
        rest = [a.model() if isinstance(a, Array) else a for a in args[1:]]

        def view(base: Tensor) -> Any:
            return aten.view.default(base, list(result.shape)) if reshaped else target(base, *rest, **kwargs)

        if isinstance(args[0], Expression) and not several and (seen := args[0].seen(view)):
            return seen
        array = self.array(args[0])
        try:
            made = view(array.model())
        except RuntimeError:  # strides that no view can have
            array = self.ordered(array)
            made = aten.view.default(array.model(), list(result.shape))
        parts = made if several else [made]
        views = [Array(array.buffer, tuple(v.shape), tuple(v.stride()), int(v.storage_offset())) for v in parts]
        return views if several else views[0]

    def _fold(self, name: str, result: Tensor, args: Any, kwargs: Any) -> Any:
        value = args[0]
        axes = args[1] if len(args) > 1 and not isinstance(args[1], bool) else kwargs.get("dim")
        rank = len(value.shape)
        every = axes is None or axes == []
        axes = list(range(rank)) if every else [a % max(rank, 1) for a in ([axes] if isinstance(axes, int) else axes)]
        if isinstance(value, Number) or rank == 0:
            value = self.array(value)
        dtype = _supported(result.dtype)
        kept = tuple(1 if d in axes else size for d, size in enumerate(value.shape))
        if math.prod(kept) == math.prod(value.shape) and name not in ("any", "all") and dtype == value.dtype:
            return self._view(aten.view.default, "view", result, (value, list(result.shape)), {})  # of one term each
        out = self.new(kept, dtype)
        self.statements.append(_folding(name, value, out, axes, math.prod(value.shape[d] for d in axes)))
        return Array(out.buffer, tuple(result.shape), contiguous(result.shape))

    def _join(self, name: str, result: Tensor, parts: Any, dim: int = 0) -> Array:
        out = self.new(result.shape, result.dtype)
        dim, start = dim % result.dim(), 0
        for part in parts:
            if name == "cat" and part.shape == (0,) and result.dim() != 1:
                continue  # torch lets empty ones by
            here = part.shape if name == "cat" else (*part.shape[:dim], 1, *part.shape[dim:])
            into = Array(out.buffer, tuple(here), out.strides, start * out.strides[dim])
            if name == "stack":
                into = Array(out.buffer, tuple(part.shape), (*out.strides[:dim], *out.strides[dim + 1 :]), into.offset)
            self.statements.append(write(part, into))
            start += here[dim]
        return out

    def _finish(self, values: Any) -> None:
        """Outputs in memory of their own: where that is the workspace, and nobody else's, it becomes an output."""
        values = values if isinstance(values, list | tuple) else (values,)
        for value in values:
            if not isinstance(value, Array | Number | Expression):
                raise Unsupported("an output that is no tensor")
            mine = isinstance(value, Array) and value.whole and value.buffer.slot is None
            array = value if mine and isinstance(value, Array) else self.new(value.shape, value.dtype)
            if not mine:
                self.statements.append(write(value, array))
            array.buffer.slot = self.slots
            self.slots += 1
            self.outputs.append(array)


def _is_one_number(value: Tensor) -> bool:
    first = value.flatten()[:1]
    return bool(value.numel() and (value == first).all() and (value.signbit() == first.signbit()).all())


def _folding(name: str, value: Value, out: Array, axes: Sequence[int], count: int) -> Nest:
    real = value.dtype.is_floating_point
    kind = C_TYPES[value.dtype]
    if name in ("sum", "mean"):
        kind = "double" if real else "int64_t"
        return fold(value, out, axes, "0", "acc += x;", kind, "+", f"acc / {count}" if name == "mean" else "acc")
    if name in ("amax", "amin"):
        worst = ("-INFINITY" if name == "amax" else "INFINITY") if real else ("INT64_MIN" if name == "amax" else "INT64_MAX")
        sign = ">" if name == "amax" else "<"
        return fold(value, out, axes, worst, f"acc = x != x || x {sign} acc ? x : acc;", kind)
    begin, sign = ("0", "|") if name == "any" else ("1", "&")
    return fold(value, out, axes, begin, f"acc {sign}= x != 0;", "int", sign)


def known(node: fx.Node) -> bool:
    """Whether C is written for an operation, at least for some of its arguments; what depends on no tensor is a constant."""
    if not node.all_input_nodes:
        return True
    name = _name(node.target)
    return any(name in table for table in (SAME, VIEWS, FILLED, FOLDED, JOINED, OTHERS, routines.TABLE, POINTWISE))


def _name(target: Any) -> str:
    """Of an operation, without overload."""
    schema = getattr(target, "_schema", None)
    return getattr(target, "__name__", "") if schema is None else schema.name.split("::")[1]


def _supported(dtype: torch.dtype) -> torch.dtype:
    if dtype not in SIZES:
        raise Unsupported(f"numbers of {dtype}")
    return dtype


def _shape(value: Any) -> tuple[int, ...]:
    return tuple(value.shape) if isinstance(value, Array | Number | Expression) else ()


class _Kinds(fx.Interpreter):
    """Runs a graph once and keeps what each node was: a tensor, for its shape and dtype, or a list of them."""

    def __init__(self, graph: fx.GraphModule) -> None:
        super().__init__(graph, garbage_collect_values=False)
        self.of: dict[fx.Node, Any] = {}

    def tensors(self) -> list[Tensor]:
        return [value for value in self.of.values() if isinstance(value, Tensor)]

    def run_node(self, n: fx.Node) -> Any:
        self.of[n] = super().run_node(n)
        return self.of[n]
