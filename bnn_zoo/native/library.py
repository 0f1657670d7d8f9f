"""C to a function of tensors: a shared library, kept in a folder of the user's under a name that its contents give."""

from __future__ import annotations

import ctypes
import hashlib
import os
import platform
import re
import shlex
import shutil
import subprocess
import tempfile
import threading
from collections.abc import Callable, Iterator, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from .lowering import Program
from .nests import Nest, joined
from .operations import PRELUDE
from .values import C_TYPES, SIZES, Buffer, Statement

LINE = 64
"""Bytes to which memory is aligned."""
PART = 100
"""Statements in one C function: a compiler's time grows faster than the length of what it compiles."""
LONG = 300
"""Statements from which a program is compiled in half of the time, to somewhat slower code."""
FLAGS = ("-fopenmp-simd", "-fno-math-errno", "-fno-trapping-math", "-std=gnu11", "-w", "-fPIC", "-shared")


def source(program: Program) -> tuple[str, int]:
    """The C of a program, ``int run(void *const *p, char *w)``, which gives 0 if all went well, and the bytes of w."""
    statements = joined(_needed(program), {a.buffer for a in program.outputs if a is not None})
    places, size = _placed(statements)

    def address(match: re.Match[str]) -> str:
        buffer = places[int(match[1])]
        if isinstance(buffer, Buffer):
            return f"p[{buffer.slot}]"
        offset, dtype = buffer
        return f"({C_TYPES[dtype]} *)(w + {offset})"

    texts = [re.sub(r"@(\d+)@", address, s.text) for s in statements]
    parts = ["\n".join(texts[i : i + PART]) for i in range(0, len(texts), PART)] or [""]
    alone = "static __attribute__((noinline)) int"
    functions = [f"{alone} part{n}(void *const *p, char *w) {{\n{part}\nreturn 0;\n}}" for n, part in enumerate(parts)]
    calls = " || ".join(f"part{n}(p, w)" for n in range(len(parts)))
    return "\n".join([PRELUDE, *functions, f"int run(void *const *p, char *w) {{ return {calls}; }}\n"]), size


def _needed(program: Program) -> list[Statement | Nest]:
    """Statements without those whose results nobody reads."""
    wanted = {a.buffer for a in program.outputs if a is not None}
    kept: list[Statement | Nest] = []
    for statement in reversed(program.statements):
        if statement.writes & wanted:
            wanted |= statement.reads
            kept.append(statement)
    return kept[::-1]


def _placed(statements: Sequence[Statement | Nest]) -> tuple[dict[int, Buffer | tuple[int, torch.dtype]], int]:
    """Where each buffer lies: itself if it is passed in, else its offset in the workspace, where memory is used again."""
    used = [sorted(s.reads | s.writes, key=lambda buffer: buffer.serial) for s in statements]
    last = {buffer: n for n, buffers in enumerate(used) for buffer in buffers}
    places: dict[int, Buffer | tuple[int, torch.dtype]] = {}
    free: dict[int, list[int]] = {}
    size = 0
    for n, buffers in enumerate(used):
        for buffer in buffers:
            room = -(-max(buffer.count * SIZES[buffer.dtype], 1) // LINE) * LINE
            if buffer.slot is not None:
                places[buffer.serial] = buffer
            elif buffer.serial not in places:
                offset = free[room].pop() if free.get(room) else size
                size = max(size, offset + room)
                places[buffer.serial] = offset, buffer.dtype
        for buffer in buffers:
            found = places[buffer.serial]
            if last[buffer] == n and isinstance(found, tuple):
                room = -(-max(buffer.count * SIZES[buffer.dtype], 1) // LINE) * LINE
                free.setdefault(room, []).append(found[0])
    return places, size


def load(text: str, optimise: Sequence[str], entry: str = "run") -> Any:
    """A function of this C, compiled if the cache has it not; None where there is no C compiler, or it fails.

    ``run`` takes microseconds; ``loop`` may take seconds, in which other threads of Python go on.
    """
    compiler = _compiler()
    if compiler is None:
        return None
    command = [*compiler, *optimise, *FLAGS]
    name = hashlib.sha256("\0".join([text, _machine(), *command]).encode()).hexdigest()[:32]
    for folder in _folders():
        path = folder / f"{name}.so"
        try:
            if not path.exists():
                folder.mkdir(parents=True, exist_ok=True, mode=0o700)
                if not _compile(command, text, path):
                    return None
            run = ctypes.PyDLL(str(path)).run if entry == "run" else ctypes.CDLL(str(path)).loop
        except OSError:  # a folder that cannot be written to, or that programs must not lie in
            continue
        numbers = () if entry == "run" else (ctypes.c_int64, ctypes.c_int64)
        run.argtypes, run.restype = (ctypes.c_void_p, ctypes.c_void_p, *numbers), ctypes.c_int
        return run
    return None


def _folders() -> Iterator[Path]:
    """Where libraries may lie: the user's cache, and a temporary folder."""
    home = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
    yield Path(home) / "bnn_zoo"
    yield _temporary()


@cache
def _temporary() -> Path:
    return Path(tempfile.mkdtemp(prefix="bnn_zoo-"))


@cache
def _compiler() -> tuple[str, ...] | None:
    """The C compiler's command: CC, or the first that is installed."""
    if platform.system() == "Windows":
        return None
    asked = shlex.split(os.environ.get("CC", ""))
    for command in ([asked] if asked else []) + [["gcc"], ["cc"], ["clang"]]:
        if found := shutil.which(command[0]):
            return (found, *command[1:])
    return None


@cache
def _machine() -> str:
    """What code for this very processor depends on."""
    about = [platform.machine(), platform.system(), platform.release()]
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        about += sorted({line for line in lines if line.startswith(("flags", "Features", "model name"))})
    except OSError:
        about.append(platform.processor())
    return "\n".join(about)


def _compile(command: Sequence[str], text: str, path: Path) -> bool:
    """Write, compile, then rename, so that two processes at once do not harm each other."""
    with tempfile.TemporaryDirectory(prefix="building-", dir=path.parent) as folder:
        c, made = Path(folder) / "graph.c", Path(folder) / "graph.so"
        c.write_text(text)
        for native in (["-march=native"], []):
            whole = [*command, *native, "-o", str(made), str(c), *(["-lmvec"] if _has_mvec() else []), "-lm"]
            done = subprocess.run(whole, capture_output=True, text=True, check=False)
            if done.returncode == 0:
                os.replace(made, path)
                return True
    return False


def _has_mvec() -> bool:
    return platform.system() == "Linux" and platform.machine() == "x86_64" and platform.libc_ver()[0] == "glibc"


class Native:
    """A compiled program as a function of its inputs: contiguous, of the shapes and dtypes that it was made for."""

    def __init__(self, program: Program, run: Any, size: int) -> None:
        self.run, self.size, self.constants = run, size, program.constants
        self.shapes = [(a.shape, a.dtype) for a in program.outputs if a is not None]
        self.own = threading.local()
        self.fixed = tuple(t.data_ptr() for t in self.constants)
        self.count = program.slots

    def __call__(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        try:
            pointers, workspace = self.own.memory
        except AttributeError:
            held = torch.empty(self.size + LINE, dtype=torch.uint8, device="cpu")
            workspace = -(-held.data_ptr() // LINE) * LINE
            pointers = (ctypes.c_void_p * self.count)()
            self.own.memory, self.own.held = (pointers, workspace), held
        outputs = tuple(torch.empty(shape, dtype=dtype, device="cpu") for shape, dtype in self.shapes)
        pointers[:] = (*[t.data_ptr() for t in inputs], *self.fixed, *[t.data_ptr() for t in outputs])
        if self.run(pointers, workspace):
            raise IndexError("an index of the model is out of the range of what it looks up in")
        return outputs


def compiled(program: Program) -> Callable[..., tuple[Tensor, ...]] | None:
    """The program as a function; None where no compiler works."""
    text, size = source(program)
    run = load(text, optimisation(program))
    return None if run is None else Native(program, run, size)


def optimisation(program: Program) -> tuple[str, ...]:
    """The compiler's options for a program of this length."""
    return ("-O1",) if len(program.statements) > LONG else ("-O2", "-ftree-vectorize")
