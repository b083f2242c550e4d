"""Build one artifact: the lock, the lookup, the reuse of single images, the stage, and its way home."""

import importlib
import platform
from collections.abc import Mapping
from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

from tag2mask.configs.section import Section
from tag2mask.tasks.common.digests import json_digest
from tag2mask.tasks.common.runtime import StageRuntime
from tag2mask.tasks.common.store import Artifact, DamagedArtifact, Recipe, Store


@dataclass(frozen=True)
class Order:
    """Everything needed to build one artifact, in this or in another process."""

    root: Path
    recipe: Recipe
    config: Section
    inputs: Mapping[str, Path]
    """Name of each input -> the folder of its artifact, or a raw file or folder."""
    item_keys: Mapping[str, str]
    """Image id -> digest of all that its part of the result is made of; empty for stages that are not per image."""
    force: bool = False
    """Build it again even if it is there."""


def item_keys(recipe: Recipe, inputs: Mapping[str, Artifact]) -> dict[str, str]:
    """What each image's part of a result is made of: the recipe, with per-image inputs narrowed to that image.

    Adding images to a dataset changes the recipe but no older image's key, so their parts are taken over as they are.
    """
    narrow = {name: artifact.items for name, artifact in inputs.items() if artifact.items}
    if not narrow:
        return {}
    shared = recipe.as_json()
    shared["inputs"] = {name: digest for name, digest in recipe.inputs.items() if name not in narrow}
    base = json_digest(shared)
    ids = set.intersection(*(set(items) for items in narrow.values()))
    return {i: json_digest([base, {name: items[i] for name, items in narrow.items()}]) for i in sorted(ids)}


def find_sound(store: Store, recipe: Recipe) -> tuple[Artifact | None, str]:
    """The artifact if it is complete and sound; a damaged one is set aside under its lock and named.

    Returns:
        The artifact or None, and what was wrong with a damaged one ("" if nothing was).
    """
    try:
        return store.find(recipe.stage, recipe.key), ""
    except DamagedArtifact:
        pass
    with store.lock(f"{recipe.stage}-{recipe.key}"):
        try:  # another run may have rebuilt it while we waited
            return store.find(recipe.stage, recipe.key), ""
        except DamagedArtifact as damage:
            store.set_aside(recipe.stage, recipe.key)
            return None, str(damage)


def build(order: Order, runtime: StageRuntime) -> Artifact:
    """Build an artifact unless it is there; a second process that asks for it at the same time waits and finds it.

    Raises:
        Whatever the stage raises; the work done so far stays in the store's workshop.
    """
    store = Store(order.root)
    recipe = order.recipe
    stage = importlib.import_module(f"tag2mask.tasks.{recipe.stage}")
    with store.lock(f"{recipe.stage}-{recipe.key}"):
        found = None if order.force else store.find(recipe.stage, recipe.key)
        if found is not None:
            return found
        earlier = {} if order.force else _earlier_parts(store, recipe.stage, order.item_keys)
        equipped = replace(runtime, earlier=earlier)
        about = {
            "item_keys": dict(order.item_keys),
            "input_paths": {name: _told_path(store, path) for name, path in order.inputs.items()},
            "versions": _versions(),
            "reused_images": len(earlier),
        }
        return store.build(recipe, lambda out: stage.run(order.config, out, equipped, **order.inputs), about=about)


def _earlier_parts(store: Store, stage: str, keys: Mapping[str, str]) -> dict[str, dict[str, Path]]:
    """Files of older artifacts of the stage that were made from the very same inputs, image by image, and are sound."""
    wanted = {key: image_id for image_id, key in keys.items()}
    parts: dict[str, dict[str, Path]] = {}
    for artifact in reversed(store.artifacts(stage) if wanted else []):
        theirs: Mapping[str, str] = artifact.manifest.get("item_keys", {})
        shared = [i for i, key in theirs.items() if wanted.get(key) == i and i not in parts and i in artifact.items]
        files: dict[str, dict[str, str]] = {image_id: {} for image_id in shared}
        for name, digest in artifact.manifest["files"].items():
            if (stem := Path(name).stem) in files:
                files[stem][name] = digest
        present = {n: artifact.path / n for part in files.values() for n in part if (artifact.path / n).is_file()}
        actual = store.digests.of_files(present)
        for image_id, part in files.items():
            if part and all(actual.get(name) == digest for name, digest in part.items()):
                parts[image_id] = {name: artifact.path / name for name in part}
    return parts


def _told_path(store: Store, path: Path) -> str:
    """A path as the manifest tells it: `stage/key` inside the store, as it is outside."""
    return path.relative_to(store.root).as_posix() if path.is_relative_to(store.root) else str(path)


def _versions() -> dict[str, Any]:
    names = ("tag2mask", "torch", "torchvision", "numpy", "pydensecrf2")
    return {"python": platform.python_version(), **{name: version(name) for name in names}}
