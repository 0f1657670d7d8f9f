"""The command line: ``bnn-zoo compare``, ``list``, ``show`` and ``status``."""

from __future__ import annotations

import os
import shlex
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, NoReturn

import pandas as pd
import torch
import typer

from . import __version__, comparison, showing
from ._ranks import here
from .catalogue import KINDS, find, nearest
from .comparison_report import legend
from .data import EMBEDDED, Table, choose_device, table
from .run import status
from .types import Backend

app = typer.Typer(
    help="Bayesian neural networks on Pyro: any network, any backend, ArviZ out.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)


@app.callback()
def main() -> None:
    """Bayesian neural networks on Pyro: any network, any backend, ArviZ out."""


COMPARE = """Sample one Bayesian neural network with several backends and compare them.

One hidden layer of 50 tanh units, weights N(0, 1/fan-in), or a published network with --model, on a train/test split of real
data.

Says how the file was read, prints one table, and writes <backend>.nc (ArviZ InferenceData), the table, pictures and
report.html, a page with all of it and with what to doubt, to OUT.

Ctrl-C stops it; what is written stays. With --checkpoint the same command goes on where it was stopped."""


@app.command(help=COMPARE)
def compare(
    context: typer.Context,
    data: Annotated[str, typer.Option(help=f"{', '.join(EMBEDDED)}, or an .npz with X and y, or a .csv")] = "diabetes",
    target: Annotated[str | None, typer.Option(help="the target's column in a .csv")] = None,
    task: Annotated[str | None, typer.Option(help="regression or classification, where the target does not say it")] = None,
    missing: Annotated[
        list[str] | None, typer.Option(help="what means missing in a .csv, such as '?'; such rows are left out; repeatable")
    ] = None,
    drop: Annotated[list[str] | None, typer.Option(help="a column of a .csv to leave out; repeatable")] = None,
    separator: Annotated[str | None, typer.Option(help="what parts the fields of a .csv; by default found")] = None,
    decimal: Annotated[str | None, typer.Option(help="'.' or ',' in the numbers of a .csv; by default found")] = None,
    split: Annotated[int, typer.Option(help="which train_<k>/test_<k> of an .npz that has them")] = 0,
    backends: Annotated[str, typer.Option(help="which, comma-separated, or all: see bnn-zoo list backends")] = ",".join(
        comparison.USUAL
    ),
    model: Annotated[
        str | None, typer.Option(help="a published network that fits the data, such as sommer_regression: see bnn-zoo list")
    ] = None,
    chains: Annotated[int, typer.Option(min=1, help="of each backend; at most 2 of MeanField, where they are restarts")] = 4,
    draws: Annotated[int, typer.Option(min=25, help="kept draws of each chain")] = 300,
    seed: Annotated[int, typer.Option(help="of the split and of every backend; 0 … 2**64 − 1")] = 0,
    device: Annotated[str | None, typer.Option(help="cpu, cuda, cuda:1, …; by default cpu")] = None,
    out: Annotated[Path, typer.Option(help="folder to make for the report, table, pictures and .nc files")] = Path(
        "bnn-zoo-compare"
    ),
    checkpoint: Annotated[
        Path | None, typer.Option(help="folder in which runs are kept: the same command goes on where it was stopped")
    ] = None,
    progress: Annotated[bool, typer.Option(help="progress bars")] = True,
) -> None:
    """Sample one Bayesian neural network with several backends and compare them."""
    names = list(comparison.BACKENDS) if backends == "all" else [n.strip() for n in backends.split(",") if n.strip()]
    unknown = [name for name in names if name not in comparison.BACKENDS]
    if unknown or not names:
        near = nearest(unknown, comparison.BACKENDS)
        choose = f"{near} Choose" if near else ": choose"
        _stop(f"unknown backends {', '.join(unknown) or '(none given)'}{choose} from {', '.join(comparison.BACKENDS)}")
    if not 0 <= seed < 2**64:
        _stop(f"expected a seed from 0 to 2**64 − 1, got {seed}")
    out = Path(os.path.expanduser(out))
    kept = None if checkpoint is None else Path(os.path.expanduser(checkpoint))
    first = here().rank == 0
    if first and os.path.lexists(out) and kept is None:
        _stop(f"{out} exists: remove it, or choose another folder with --out")
    try:
        choose_device(device)
        words: dict[str, Any] = {"missing": missing or (), "drop": drop or (), "decimal": decimal}
        between = separator.replace("\\t", "\t") if separator else separator
        made = table(data, target=target, task=task, separator=between, split=split, seed=seed, **words)  # type: ignore[arg-type]
        chosen = comparison.published(model, made) if model else None
    except (ValueError, RuntimeError, OSError, KeyError) as error:
        _stop(str(error.args[0] if isinstance(error, KeyError) else error))
    settings = {name: comparison.BACKENDS[name](chains, draws, len(made.x)) for name in names}
    options: dict[str, Any] = {"model": chosen, "seed": seed, "device": device, "progress": progress, "checkpoint": kept}
    frame = _run(made, settings, out, command=_command(context), **options)
    if not first:
        return
    typer.echo("\n" + comparison.markdown(frame))
    typer.echo("\n" + legend(made))
    typer.echo(f"\nWritten to {out}/: " + _contents(out))


def _run(made: Table, settings: Mapping[str, Backend], out: Path, **options: Any) -> pd.DataFrame:
    """The comparison; what ends it early is said in one line. Exit codes: 1 no backend finished, 2 files, 130 Ctrl-C."""
    try:
        with warnings.catch_warnings():
            warnings.showwarning = _say_warning
            return comparison.run(made, settings, out, say=typer.echo, **options)
    except KeyboardInterrupt as error:
        kept = f"kept in {out}/: {_contents(out)}" if out.exists() else "nothing was done yet, so nothing is kept"
        _stop(f"stopped by Ctrl-C{f': {error}' if str(error) else ''}; {kept}", 130)
    except comparison.NothingFinished as error:
        _stop(str(error), 1)
    except OSError as error:
        _stop(f"cannot write to {out}: {error.strerror or error}")


def _contents(out: Path) -> str:
    return ", ".join(sorted(path.name for path in out.iterdir()))


def _command(context: typer.Context) -> str:
    """The command line, with what was given and not what was left at its default."""
    words = ["bnn-zoo", str(context.info_name)]
    for parameter in context.command.params:
        name, value = str(parameter.name), context.params.get(str(parameter.name))
        source = context.get_parameter_source(name)
        if source is None or source.name != "COMMANDLINE":
            continue
        option = parameter.opts[0] if value is not False else parameter.secondary_opts[0]
        for each in value if isinstance(value, list | tuple) else [value]:
            words += [option] if isinstance(each, bool) else [option, str(each)]
    return shlex.join(words)


@app.command("list")
def zoo(
    kind: Annotated[
        str | None, typer.Argument(help=f"one of: {', '.join(KINDS)}; by default all", show_default=False)
    ] = None,
) -> None:
    """What is in the zoo: networks, priors, likelihoods, backends and their parts."""
    kinds = tuple(k for k, (package, _) in KINDS.items() if kind in (None, k, f"{k}s", package))
    if not kinds:
        _stop(f"the zoo has no kind {kind!r}: choose from {', '.join(KINDS)}")
    typer.echo(showing.overview(kinds))
    if kind is None:
        typer.echo(f"\nData for --data: {', '.join(EMBEDDED)}, or a file of yours.")


@app.command()
def show(
    name: Annotated[str, typer.Argument(help="a member, such as NUTS or priors.Laplace; see bnn-zoo list")],
    data: Annotated[str | None, typer.Option(help=f"{', '.join(EMBEDDED)}, or a file: what it costs there")] = None,
    target: Annotated[str | None, typer.Option(help="the target's column in a .csv")] = None,
) -> None:
    """One member of the zoo: what it is, its settings, where it comes from; with --data what a gradient costs there."""
    try:
        found = find(name)
        made = table(data, target=target) if data else None
    except (ValueError, RuntimeError, OSError, KeyError) as error:
        _stop(str(error.args[0] if isinstance(error, KeyError) else error))
    typer.echo("\n\n".join(map(showing.member, found)))
    if made is not None:
        try:
            model = comparison.published(found[0].name, made) if found[0].kind == "published" else comparison.network(made)
        except ValueError as error:
            _stop(str(error))
        typer.echo(f"\nOn {made.name}\n" + showing.on_data(model, (made.x, made.y)))


@app.command("status")
def run_status(folder: Annotated[Path, typer.Argument(help="of a run: what was given to fit as checkpoint=")]) -> None:
    """Where a run that is kept in a folder stands: steps, draws, cost, and whether somebody writes there now."""
    try:
        typer.echo(status(folder))
    except (OSError, ValueError) as error:
        _stop(str(error))


@app.command()
def version() -> None:
    """Versions of bnn-zoo and torch."""
    typer.echo(f"bnn-zoo {__version__}, torch {torch.__version__}")


def _say_warning(message: Warning | str, *_: object, **__: object) -> None:
    typer.secho(f"warning: {message}", fg=typer.colors.YELLOW, err=True)


def _stop(message: str, code: int = 2) -> NoReturn:
    typer.secho(f"error: {message}", fg=typer.colors.RED, err=True)
    raise typer.Exit(code)
