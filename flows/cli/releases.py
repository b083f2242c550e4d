"""The commands about releases, and exporting them: publish, releases, latest, diff, export, submission."""

from pathlib import Path
from typing import Annotated

import typer

from tag2mask.tasks.catalog.formats import ReleaseFormat, ReleaseImages

Root = Annotated[Path, typer.Option(help="Folder of the artifact store.")]
ROOT = Path("artifacts")


def register(app: typer.Typer) -> None:
    """Add the commands to the command line."""
    app.command()(publish)
    app.command()(releases)
    app.command()(latest)
    app.command()(diff)
    app.command()(export)
    app.command()(submission)


def publish(
    config: Annotated[Path, typer.Argument(metavar="CONFIG", help="Settings file (YAML).", show_default=False)],
    changes: Annotated[
        list[str] | None, typer.Option("--set", metavar="SECTION.KEY=VALUE", help="Change a setting; may be repeated.")
    ] = None,
    force_release: Annotated[
        str | None, typer.Option(metavar="REASON", help="Release it whatever the gate says; the reason is kept.")
    ] = None,
    root: Root = ROOT,
) -> None:
    """Bring the labels of a finished run to the gate: a numbered release, or a candidate."""
    from tag2mask.configs.load import load_config
    from tag2mask.flows.cli.release_listing import print_publication
    from tag2mask.flows.engine.publishing import publish_finished

    publication = publish_finished(load_config(config, changes or []), root, forced=force_release)
    print_publication(publication)
    if publication.state == "candidate":
        raise typer.Exit(1)


def releases(
    name: Annotated[str | None, typer.Argument(help="Name of the run.", show_default=False)] = None,
    root: Root = ROOT,
) -> None:
    """List the releases; of one name also the candidates, with their signals."""
    from tag2mask.flows.cli.release_listing import print_releases

    print_releases(root, name)


def latest(
    name: Annotated[str, typer.Argument(help="Name of the run.", show_default=False)],
    number: Annotated[int | None, typer.Argument(help="Release to move latest to.", show_default=False)] = None,
    root: Root = ROOT,
) -> None:
    """Say which release is the one to use, or move it, also back."""
    from tag2mask.flows.cli.release_listing import move_latest

    typer.echo(move_latest(root, name, number))


def diff(
    before: Annotated[str, typer.Argument(metavar="A", help="name@3, name@latest, STAGE/KEY, or a folder of PNGs.")],
    after: Annotated[str, typer.Argument(metavar="B", help="The same; a bare number takes the other's name.")],
    out: Annotated[Path | None, typer.Option(help="Folder for page and tables.  [default: diff-A-B]")] = None,
    threshold: Annotated[
        float, typer.Option(min=0, max=1, help="Share of changed pixels from which an image counts.")
    ] = 0.05,
    pictures: Annotated[int, typer.Option(min=0, help="Images shown on the page at most.")] = 40,
    root: Root = ROOT,
) -> None:
    """Compare two label sets: which images changed, by how much, and in pictures."""
    from tag2mask.flows.cli.release_listing import write_diff

    write_diff(root, before, after, out, threshold, pictures)


def export(
    release: Annotated[str, typer.Argument(help="name@3, name@latest, or name.", show_default=False)],
    out: Annotated[Path, typer.Option(help="Folder to write; must not exist or be empty.", show_default=False)],
    form: Annotated[
        ReleaseFormat,
        typer.Option("--format", help="What to write."),
    ] = "voc",
    images: Annotated[ReleaseImages, typer.Option(help="Copy the images, hard-link them, or leave them out.")] = "copy",
    root: Root = ROOT,
) -> None:
    """Write a release for other programs, and say what the format cannot hold."""
    from tag2mask.flows.cli.release_listing import export_release

    typer.echo(export_release(root, release, out, form, images))


def submission(
    config: Annotated[Path, typer.Argument(metavar="CONFIG", help="Settings file (YAML).", show_default=False)],
    out: Annotated[Path, typer.Option(help="Folder to write; must not exist or be empty.", show_default=False)],
    changes: Annotated[
        list[str] | None, typer.Option("--set", metavar="SECTION.KEY=VALUE", help="Change a setting; may be repeated.")
    ] = None,
    root: Root = ROOT,
) -> None:
    """Write the predictions of dataset.test_split as VOC's evaluation server takes them."""
    from tag2mask.configs.load import load_config
    from tag2mask.flows.cli.release_listing import write_test_predictions

    typer.echo(write_test_predictions(load_config(config, changes or []), root, out))
