"""Masks for images that belong to no dataset, by a trained segmenter.

It is no run: nothing enters the store, since nobody builds on it.  What was done stays in the folder that is asked for.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tag2mask.configs.load import ConfigError
from tag2mask.configs.runtime import Runtime
from tag2mask.flows.dag.errors import RunStopped
from tag2mask.flows.engine.console import counted, standard_output
from tag2mask.flows.engine.stage_process import prepare_torch
from tag2mask.flows.using.trained_models import NamedModel, named_segmenter
from tag2mask.tasks.executors.processes import loading_environment
from tag2mask.tasks.prediction.image_files import NoImages, images_named
from tag2mask.tasks.prediction.request import MODEL, MODEL_DIGEST, open_folder
from tag2mask.tasks.store.digests import file_digest
from tag2mask.tasks.store.runtime import StageRuntime

if TYPE_CHECKING:
    from tag2mask.tasks.prediction.trained_segmenter import TrainedSegmenter

JOURNAL_SECONDS = 5.0
"""Shortest time between two journal entries: a kill costs no more, and forcing masks to the disk next to nothing."""
NAMED = 10
"""Images set aside that are named."""


@dataclass(frozen=True)
class PredictRequest:
    """Masks as they are asked for on the command line."""

    model: str
    """A run's name, `train_segmenter/KEY`, or a model folder."""
    images: Sequence[str]
    """Folders, files, patterns."""
    out: Path
    """Folder to make, or to go on with."""
    crf: bool = False
    """Sharpen the masks by the dense CRF."""
    overlays: bool = False
    probabilities: bool = False
    changes: Sequence[str] = ()
    """`prediction.key=value`, `refinement.key=value`."""


def predict(request: PredictRequest, runtime: Runtime) -> str:
    """Predict the images that are not done yet.

    Returns:
        What was made, to be shown.

    Raises:
        NoSuchModel, WeightsError, DamagedArtifact: the model is not there or cannot be used.
        NoImages: there is nothing to predict, or none of the images could be read.
        ConfigError: a setting is wrong.
        OtherRequest, FolderInTheWay: the folder holds something else.
        RunStopped: Ctrl-C; finished masks stay, and the same command goes on.
    """
    _refuse_unread(request.changes, request.crf)
    model = named_segmenter(request.model, runtime.root)
    prediction, refinement = model.settings(request.changes)
    images = images_named(request.images)
    identity = _identity(model, request, prediction.model_dump(mode="json"), refinement.model_dump(mode="json"))
    open_folder(request.out, identity)
    with loading_environment():  # torch reads it when it is loaded
        device = prepare_torch(runtime.device, runtime.cores)
    from tag2mask.tasks.prediction.predicted_folder import Extras, predict_folder
    from tag2mask.tasks.prediction.trained_segmenter import TrainedSegmenter

    segmenter = TrainedSegmenter.load(
        model.folder, device=device, prediction=prediction, refinement=refinement if request.crf else None
    )
    extras = Extras(request.overlays, request.probabilities)
    try:
        with counted(standard_output(), "predict") as report:
            resources = StageRuntime(
                device=device,
                threads=runtime.cores,
                workers=runtime.cores,
                shard=runtime.shard,
                journal_seconds=JOURNAL_SECONDS,
                report=report,
            )
            made = predict_folder(segmenter, images, request.out, identity, extras, resources)
    except KeyboardInterrupt as error:
        raise RunStopped(f"stopped; finished masks stay in {request.out}, and the same command goes on") from error
    said = "\n".join(_summary(request, model, made.masks, made.set_aside))
    if not made.masks:
        raise NoImages(f"nothing was predicted:\n{said}")
    return said


def load_model(
    model: str | Path,
    *,
    root: Path | str = "artifacts",
    device: str = "cpu",
    crf: bool = False,
    changes: Sequence[str] = (),
) -> "TrainedSegmenter":
    """Load a trained segmenter, to predict single images.

    Args:
        model: a model folder, `train_segmenter/KEY`, or the name of a run, whose settings it is then applied with.
        root: folder of the store.
        device: `cpu` or `cuda`.
        crf: sharpen the masks by the dense CRF.
        changes: `prediction.key=value`, `refinement.key=value`, as behind `--set`.

    Raises:
        NoSuchModel, NoSuchArtifact, NoStore: it is not there.
        WeightsError, DamagedArtifact: it cannot be used.
        ConfigError: a change is wrong.
    """
    from tag2mask.tasks.prediction.trained_segmenter import TrainedSegmenter

    _refuse_unread(changes, crf)
    found = named_segmenter(str(model), Path(root))
    prediction, refinement = found.settings(changes)
    return TrainedSegmenter.load(
        found.folder, device=device, prediction=prediction, refinement=refinement if crf else None
    )


def _refuse_unread(changes: Sequence[str], crf: bool) -> None:
    """Refuse changes of settings that would be without effect.

    Raises:
        ConfigError: they are of a CRF that is not asked for, or of tags, which new images have none of.
    """
    for change in changes:
        if change.startswith("refinement") and not crf:
            raise ConfigError(f"--set {change}: is read with --crf alone (crf=True)")
        if change.startswith("prediction.filter_by_tags"):
            raise ConfigError(f"--set {change}: would not be read here; new images have no tags")


def _identity(
    model: NamedModel, request: PredictRequest, prediction: dict[str, Any], crf: dict[str, Any]
) -> dict[str, Any]:
    """What decides the predictions, by which a folder is gone on with or refused."""
    del prediction["batch_size"], prediction["filter_by_tags"]  # change nothing here
    return {
        MODEL: model.title,
        MODEL_DIGEST: file_digest(model.folder / "model.pt"),
        "prediction": prediction,
        "crf": crf if request.crf else None,
        "overlays": request.overlays,
        "probabilities": request.probabilities,
    }


def _summary(request: PredictRequest, model: NamedModel, masks: int, set_aside: dict[str, str]) -> list[str]:
    how = "with" if request.crf else "without"
    lines = [
        f"{masks} masks of {model.title}, {how} CRF, in {request.out / 'masks'}; predictions.csv says what they show"
    ]
    if set_aside:
        lines.append(f"{len(set_aside)} images are set aside: {request.out / 'set_aside.csv'}")
        lines += [f"  {file}: {reason}" for file, reason in sorted(set_aside.items())[:NAMED]]
    return lines
