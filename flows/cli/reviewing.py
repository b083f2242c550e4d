"""The commands of the loop with people: review, corrections."""

from pathlib import Path
from typing import Annotated

import typer

from tag2mask.tasks.catalog.formats import ReviewChoice, ReviewFormat

Root = Annotated[Path, typer.Option(help="Folder of the artifact store.")]
ROOT = Path("artifacts")


def register(app: typer.Typer) -> None:
    """Add the commands to the command line."""
    app.command()(review)
    app.command()(corrections)


def review(
    name: Annotated[str, typer.Argument(help="Name of the run.", show_default=False)],
    out: Annotated[Path, typer.Option(help="Folder to write; must not exist or be empty.", show_default=False)],
    count: Annotated[int, typer.Option(min=1, help="Images at most.")] = 40,
    form: Annotated[ReviewFormat, typer.Option("--format", help="What the masks are corrected with.")] = "folder",
    choose: Annotated[
        ReviewChoice,
        typer.Option(help="Which images; docs/corrections.md says what was worth more."),
    ] = "least-certain",
    root: Root = ROOT,
) -> None:
    """Write images to be corrected, their masks as pre-labels."""
    from tag2mask.flows.people.reviewing import review as write

    typer.echo(write(root, name, count, form, out, choose))


def corrections(
    folder: Annotated[
        Path, typer.Argument(metavar="DIR", help="Folder of `review`, with corrected/ filled.", show_default=False)
    ],
    into: Annotated[
        Path | None, typer.Option(help="Folder of corrections.  [default: dataset.corrections of the run]")
    ] = None,
    root: Root = ROOT,
) -> None:
    """Take corrected masks back: they stand for their images in every round from the next run on."""
    from tag2mask.flows.people.reviewing import take_corrections

    typer.echo(take_corrections(root, folder, into))
