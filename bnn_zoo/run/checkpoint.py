"""The folder of a run: ``run.json`` says what it is, ``state-<part>-<step>.safetensors`` where it stands.

A part is a group of chains in one process, which alone writes its states. A state is a file of safetensors: the tensors
of a tree, and the rest of it as JSON in the header. Nothing here is ever unpickled. A file is written under another name,
synced and renamed, and the one before it is kept, so a kill at any moment leaves a state that can be read.
"""

from __future__ import annotations

import hashlib
import json
import math
import re
import warnings
from collections.abc import Collection, Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from os import PathLike, fspath
from pathlib import Path
from typing import Any

import torch

from ._disk import told, write_whole
from ._lock import locked
from ._state import FORMAT, Damaged, library, packed, readable, too_new, unpacked

KEPT = 2
"""States of a part that are kept."""


@dataclass(frozen=True)
class Folder:
    """A run's folder, made by ``create`` or ``open``. ``about`` is what ``run.json`` says of the run."""

    path: Path
    about: dict[str, Any]

    @classmethod
    def create(cls, path: str | PathLike[str], about: Mapping[str, Any]) -> Folder:
        """A new folder, or an empty one. ``about`` is plain data: settings, fingerprints, versions.

        Raises FileExistsError and NotADirectoryError for a path with something else in it, other OSErrors where it cannot
        be written to, TypeError for an ``about`` that is no plain data.
        """
        path, plain = Path(fspath(path)).expanduser().absolute(), _plain(about, "about")
        library()
        if path.exists() and not path.is_dir():
            raise NotADirectoryError(f"{path} is a file: expected the name of a new folder for the run")
        if (path / "run.json").exists():
            raise FileExistsError(f"{path} holds a run already: open that one, or choose another folder")
        with told(path, "cannot be the folder of a run"):
            path.mkdir(parents=True, exist_ok=True)
            other = sorted(p.name for p in path.iterdir() if p.name != "lock" and p.suffix != ".tmp")
        if other:
            raise FileExistsError(f"{path} holds other things ({', '.join(other[:3])}): choose a new or an empty folder")
        with locked(path):
            if (path / "run.json").exists():  # made by another process since
                raise FileExistsError(f"{path} holds a run already: open that one, or choose another folder")
            write_whole(path / "run.json", json.dumps({"format": FORMAT, "about": plain}, indent=1).encode())
        return cls(path, plain)

    @classmethod
    def open(cls, path: str | PathLike[str]) -> Folder:
        """The folder of a run that was begun. Raises OSError where there is none, ValueError where it cannot be read."""
        path = Path(fspath(path)).expanduser().absolute()
        library()
        try:
            found = json.loads((path / "run.json").read_bytes())
        except (FileNotFoundError, NotADirectoryError):
            raise FileNotFoundError(f"{path} holds no run: expected a folder with run.json in it") from None
        except ValueError as error:  # no JSON, no text
            raise ValueError(f"{path / 'run.json'} is damaged, it is not JSON: {error}") from None
        match found:
            case {"format": int(version)} if version > FORMAT:
                raise too_new(path / "run.json", version)
            case {"format": int(), "about": dict(about)}:
                return cls(path, about)
        raise ValueError(f"{path / 'run.json'} is not what a run writes: expected format and about")

    def rewrite(self, about: Mapping[str, Any]) -> Folder:
        """The run is another from now on: one that goes on farther. Only with the lock."""
        plain = _plain(about, "about")
        write_whole(self.path / "run.json", json.dumps({"format": FORMAT, "about": plain}, indent=1).encode())
        return Folder(self.path, plain)

    def locked(self) -> AbstractContextManager[None]:
        """Inside, no other process may write: for the first process of a run, around all of it. Readers need no lock.

        Raises BlockingIOError that names the process which has it, PermissionError where the folder cannot be written to.
        """
        return locked(self.path)

    def need_same(self, about: Mapping[str, Any], tell: Collection[str] = ()) -> None:
        """Raise ValueError with each key that differs between this run and ``about``; of keys in ``tell`` warn only."""
        ours, given = dict(_flat(self.about)), dict(_flat(_plain(about, "about")))
        told: list[str] = []
        refused: list[str] = []
        for key in dict.fromkeys([*ours, *given]):
            old, new = (_said(d[key]) if key in d else "nothing" for d in (ours, given))
            if old != new:
                (told if key.split(".")[0] in tell or key in tell else refused).append(f"{key}: expected {old}, got {new}")
        if refused:
            raise ValueError(
                f"{self.path} holds a run of other settings, model or data:\n  "
                + "\n  ".join(refused)
                + "\nGive it what is "
                "expected, or begin another run in another folder"
            )
        if told:
            warnings.warn(f"{self.path}: the run was begun with others:\n  " + "\n  ".join(told), stacklevel=2)

    def write_state(self, part: int, step: int, tree: Any) -> None:
        """The state of a part after so many steps is on the disk at return, and so is the one before it.

        Older ones go, and those of later steps: they belong to a past that was given up. Raises OSError where it cannot be
        written (a full disk), and the states before are as they were; TypeError for what is no tree.
        """
        data = packed(part, step, tree)
        for path in self.path.glob(f"state-{part:04d}-*.tmp"):  # of a process that was killed
            path.unlink(missing_ok=True)
        write_whole(self.path / f"state-{part:04d}-{step:012d}.safetensors", data)
        files = self._files(part)
        keep = [at for at, _ in files if at <= step][:KEPT]
        for at, path in files:
            if at not in keep:
                path.unlink(missing_ok=True)

    def read_state(self, part: int, step: int | None = None, device: torch.device | str = "cpu") -> tuple[int, Any] | None:
        """``(step, tree)`` of the newest state that can be read, or of this ``step``; None where the part has written none.

        Damaged files are passed over with a warning. Raises ValueError where all are damaged, where ``step`` is not among
        them, and for a format that only later versions read.
        """
        files = [(at, path) for at, path in self._files(part) if step in (None, at)]
        damaged: list[str] = []
        for at, path in files:
            try:
                tree = unpacked(path, device)
            except FileNotFoundError:  # the run, which goes on, has replaced it by later ones
                return self.read_state(part, step, device)
            except Damaged as error:
                damaged.append(str(error))
                continue
            for text in damaged:
                warnings.warn(f"{text}; the state of step {at:,} is taken instead", stacklevel=2)
            return at, tree
        if step is None and not files:
            return None
        held = [at for at, _ in self._files(part)]
        why = "; ".join(damaged) or f"expected one of {held}, got {step}"
        raise ValueError(
            f"{self.path} has no readable state of part {part}{'' if step is None else f' at step {step}'}: {why}"
        )

    def states(self, part: int) -> list[int]:
        """The steps of the states of this part that can be read, the earliest first."""
        return [at for at, path in reversed(self._files(part)) if readable(path)]

    def parts(self) -> list[int]:
        """The parts that have states."""
        return sorted({part for part, _, _ in self._all()})

    def rewind(self, step: int) -> None:
        """Forget the states after this step, of all parts: the run goes on from there."""
        for _, at, path in self._all():
            if at > step:
                path.unlink(missing_ok=True)

    def _all(self) -> Iterator[tuple[int, int, Path]]:
        for path in self.path.iterdir():
            if found := re.fullmatch(r"state-(\d+)-(\d+)\.safetensors", path.name):
                yield int(found[1]), int(found[2]), path

    def _files(self, part: int) -> list[tuple[int, Path]]:
        """``(step, file)``, the newest first."""
        return sorted(((at, path) for number, at, path in self._all() if number == part), reverse=True)


def _plain(value: Any, where: str) -> Any:
    """As JSON would give it back; inf and nan as texts. Raises TypeError for what is no plain data."""
    if isinstance(value, Mapping) and all(isinstance(key, str) for key in value):
        return {key: _plain(inner, f"{where}.{key}") for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(inner, f"{where}.{i}") for i, inner in enumerate(value)]
    if value is None or isinstance(value, bool | int | str):
        return value
    if isinstance(value, float):
        return float(value) if math.isfinite(value) else repr(float(value))
    raise TypeError(f"{where}: expected None, bool, int, float, str, or lists and dicts (keys str) of them, got {value!r}")


def _flat(value: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """Each entry of dicts in dicts, its keys joined by dots."""
    if isinstance(value, dict) and (value or not path):
        for key, inner in value.items():
            yield from _flat(inner, f"{path}.{key}" if path else key)
    else:
        yield path, value


def _said(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 200 else f"{text[:160]}… ({hashlib.sha256(text.encode()).hexdigest()[:8]})"
