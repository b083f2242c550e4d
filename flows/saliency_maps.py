"""Saliency maps for a folder of photographs, without tags and without the rest of the pipeline.

It is the DAG of a configuration without tags: the training is cached and resumed like any other, and only photographs
that are new are predicted.  The maps are then copied out of the store.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tag2mask.configs.load import ConfigError, load_config
from tag2mask.configs.runtime import Runtime
from tag2mask.flows.beginning import packaged
from tag2mask.flows.dag import build_dag
from tag2mask.flows.engines import Engine, Request, carry_out
from tag2mask.flows.record import latest
from tag2mask.flows.running import Selection
from tag2mask.tasks.common.saliency_folder import check_free, write_saliency_folder

WITHOUT_TRAINING = ("prior", "folder")
"""Providers that learn nothing."""
LISTED = 10
"""Photographs without anything salient that are named."""


@dataclass(frozen=True)
class SaliencyRequest:
    """Maps as they are asked for on the command line."""

    images: Path
    """Folder of photographs."""
    out: Path
    """Folder to make."""
    provider: str
    """`saliency.provider`."""
    settings: Path | None = None
    """Settings file; None: the one that is installed, whose networks are sized for two cores."""
    train_images: Path | None = None
    train_masks: Path | None = None
    """Photographs and masks of salient objects to train on."""
    model: Path | None = None
    """A trained model folder, instead of training."""
    weights: str | None = None
    """Weights of the backbone; None: as the settings say."""
    changes: Sequence[str] = ()

    def all_changes(self) -> list[str]:
        """The whole request as changes to the settings.

        Raises:
            ConfigError: a folder is missing, or one of a pair.
        """
        if (self.train_images is None) != (self.train_masks is None):
            raise ConfigError("--train-images and --train-masks belong together; give both")
        if not self.images.is_dir():
            raise ConfigError(f"{self.images}: no such folder; give the folder of the photographs with --images")
        if not (self.provider in WITHOUT_TRAINING or self.model or self.train_images or self.settings):
            raise ConfigError(
                f"provider {self.provider!r} must learn first: give --train-images and --train-masks, or a trained "
                "--model; or take --provider prior, which needs neither"
            )
        values: dict[str, object] = {
            "dataset.root": str(self.images.absolute().parent),
            "dataset.images": self.images.absolute().name,
            "dataset.tags": None,
            "dataset.masks": None,
            "dataset.train_split": None,
            "dataset.val_split": None,
            "saliency.provider": self.provider,
        }
        if self.train_images is not None and self.train_masks is not None:
            values["saliency_set.root"] = "/"
            values["saliency_set.images"] = str(self.train_images.absolute())
            values["saliency_set.masks"] = str(self.train_masks.absolute())
        if self.model is not None:
            values["saliency.checkpoint"] = str(self.model.absolute())
        if self.weights is not None:
            known = self.weights in ("none", "torchvision")
            values["saliency.backbone.weights"] = self.weights if known else str(Path(self.weights).absolute())
        return [*(f"{name}={json.dumps(value)}" for name, value in values.items()), *self.changes]


def make_saliency_maps(request: SaliencyRequest, runtime: Runtime, engine: Engine) -> str:
    """Train if need be, predict, and copy the maps to the folder asked for.

    Returns:
        What was made, to be shown: how many maps, and the photographs in which nothing is salient.

    Raises:
        ConfigError: the settings are wrong.
        FolderInTheWay: the folder exists and is not empty; found out before anything is trained.
        RunFailed: a stage failed.
        RunStopped: Ctrl-C or SIGTERM.
    """
    check_free(request.out)
    path, changes = request.settings or packaged("saliency.yaml"), request.all_changes()
    config = load_config(path, changes)
    carry_out(Request(path, changes, Selection(), runtime, engine))
    record = latest(runtime.root, config.name)
    assert record is not None  # written by the run that just ended
    maps = next(node.name for node in reversed(build_dag(config)) if node.stage.startswith("predict_"))
    rows = write_saliency_folder(runtime.root / record.labels[maps], request.out)
    nothing = [row.image_id for row in rows if row.nothing_salient]
    told = f"{len(rows)} maps in {request.out}, with maps.csv"
    if nothing:
        more = f" and {len(nothing) - LISTED} more" if len(nothing) > LISTED else ""
        told += f"\nnothing salient in {len(nothing)}: {', '.join(nothing[:LISTED])}{more}"
    return told
