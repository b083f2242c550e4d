"""The commands that use a trained network: predict, export-model."""

from pathlib import Path
from typing import Annotated

import typer

from tag2mask.configs import runtime
from tag2mask.configs.runtime import runtime_of
from tag2mask.tasks.catalog.formats import ModelFormat

ROOT = Path("artifacts")
Model = Annotated[
    str,
    typer.Argument(metavar="MODEL", help="A run's name, train_segmenter/KEY, or a model folder.", show_default=False),
]
Root = Annotated[Path, typer.Option(help="Folder of the artifact store.")]


def register(app: typer.Typer) -> None:
    """Add the commands to the command line."""
    app.command()(predict)
    app.command("export-model")(export_model)


def predict(
    model: Model,
    images: Annotated[
        list[str], typer.Argument(metavar="IMAGES...", help="Folders, files, or quoted patterns.", show_default=False)
    ],
    out: Annotated[Path, typer.Option(help="Folder to make, or to go on with.", show_default=False)],
    crf: Annotated[bool, typer.Option("--crf/--no-crf", help="Sharpen the masks by the dense CRF.")] = False,
    overlays: Annotated[
        bool, typer.Option("--overlays", help="Also images under the colors of their classes.")
    ] = False,
    probabilities: Annotated[
        bool, typer.Option("--probabilities", help="Also the classes' probabilities, as <id>.npz.")
    ] = False,
    changes: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="SECTION.KEY=VALUE", help="Change a setting of prediction or refinement."),
    ] = None,
    root: Root = ROOT,
    device: Annotated[runtime.Device, typer.Option(help="Where networks run; auto takes the GPU.")] = "auto",
    cores: Annotated[int | None, typer.Option(min=1, help="Cores to use in all.  [default: those available]")] = None,
) -> None:
    """Apply a trained segmenter to images: a mask each, and a table of what they show."""
    from tag2mask.flows.using.predict import PredictRequest
    from tag2mask.flows.using.predict import predict as make_masks

    request = PredictRequest(model, images, out, crf, overlays, probabilities, changes or ())
    typer.echo(make_masks(request, runtime_of(root, device, "auto", cores)))


def export_model(
    model: Model,
    form: Annotated[ModelFormat, typer.Option("--format", help="onnx needs the extra tag2mask[onnx].")] = "onnx",
    out: Annotated[Path | None, typer.Option(help="File to write.  [default: the model's name, here]")] = None,
    root: Root = ROOT,
) -> None:
    """Write a trained segmenter as one file that serves without tag2mask, held against the network first."""
    from tag2mask.flows.using.export_model import export_model as write_model

    typer.echo(write_model(model, form, out, root))
