"""The bytes of a state: a tree as a file of safetensors, with all that is no tensor as JSON in its header, and a SHA-256."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from .._tree import put_together, take_apart

FORMAT = 1
"""Of run.json and of states; a new number for whatever this version could not read."""


class Damaged(ValueError):
    """A file that is not as it was written."""


def library() -> Any:
    """The package safetensors. Raises ImportError that says how to install it."""
    try:
        import safetensors.torch
    except ImportError as error:
        raise ImportError('runs that are kept need safetensors: pip install "bnn-zoo[runs]"') from error
    return safetensors


def packed(part: int, step: int, tree: Any) -> bytes:
    skeleton, tensors = take_apart(tree)
    whole = {name: t.detach().cpu().clone(memory_format=torch.contiguous_format) for name, t in tensors.items()}
    header = {"format": str(FORMAT), "part": str(part), "step": str(step), "tree": json.dumps(skeleton, allow_nan=False)}
    try:
        return library().torch.save(whole, header | {"sha256": _digest(header, whole)})
    except KeyError as error:
        raise TypeError(f"part {part}: this version of safetensors does not keep tensors of {error}") from error


def unpacked(path: Path, device: torch.device | str) -> Any:
    """The tree of a state. Raises Damaged, ValueError for another version's."""
    reader = library()
    try:
        with reader.safe_open(path, "pt") as file:
            header = file.metadata() or {}
            if header.get("format", "").isdigit() and int(header["format"]) > FORMAT:
                raise too_new(path, int(header["format"]))
            # copies: memory of a mapped file is aligned otherwise, which may change the last bit of a sum
            tensors = {name: file.get_tensor(name).clone() for name in file.keys()}  # noqa: SIM118, it is no dict
    except FileNotFoundError:
        raise
    except (reader.SafetensorError, OSError) as error:
        raise Damaged(f"{path} is cut off or no file of safetensors ({error})") from error
    digest = header.pop("sha256", None)
    if digest != _digest(header, tensors):
        raise Damaged(f"{path} is damaged, its SHA-256 differs")
    return put_together(json.loads(header["tree"]), tensors, device)


def outline(path: Path) -> Any:
    """What a state says beside its tensors (which are None), as plain data; None for a file that cannot be read. Its bytes
    are not verified."""
    reader = library()
    try:
        with reader.safe_open(path, "pt") as file:
            return _plainly(json.loads((file.metadata() or {})["tree"]))
    except (reader.SafetensorError, OSError, KeyError, ValueError):
        return None


def _plainly(skeleton: Any) -> Any:
    match skeleton:
        case list():
            return [_plainly(value) for value in skeleton]
        case {"dict": list(pairs)}:
            return {key: _plainly(value) for key, value in pairs}
        case {"node": str(), "fields": dict(fields)}:
            return {key: _plainly(value) for key, value in fields.items()}
        case {"tuple": list(items)}:
            return [_plainly(value) for value in items]
        case {"float": str(text)}:
            return float(text)
        case dict():
            return None
    return skeleton


def _digest(header: Mapping[str, str], tensors: Mapping[str, Tensor]) -> str:
    digest = hashlib.sha256(json.dumps(header, sort_keys=True).encode())
    for name in sorted(tensors):
        tensor = tensors[name]
        digest.update(repr((name, str(tensor.dtype), tuple(tensor.shape))).encode())
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy())
    return digest.hexdigest()


def readable(path: Path) -> bool:
    try:
        unpacked(path, "cpu")
    except (Damaged, FileNotFoundError):
        return False
    return True


def too_new(path: Path, version: int) -> ValueError:
    return ValueError(f"{path} has format {version}, and this version of bnn_zoo reads up to {FORMAT}: update bnn_zoo")
