"""From a node of the DAG to the recipe of its artifact: what its inputs are by content, and where they lie."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from tag2mask.flows.dag.node import Node
from tag2mask.tasks import STAGE_VERSIONS
from tag2mask.tasks.store.build import Order, input_digest, item_keys
from tag2mask.tasks.store.store import Artifact, Recipe, Store

SECTIONS = {
    "index_dataset": "dataset",
    "index_masks": "dataset",
    "index_saliency_set": "saliency_set",
    "train_classifier": "classifier",
    "infer_cams": "cams",
    "train_attention": "attention",
    "infer_attention": "attention_maps",
    "predict_prior": "prior",
    "make_saliency_pseudo_labels": "self_training",
    "train_saliency": "saliency",
    "predict_saliency": "saliency_maps",
    "train_cosaliency": "cosaliency",
    "predict_cosaliency": "cosaliency_maps",
    "mine_objects": "mining",
    "train_segmenter": "segmenter",
    "predict_masks": "prediction",
    "refine_masks": "refinement",
    "mask_nonsalient": "masking",
    "measure_labels": "measurement",
    "evaluate": "evaluation",
    "render_report": "report",
}
"""Stage -> the section of the settings that it reads: how a message names a setting."""


class MissingInput(ValueError):
    """A file or folder that the settings name does not exist."""


@dataclass(frozen=True)
class Resolved:
    """A node whose inputs are all known."""

    node: Node
    recipe: Recipe
    artifacts: Mapping[str, Artifact]
    """Inputs made by other nodes."""
    files: Mapping[str, Path]
    """Raw inputs."""

    @property
    def label(self) -> str:
        """`stage/key` of the artifact that the recipe makes."""
        return f"{self.recipe.stage}/{self.recipe.key}"

    def order(self, store: Store, *, force: bool = False) -> Order:
        """What a process needs to be told to build it."""
        paths = {name: artifact.path for name, artifact in self.artifacts.items()} | dict(self.files)
        keys = item_keys(self.recipe, self.artifacts)
        return Order(store.root, self.recipe, self.node.config, paths, keys, force)


def resolve(node: Node, known: Mapping[str, Artifact], store: Store) -> Resolved:
    """Recipe of a node's artifact.

    Args:
        node: the node.
        known: name of each node it reads from -> its artifact.
        store: remembers the digests of raw files.

    Raises:
        MissingInput: a raw file or folder does not exist; the message names the setting and the path.
    """
    artifacts = {name: known[source] for name, source in node.inputs.items() if isinstance(source, str)}
    files = {name: source for name, source in node.inputs.items() if isinstance(source, Path)}
    digests = {name: artifact.digest for name, artifact in artifacts.items()}
    for name, path in files.items():
        try:
            digests[name] = input_digest(store, path)
        except FileNotFoundError as error:
            raise MissingInput(f"{setting_of(node, name)}: {path} does not exist") from error
    recipe = Recipe(node.stage, STAGE_VERSIONS[node.stage], node.hashed, digests)
    return Resolved(node, recipe, artifacts, files)


def setting_of(node: Node, name: str) -> str:
    """Name of the setting that gives an input its path."""
    if name == "weights":
        return f"{SECTIONS[node.stage]}.backbone.weights"
    if node.stage == "train_saliency" and name == "start":
        return "saliency.start_from"
    if node.stage == "predict_saliency":
        return {"model": "saliency.checkpoint", "maps": "saliency.maps"}.get(name, name)
    if node.stage == "predict_cosaliency" and name == "model":
        return "cosaliency.checkpoint"
    return f"{SECTIONS.get(node.stage, node.stage)}.{name}"
