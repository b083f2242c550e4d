"""The command line.  What is heavy is imported by the command that needs it, so that `--help` answers at once."""

import os
import sys
from pathlib import Path
from typing import Annotated, Literal

import typer

from tag2mask.configs import runtime
from tag2mask.configs.errors import UserError
from tag2mask.configs.runtime import runtime_of
from tag2mask.configs.sections.saliency import Network
from tag2mask.flows.cli import joining, releases, reviewing, using
from tag2mask.flows.dag.errors import RunStopped
from tag2mask.flows.dag.record import KEPT_RUNS
from tag2mask.flows.termination import termination_interrupts

app = typer.Typer(
    name="tag2mask",
    help="Tags in, masks out: pixel labels and a segmentation network from image-level tags.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,  # square brackets and <id> are text
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 120},
)

Settings = Annotated[Path, typer.Argument(metavar="CONFIG", help="Settings file (YAML).", show_default=False)]
Changes = Annotated[
    list[str] | None, typer.Option("--set", metavar="SECTION.KEY=VALUE", help="Change a setting; may be repeated.")
]
Root = Annotated[Path, typer.Option(help="Folder of the artifact store.")]
Device = Annotated[runtime.Device, typer.Option(help="Where networks run; auto takes the GPU.")]
Precision = Annotated[
    runtime.Precision, typer.Option(help="Of trainings; auto takes bfloat16 where the device is faster with it.")
]
Cores = Annotated[int | None, typer.Option(min=1, help="Cores to use in all.  [default: those available]")]
Executor = Annotated[
    runtime.Executor, typer.Option(help="Who works on images: this process, processes, or Dask's workers.")
]
Dask = Annotated[
    str,
    typer.Option(metavar="ADDRESS", help="Of --executor dask: local, local:4, tls://host:8786.  [default: local]"),
]
Devices = Annotated[int, typer.Option(min=1, help="Processes that share a training's batches, a GPU each.")]
Machines = Annotated[
    str, typer.Option(metavar="N@ADDRESS", help="Machines that share trainings, and an address of this one.")
]
EngineName = Annotated[
    Literal["auto", "local", "prefect"],
    typer.Option(help="auto: Prefect where the store has a server, or PREFECT_API_URL names one; else this process."),
]
Force = Annotated[list[str] | None, typer.Option(metavar="STAGE", help="Build it even if it is there; repeatable.")]
RetrainWhen = Annotated[
    Literal["never", "when_changed", "always"],
    typer.Option(help="never: label new images with the models of the last run."),
]
ROOT = Path("artifacts")


@app.command()
def run(
    config: Settings,
    changes: Changes = None,
    only: Annotated[str | None, typer.Option(metavar="STAGE", help="Build this stage alone.")] = None,
    since: Annotated[str | None, typer.Option("--from", metavar="STAGE", help="Build from this stage on.")] = None,
    until: Annotated[str | None, typer.Option(metavar="STAGE", help="Build up to this stage.")] = None,
    force: Force = None,
    retrain: RetrainWhen = "when_changed",
    root: Root = ROOT,
    device: Device = "auto",
    precision: Precision = "auto",
    cores: Cores = None,
    executor: Executor = "here",
    dask: Dask = "",
    devices: Devices = 1,
    machines: Machines = "",
    engine: EngineName = "auto",
) -> None:
    """Run all stages that are not up to date."""
    from tag2mask.flows.engine.running import Selection
    from tag2mask.flows.run import Request, run

    selection = Selection(only, since, until, force or (), retrain)
    run(
        Request(
            config,
            changes or (),
            selection,
            runtime_of(root, device, precision, cores, executor, dask, devices, machines),
            engine,
        )
    )


@app.command()
def plan(
    config: Settings,
    changes: Changes = None,
    force: Force = None,
    retrain: RetrainWhen = "when_changed",
    root: Root = ROOT,
) -> None:
    """Say what a run would build, what is cached, and why, without running it."""
    from tag2mask.configs.load import load_config
    from tag2mask.flows.cli.listing import print_plan

    print_plan(load_config(config, changes or []), root, force or (), retrain)


@app.command("ls")
def list_artifacts(
    stage: Annotated[str | None, typer.Argument(help="Only this stage's.", show_default=False)] = None,
    root: Root = ROOT,
) -> None:
    """List the artifacts."""
    from tag2mask.flows.cli.listing import print_artifacts

    print_artifacts(root, stage)


@app.command()
def why(
    name: Annotated[str, typer.Argument(help="STAGE/KEY, or a stage or node of the last run.", show_default=False)],
    root: Root = ROOT,
) -> None:
    """Say what made an artifact: settings, inputs, versions, figures."""
    from tag2mask.flows.cli.listing import print_why

    print_why(root, name)


@app.command()
def verify(root: Root = ROOT) -> None:
    """Read every byte of every artifact again and name what is damaged."""
    from tag2mask.flows.cli.listing import print_faults

    if print_faults(root):
        raise typer.Exit(1)


@app.command()
def gc(
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would go.")] = False,
    keep: Annotated[int, typer.Option(min=1, help="Runs per name whose artifacts stay, at most 12.")] = KEPT_RUNS,
    root: Root = ROOT,
) -> None:
    """Delete artifacts that none of the newest runs refers to, and remains of damaged and abandoned ones."""
    from tag2mask.flows.cli.listing import collect

    collect(root, keep, dry_run)


@app.command()
def report(
    name: Annotated[str | None, typer.Argument(help="Name of the run.", show_default=False)] = None, root: Root = ROOT
) -> None:
    """Say where the newest report lies."""
    from tag2mask.flows.cli.listing import newest_report

    typer.echo(newest_report(root, name))


@app.command()
def init(
    folder: Annotated[Path, typer.Argument(help="Folder of images.", show_default=False)],
    out: Annotated[Path, typer.Option(help="Settings file to write.", show_default=False)],
    tags: Annotated[Path | None, typer.Option(help="File or folder of tags.  [default: looked for beside it]")] = None,
    tag_names: Annotated[
        Path | None, typer.Option(help="Names of the classes, where tags are numbers.  [default: beside the tags]")
    ] = None,
    masks: Annotated[Path | None, typer.Option(help="Ground-truth masks, to measure with.")] = None,
    saliency_images: Annotated[Path | None, typer.Option(help="Images to train saliency on.")] = None,
    saliency_masks: Annotated[Path | None, typer.Option(help="Their salient-object masks.")] = None,
    saliency_maps: Annotated[Path | None, typer.Option(help="Ready saliency maps <id>.png, instead.")] = None,
    weights: Annotated[
        str, typer.Option(help="ImageNet's. EfficientNet-Lite0: packaged or timm; MobileNetV2: torchvision or a file.")
    ] = "packaged",
) -> None:
    """Write a commented settings file that runs, for a folder of images and tags in any format that is known."""
    from tag2mask.flows.init import Sources, write_settings

    sources = Sources(folder, tags, tag_names, masks, saliency_images, saliency_masks, saliency_maps, weights)
    typer.echo(write_settings(sources, out))


@app.command()
def demo(
    root: Root = ROOT,
    changes: Changes = None,
    device: Device = "auto",
    precision: Precision = "auto",
    cores: Cores = None,
    executor: Executor = "here",
    dask: Dask = "",
    devices: Devices = 1,
    engine: EngineName = "auto",
) -> None:
    """Draw a small dataset, run everything on it, and say where the report is."""
    from tag2mask.flows.demo import demo_settings
    from tag2mask.flows.engine.running import Selection
    from tag2mask.flows.run import Request, run

    path, own = demo_settings(root)
    run(
        Request(
            path,
            [*own, *(changes or ())],
            Selection(),
            runtime_of(root, device, precision, cores, executor, dask, devices),
            engine,
        )
    )


@app.command()
def saliency(
    images: Annotated[Path, typer.Option(help="Folder of images.", show_default=False)],
    out: Annotated[Path, typer.Option(help="Folder to make: <id>.png and maps.csv.", show_default=False)],
    provider: Annotated[
        Literal[Network, "prior"] | None,
        typer.Option(help="`prior` needs no training.  [default: the model's, the settings', or reciprocal]"),
    ] = None,
    train_images: Annotated[Path | None, typer.Option(help="Images to train on.")] = None,
    train_masks: Annotated[Path | None, typer.Option(help="Their salient-object masks <id>.png.")] = None,
    about: Annotated[str | None, typer.Option(help="Which masks these are, in words, for the provenance.")] = None,
    shows_target_classes: Annotated[
        Literal["yes", "no", "unknown"] | None, typer.Option(help="Whether they show classes that you tag.")
    ] = None,
    model: Annotated[
        Path | None,
        typer.Option(help="Trained model, folder or KEY, to predict with; with --train-images to fine-tune."),
    ] = None,
    weights: Annotated[
        str | None, typer.Option(help="Where training starts: packaged (if not said), torchvision, timm, a file, none.")
    ] = None,
    settings: Annotated[Path | None, typer.Option(help="Settings file.  [default: the installed one]")] = None,
    changes: Changes = None,
    root: Root = ROOT,
    device: Device = "auto",
    precision: Precision = "auto",
    cores: Cores = None,
    executor: Executor = "here",
    dask: Dask = "",
    devices: Devices = 1,
    engine: EngineName = "auto",
) -> None:
    """Make saliency maps of any folder of images, without tags and without the rest."""
    from tag2mask.flows.saliency_maps import SaliencyRequest, make_saliency_maps

    request = SaliencyRequest(
        images,
        out,
        provider,
        settings,
        train_images,
        train_masks,
        about,
        shows_target_classes,
        model,
        weights,
        changes or (),
    )
    typer.echo(make_saliency_maps(request, runtime_of(root, device, precision, cores, executor, dask, devices), engine))


for commands in (releases, using, joining, reviewing):
    commands.register(app)


@app.callback()
def _common(
    debug: Annotated[bool, typer.Option("--debug", help="Show tracebacks and libraries' warnings.")] = False,
    version: Annotated[bool, typer.Option("--version", callback=joining.show_version, is_eager=True)] = False,
) -> None:
    if debug:
        os.environ["TAG2MASK_DEBUG"] = "1"


def main() -> None:
    """Run the command line; an error becomes one message on stderr and exit code 1, an interruption 130."""
    try:
        with termination_interrupts():
            app()
    except Exception as error:
        if os.environ.get("TAG2MASK_DEBUG"):
            raise
        unforeseen = f"{type(error).__name__}: {error} (`tag2mask --debug …` shows where)"
        typer.echo(f"tag2mask: {error if isinstance(error, UserError) else unforeseen}", err=True)
        sys.exit(130 if isinstance(error, RunStopped) else 1)


from tag2mask.flows.cli import serving as _serving  # noqa: E402, F401  its commands register themselves

if __name__ == "__main__":
    from tag2mask.flows.cli.main import main as installed  # the module whose commands are all there

    installed()
