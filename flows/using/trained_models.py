"""Which segmenter somebody means: that of a run, an artifact of the store, or a folder; and how it is applied."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tag2mask.configs.errors import UserError
from tag2mask.configs.home_folder import expanded
from tag2mask.configs.load import changed, validated
from tag2mask.configs.schema import MaskPrediction, Refinement
from tag2mask.flows.dag.delivery import delivered_segmenter
from tag2mask.flows.dag.record import RUNS, RunRecord, records
from tag2mask.tasks.building.opening import open_artifact
from tag2mask.tasks.networks.model_folder import read_architecture
from tag2mask.tasks.store.store import MANIFEST, Artifact, Store


class NoSuchModel(UserError, ValueError):
    """No model has that name; the message says what there is."""


@dataclass(frozen=True)
class NamedModel:
    """A model folder, what it is called, and the run that it comes from."""

    folder: Path
    title: str
    """`stage/key`, or the folder as it was given."""
    run: RunRecord | None = None
    """The newest run with this model; None for a folder, or where there is no record any more."""

    def settings(self, changes: Sequence[str] = ()) -> tuple[MaskPrediction, Refinement]:
        """How the model is applied: as in its run, else once, at the size of its training, with the published CRF.

        Args:
            changes: `prediction.key=value`, `refinement.key=value`.

        Raises:
            ConfigError: a change, or what the run's record holds, does not fit.
        """
        if self.run is not None:
            config, path = self.run.content["config"], self.run.path
            values = {name: dict(config[name]) for name in ("prediction", "refinement")}
        else:
            path = self.folder / "model.json"
            trained = read_architecture(self.folder, "segmenter").get("config", {})
            values = {"prediction": {"image_size": trained.get("image_size")}, "refinement": {}}
        values = changed(values, changes)
        values["prediction"]["filter_by_tags"] = False  # new images have none
        return (
            validated(MaskPrediction, values["prediction"], path),
            validated(Refinement, values["refinement"], path),
        )


def named_segmenter(text: str, root: Path) -> NamedModel:
    """The segmenter that a text means.

    Args:
        text: a model folder; `train_segmenter/KEY` or `deliver_round/KEY`, the key may be cut short; or a run's name.
        root: folder of the store.

    Raises:
        NoHomeFolder: the text begins with the home folder of a user who has none.
        NoSuchModel, NoSuchArtifact, NoStore: there is none; the message says what was looked for, and what there is.
        DamagedArtifact: its bytes are not what they were.
    """
    folder = expanded(text)
    if (folder / "model.json").is_file():
        place = folder.resolve()
        own = place.parent.parent  # the folder may be an artifact, of this store or another
        known = (own / RUNS).is_dir() and (place / MANIFEST).is_file()
        artifact = Store(own).find(place.parent.name, place.name) if known else None
        return NamedModel(folder, text) if artifact is None else _of_artifact(artifact, own)
    # the masks of a run may have been written to a folder of its name
    is_run = text not in ("", ".", "..") and "/" not in text and bool(records(root, text))
    if folder.is_dir() and not is_run and (any(folder.iterdir()) or not root.is_dir()):
        raise NoSuchModel(f"{text}: holds no model.json; a model folder holds model.pt and model.json")
    if "/" in text:
        return _of_artifact(open_artifact(text, root), root)
    return _of_run(text, root)


def _of_artifact(artifact: Artifact, root: Path) -> NamedModel:
    runs = [record for record in records(root) if artifact.label in record.labels.values()]
    return NamedModel(artifact.path, artifact.label, runs[-1] if runs else None)


def _of_run(name: str, root: Path) -> NamedModel:
    """What a run of this name has delivered last; one that was stopped before has delivered nothing."""
    found = records(root, name) if name else []
    for record in reversed(found):
        label = record.labels.get(delivered_segmenter(record.content["config"]))
        if label is not None:
            artifact = Store(root).find(*label.split("/", 1))
            if artifact is not None:
                return NamedModel(artifact.path, label, record)
    known = sorted({record.name for record in records(root)})
    if found:
        raise NoSuchModel(f"{name}: no run of this name in {root} has finished its segmenter: `tag2mask run` it first")
    raise NoSuchModel(
        f"{name}: no such model folder, and no run of this name in {root} (runs: {', '.join(known) or 'none'}); give a "
        "run's name, train_segmenter/KEY, or a folder with model.pt and model.json"
    )
