"""A tree of tensors and numbers: what the state of a run is, and how it becomes plain JSON and named tensors and back.

Leaves are None, bool, int, float, str and tensors; branches are lists, tuples, dicts (keys str or int) and classes that were
registered by ``node``. In the skeleton, which is JSON, these stand for themselves: null, booleans, numbers, texts, lists.
An object has one tag: ``{"tensor": name}``, ``{"float": "inf"}``, ``{"tuple": [...]}``, ``{"dict": [[key, value], ...]}``,
``{"node": class, "fields": {...}}``. Nothing in it is ever evaluated, so a skeleton from a stranger makes data, no calls.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from typing import Any, TypeVar

import torch
from torch import Tensor

Class = TypeVar("Class", bound=type)

NODES: dict[str, Any] = {}
"""The registered classes by name."""


def node(cls: Class) -> Class:
    """Class decorator: instances of this NamedTuple or dataclass are branches of trees; the fields are what is kept.

    Raises TypeError for other classes, and for a second class under one name. A class that is defined anew (a cell of a
    notebook that runs again) takes the place of the old one.
    """
    if not (dataclasses.is_dataclass(cls) or _named_tuple(cls)):
        raise TypeError(f"expected a NamedTuple class or a dataclass (with @node above @dataclass), got {cls!r}")
    here, there = (f"{c.__module__}.{c.__qualname__}" for c in (cls, NODES.get(cls.__name__, cls)))
    if here != there:
        raise TypeError(f"two kinds of nodes are called {cls.__name__}: {there} and {here}; rename one of them")
    NODES[cls.__name__] = cls
    return cls


def take_apart(tree: Any) -> tuple[Any, dict[str, Tensor]]:
    """``(skeleton, {name: tensor})``: plain JSON data, and the tensors, named by where they stand: ``walk.metric.variance``.

    The tensors are those of the tree, not copies. Raises TypeError for what is none of the above, a tensor that requires
    a gradient or is not dense among them, and says where it stands.
    """
    tensors: dict[str, Tensor] = {}
    return _apart(tree, (), tensors), tensors


def put_together(skeleton: Any, tensors: Mapping[str, Tensor], device: torch.device | str = "cpu") -> Any:
    """The tree that ``take_apart`` took apart, with its tensors on ``device``.

    Dataclasses are filled field by field, without ``__init__`` or ``__post_init__``. Raises ValueError where the skeleton is
    not as described above, names a class that is not registered or has other fields, or has other tensors than those given.
    """
    left = dict(tensors)
    tree = _together(skeleton, left, device, ())
    if left:
        raise ValueError(f"the tree has no place for the tensors {sorted(left)}")
    return tree


def _apart(tree: Any, path: tuple[str, ...], tensors: dict[str, Tensor]) -> Any:
    kind = type(tree)
    if tree is None or kind in (bool, int, str):
        return tree
    if kind is float:
        return tree if math.isfinite(tree) else {"float": repr(tree)}
    if isinstance(tree, Tensor):
        return {"tensor": _name(tree, path, tensors)}
    if kind in (list, tuple):
        items = [_apart(value, (*path, str(i)), tensors) for i, value in enumerate(tree)]
        return items if kind is list else {"tuple": items}
    if kind is dict:
        return {"dict": [[_key(key, path), _apart(value, (*path, str(key)), tensors)] for key, value in tree.items()]}
    if NODES.get(kind.__name__) is kind:
        fields = {name: _apart(getattr(tree, name), (*path, name), tensors) for name in _fields(kind)}
        return {"node": kind.__name__, "fields": fields}
    raise TypeError(
        f"{_where(path)} is a {kind.__module__}.{kind.__qualname__}: expected None, a bool, int, float, str or tensor, a "
        "list, tuple or dict of them, or a class registered by bnn_zoo._tree.node"
    )


def _name(tensor: Tensor, path: tuple[str, ...], tensors: dict[str, Tensor]) -> str:
    """Keep the tensor under its path, or, where keys with dots make two paths look the same, with a dash behind it."""
    if tensor.requires_grad or tensor.layout != torch.strided or tensor.is_meta:
        raise TypeError(f"{_where(path)} requires a gradient or is not a dense tensor with values: detach or fill it first")
    name = ".".join(path) or "tree"
    while name in tensors or name == "__metadata__":  # which safetensors keeps for itself
        name += "'"
    tensors[name] = tensor
    return name


def _key(key: Any, path: tuple[str, ...]) -> str | int:
    if type(key) not in (str, int):
        raise TypeError(f"{_where(path)} has the key {key!r}: expected str or int")
    return key


def _together(skeleton: Any, left: dict[str, Tensor], device: torch.device | str, path: tuple[str, ...]) -> Any:
    def inner(value: Any, step: Any) -> Any:
        return _together(value, left, device, (*path, str(step)))

    match skeleton:
        case None | bool() | int() | float() | str():
            return skeleton
        case list():
            return [inner(value, i) for i, value in enumerate(skeleton)]
        case {"float": ("inf" | "-inf" | "nan") as text} if len(skeleton) == 1:
            return float(text)
        case {"tensor": str(name)} if len(skeleton) == 1:
            if name not in left:
                raise ValueError(f"{_where(path)}: the tensor {name!r} is missing, or is named twice")
            return left.pop(name).to(device)
        case {"tuple": list(items)} if len(skeleton) == 1:
            return tuple(inner(value, i) for i, value in enumerate(items))
        case {"dict": list(pairs)} if len(skeleton) == 1 and all(_pair(pair) for pair in pairs):
            return {key: inner(value, key) for key, value in pairs}
        case {"node": str(name), "fields": dict(fields)} if len(skeleton) == 2:
            return _make(name, {key: inner(value, key) for key, value in fields.items()}, path)
    raise ValueError(f"{_where(path)}: expected a part of a tree's skeleton, got {_short(skeleton)}")


def _pair(pair: Any) -> bool:
    return isinstance(pair, list) and len(pair) == 2 and type(pair[0]) in (str, int)


def _make(name: str, fields: dict[str, Any], path: tuple[str, ...]) -> Any:
    cls = NODES.get(name)
    if cls is None:
        raise ValueError(
            f"{_where(path)}: no class {name!r} is registered. The tree was written by another version of bnn_zoo, or by a "
            "package that was not imported here: import it first"
        )
    if fields.keys() != set(_fields(cls)):
        raise ValueError(f"{_where(path)}: {name} has the fields {sorted(_fields(cls))}, got {sorted(fields)}")
    if _named_tuple(cls):
        return cls._make(fields[field] for field in _fields(cls))
    made = object.__new__(cls)
    for field, value in fields.items():
        object.__setattr__(made, field, value)  # frozen ones too
    return made


def _named_tuple(cls: Any) -> bool:
    return issubclass(cls, tuple) and "_fields" in dir(cls)


def _fields(cls: Any) -> tuple[str, ...]:
    return cls._fields if _named_tuple(cls) else tuple(field.name for field in dataclasses.fields(cls))


def _where(path: tuple[str, ...]) -> str:
    return ".".join(path) or "the tree itself"


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) < 100 else f"{text[:100]}…"
