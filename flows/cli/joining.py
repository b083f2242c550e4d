"""The command of the other machines: join."""

import os
from importlib.metadata import version
from pathlib import Path
from typing import Annotated

import typer

from tag2mask.configs.runtime import available_cores
from tag2mask.flows.termination import termination_interrupts


def show_version(asked: bool) -> None:
    """Say which release this is, which all machines of a store must share, and end."""
    if asked:
        typer.echo(f"tag2mask {version('tag2mask')}")
        raise typer.Exit


def register(app: typer.Typer) -> None:
    """Add the command to the command line."""
    app.command()(join)


def join(
    number: Annotated[int, typer.Option(min=1, help="Of this machine: 1, 2, …; the first is 0.")],
    root: Annotated[Path, typer.Option(help="Folder of the artifact store, under the path that the first one has.")] = (
        Path("artifacts")
    ),
    devices: Annotated[int, typer.Option(min=1, help="Processes here, a GPU each.")] = 1,
    cores: Annotated[int | None, typer.Option(min=1, help="Cores to use in all.  [default: those available]")] = None,
) -> None:
    """Take part in the trainings of `run --machines` on another machine, until this is stopped."""
    os.environ["OPENBLAS_NUM_THREADS"] = "1"  # as every stage has it
    from tag2mask.tasks.executors.machines import take_part

    missing = "" if root.is_dir() else ", which does not exist yet (it must be the first machine's store)"
    typer.echo(f"looks for trainings in {root}{missing}; Ctrl-C ends it")
    with termination_interrupts():
        for said in take_part(root, number, devices, cores or available_cores()):
            typer.echo(said)
