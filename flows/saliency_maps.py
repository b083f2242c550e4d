"""Saliency maps for a folder of images, without tags and without the rest of the pipeline.

It is the DAG of a configuration without tags: the training is cached and resumed like any other, and only images
that are new are predicted.  The maps are then copied out of the store.

A model alone predicts; a model beside images with masks is where their training starts: a fine-tuning.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tag2mask.configs.home_folder import expanded
from tag2mask.configs.load import ConfigError, load_config
from tag2mask.configs.runtime import Runtime
from tag2mask.configs.schema import Config
from tag2mask.configs.sections.saliency import FINE_TUNING
from tag2mask.configs.strict_yaml import yaml_value
from tag2mask.flows.dag.build import build_dag
from tag2mask.flows.dag.delivery import DATASET, SALIENCY_TRAINING
from tag2mask.flows.dag.errors import RunFailed
from tag2mask.flows.dag.planning import plan
from tag2mask.flows.engine.running import Selection
from tag2mask.flows.init import backbone_for, packaged
from tag2mask.flows.run import Engine, Request, run
from tag2mask.tasks.catalog import CATALOG
from tag2mask.tasks.dataset.images import unread_files
from tag2mask.tasks.dataset.saliency_folder import write_saliency_folder
from tag2mask.tasks.dataset.whole_folder import check_free
from tag2mask.tasks.networks.model_folder import architecture_of_start, saliency_settings
from tag2mask.tasks.store.artifact import Artifact
from tag2mask.tasks.store.store import Store

WITHOUT_TRAINING = ("prior", "folder")
"""Providers that learn nothing."""
WITHOUT_TAGS: dict[str, object] = {
    "dataset.tags": None,
    "dataset.tags_format": "auto",
    "dataset.tag_names": None,
    "dataset.masks": None,
    "dataset.train_split": None,
    "dataset.val_split": None,
    "dataset.test_split": None,
    "dataset.corrections": None,
    "cosaliency.provider": "none",
    "cosaliency.training_set": None,
    "mining.class_conditional": False,
    "deliver": "last",
}
"""Settings that ask for tags or for the rest of the pipeline -> the value without them."""
LISTED = 10
"""Images without anything salient that are named."""


@dataclass(frozen=True)
class SaliencyRequest:
    """Maps as they are asked for on the command line."""

    images: Path
    """Folder of images."""
    out: Path
    """Folder to make."""
    provider: str | None = None
    """`saliency.provider`; None: that of the model, else of the settings file, else `reciprocal`."""
    settings: Path | None = None
    """Settings file; None: the one that is installed, whose networks are sized for two cores."""
    train_images: Path | None = None
    train_masks: Path | None = None
    """Images and masks of salient objects to train on."""
    about: str | None = None
    """Which masks these are, in words."""
    shows_target_classes: str | None = None
    """Whether they show target classes: `yes`, `no` or `unknown`."""
    model: Path | None = None
    """A trained model: its folder, or its name in the store (`KEY`, `train_saliency/KEY`).  Without images to
    train on it predicts; with them the training starts from it."""
    weights: str | None = None
    """Weights of the backbone: `none`, or as for `init`; None: as the settings say."""
    changes: Sequence[str] = ()

    def all_changes(self, root: Path) -> list[str]:
        """The whole request as changes to the settings.

        Args:
            root: folder of the store, where a model may be.

        Raises:
            ConfigError: a folder is missing, or one of a pair.
            WeightsError: the model is none of saliency.
        """
        self._check()
        model = None if self.model is None else model_folder(self.model, root)
        values: dict[str, object] = {
            "dataset.root": str(self.images.absolute().parent),
            "dataset.images": self.images.absolute().name,
            **WITHOUT_TAGS,
            **self._not_read(),
        }
        if self.provider is not None or self.settings is None:
            values["saliency.provider"] = self.provider or "reciprocal"
        if self.train_images is not None and self.train_masks is not None:
            values["saliency_set.root"] = "/"
            values["saliency_set.images"] = str(self.train_images.absolute())
            values["saliency_set.masks"] = str(self.train_masks.absolute())
        if self.about is not None:
            values["saliency_set.about"] = self.about
        if self.shows_target_classes is not None:
            values["saliency_set.shows_target_classes"] = self.shows_target_classes
        if model is not None:
            values |= self._of_model(model)
        if self.weights is not None:
            values |= {f"saliency.backbone.{name}": value for name, value in self._backbone(self.weights).items()}
        return [*(f"{name}={yaml_value(value)}" for name, value in values.items()), *self.changes]

    def _not_read(self) -> dict[str, object]:
        """Settings of saliency that what is asked for takes the place of, each with the value that stands for none."""
        no_training = self.provider in WITHOUT_TRAINING or (self.model is not None and self.train_images is None)
        values: dict[str, object] = {}
        if no_training or self.train_images is not None:
            values |= {"saliency.targets": "masks", "saliency.self_training_rounds": 1, "saliency.checkpoint": None}
        return values | ({"saliency.start_from": None} if no_training else {})

    def _backbone(self, weights: str) -> dict[str, str]:
        """What the weights ask of the settings: their backbone too, unless a settings file names one."""
        named = self.settings or any(change.startswith("saliency.backbone.name=") for change in self.changes)
        return {"weights": backbone_for(weights)["weights"]} if named else backbone_for(weights)

    def _of_model(self, model: Path) -> dict[str, object]:
        """What a model asks of the settings: to predict its provider alone, to train from it its whole architecture."""
        found = architecture_of_start(model)
        provider = self.provider or found["provider"]
        if self.train_images is None:
            return {"saliency.provider": provider, "saliency.checkpoint": str(model)}
        values = {f"saliency.{name}": value for name, value in found.items()}
        size = saliency_settings(model).image_size  # another one would fit, but is not what the model knows
        values |= {"saliency.provider": provider, "saliency.start_from": str(model), "saliency.image_size": size}
        values["saliency.backbone.weights"] = "none"  # those of the settings may not exist for its backbone
        return values | {f"saliency.{name}": value for name, value in FINE_TUNING.get(str(provider), {}).items()}

    def _check(self) -> None:
        """Refuse what lacks a folder or one of a pair."""
        if (self.train_images is None) != (self.train_masks is None):
            raise ConfigError("--train-images and --train-masks belong together; give both")
        if not self.images.is_dir():
            raise ConfigError(f"{self.images}: no such folder; give the folder of the images with --images")
        self._check_training()
        if self.model is not None and self.weights is not None:
            raise ConfigError(
                "--weights are ImageNet's, to start a training from; with --model it starts from the model"
            )
        describes_masks = self.about is not None or self.shows_target_classes is not None
        if describes_masks and self.train_images is None and self.settings is None:
            raise ConfigError(
                "--about and --shows-target-classes describe the masks to train on: give --train-images, --train-masks"
            )

    def _check_training(self) -> None:
        """Refuse a training that lacks something, and whatever a provider without one would not read."""
        options = {"--model": self.model, "--train-images": self.train_images, "--weights": self.weights}
        given = next((name for name, value in options.items() if value), None)
        if self.provider in WITHOUT_TRAINING and given:
            raise ConfigError(
                f"--provider {self.provider} has no network, so {given} would not be read: leave one of the two out"
            )
        unread = [change for change in self.changes if change.startswith("saliency.")]
        if self.model and not self.train_images and unread:
            raise ConfigError(
                f"--model predicts with the settings that it was trained with, so --set {unread[0]} would not be read: "
                "leave it out, or fine-tune with --train-images"
            )
        if not (self.provider in WITHOUT_TRAINING or self.model or self.train_images or self.settings):
            raise ConfigError(
                f"provider {self.provider or 'reciprocal'!r} must learn first: give --train-images and --train-masks, "
                "or a trained --model; or take --provider prior, which needs neither"
            )


def model_folder(given: Path, root: Path) -> Path:
    """Folder of a model that is named by its folder, or by its name in the store.

    Raises:
        ConfigError: there is none.
        NoHomeFolder: the path begins with the home folder of a user who has none.
    """
    places = (expanded(given), root / given, root / SALIENCY_TRAINING / given)
    found = next((place for place in places if (place / "model.json").is_file()), None)
    if found is None:
        raise ConfigError(
            f"{given}: no model there and none of that name in {root}; give the folder that holds model.pt and "
            "model.json, or a KEY that `tag2mask ls train_saliency` shows"
        )
    return found.absolute()


def make_saliency_maps(request: SaliencyRequest, runtime: Runtime, engine: Engine) -> str:
    """Train if need be, predict, and copy the maps to the folder asked for.

    Returns:
        What was made, to be shown: how many maps, and the images in which nothing is salient.

    Raises:
        ConfigError: the settings are wrong.
        WeightsError: the model does not fit them.
        FolderInTheWay: the folder exists and is not empty; found out before anything is trained.
        RunFailed: a stage failed.
        RunStopped: Ctrl-C or SIGTERM.
    """
    out = request.out.absolute()  # of the folder one stands in too
    check_free(out)
    path, changes = request.settings or packaged("saliency.yaml"), request.all_changes(runtime.root)
    config = load_config(path, changes)
    run(Request(path, changes, Selection(), runtime, engine))
    made = _made(config, Store(runtime.root))
    maps = next(artifact for artifact in reversed(made.values()) if CATALOG[artifact.stage].saliency)
    rows = write_saliency_folder(maps.path, out)
    nothing = [row.image_id for row in rows if row.nothing_salient]
    summary = f"{len(rows)} maps in {request.out}, with maps.csv"
    if aside := made[DATASET].manifest["metrics"]["set_aside"]:
        summary += f"\n{aside} images are set aside: {made[DATASET].path / 'set_aside.csv'}"
    if unread := unread_files(request.images):
        summary += f"\n{unread}"
    if nothing:
        more = f" and {len(nothing) - LISTED} more" if len(nothing) > LISTED else ""
        summary += f"\nnothing salient in {len(nothing)}: {', '.join(nothing[:LISTED])}{more}"
    return summary


def _made(config: Config, store: Store) -> dict[str, Artifact]:
    """Node -> its artifact, by what these settings ask for: runs of other folders end beside this one."""
    rows = plan(build_dag(config), store, None)
    lost = [f"{row.node.name}: {row.reason}" for row in rows if row.artifact is None]
    if lost:
        raise RunFailed(f"images or settings changed during the run, run it again: {'; '.join(lost)}")
    return {row.node.name: row.artifact for row in rows if row.artifact is not None}
