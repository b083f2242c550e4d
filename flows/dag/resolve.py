"""From a node of the DAG to the recipe of its artifact: what its inputs are by content, and where they lie."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from tag2mask.flows.dag.errors import MissingInput
from tag2mask.flows.dag.node import Node
from tag2mask.tasks.building.build import Order, input_digest
from tag2mask.tasks.catalog import CATALOG
from tag2mask.tasks.store.store import Artifact, Recipe, Store

FOLDERS = frozenset({"images", "image_tree", "corrections", "masks", "maps", "model", "start", "training_set"})
"""Raw inputs that are folders."""


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

    def order(self, store: Store, *, force: bool = False, resume: bool = False) -> Order:
        """What a process needs to build it; `resume`: with `force`, from where an attempt before has got to."""
        paths = {name: artifact.path for name, artifact in self.artifacts.items()} | dict(self.files)
        return Order(store.root, self.recipe, self.node.config, paths, self.node.arguments, force, resume)


def resolve(node: Node, known: Mapping[str, Artifact], store: Store) -> Resolved:
    """Recipe of a node's artifact.

    Args:
        node: the node.
        known: name of each node it reads from -> its artifact.
        store: remembers the digests of raw files.

    Raises:
        MissingInput: a raw file or folder does not exist, or a file stands where a folder is wanted; the message
            names the setting and the path.
    """
    artifacts = {name: known[source] for name, source in node.inputs.items() if isinstance(source, str)}
    files = {name: source for name, source in node.inputs.items() if isinstance(source, Path)}
    digests = {name: artifact.digest for name, artifact in artifacts.items()}
    for name, path in files.items():
        try:
            digests[name] = input_digest(store, node.stage, name, path)
        except (FileNotFoundError, NotADirectoryError) as error:
            raise MissingInput(f"{setting_of(node, name)}: {absence(name, path)}") from error
    recipe = Recipe(node.stage, CATALOG[node.stage].version, node.hashed, digests)
    return Resolved(node, recipe, artifacts, files)


def absence(name: str, path: Path) -> str:
    """Why a raw input is not there: it does not exist, or a file stands where a folder is wanted; "" where it is."""
    file = next((part for part in (*((path,) if name in FOLDERS else ()), *path.parents) if part.is_file()), None)
    if file is not None:
        return f"{file} is a file, where a folder is wanted"
    return "" if path.exists() else f"{path} does not exist"


def setting_of(node: Node, name: str) -> str:
    """Name of the setting that gives an input its path."""
    if name == "weights":
        return f"{CATALOG[node.stage].section}.backbone.weights"
    if node.stage == "train_saliency" and name == "start":
        return "saliency.start_from"
    if node.stage == "predict_saliency":
        return {"model": "saliency.checkpoint", "maps": "saliency.maps"}.get(name, name)
    if node.stage == "predict_cosaliency" and name == "model":
        return "cosaliency.checkpoint"
    return f"{CATALOG[node.stage].section}.{'images' if name == 'image_tree' else name}"
