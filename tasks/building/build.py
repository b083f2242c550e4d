"""Build one artifact: the lock, the lookup, the reuse of single images, the stage, and its commit."""

import importlib
import os
import platform
import re
import shutil
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from importlib.metadata import PackageNotFoundError, version
from itertools import groupby
from pathlib import Path
from typing import Any

from tag2mask.configs.errors import UserError
from tag2mask.configs.sections.section import Section
from tag2mask.tasks.building.image_keys import Items, SpooledKeys, image_inputs, item_keys
from tag2mask.tasks.building.reuse import EarlierParts
from tag2mask.tasks.catalog import CATALOG
from tag2mask.tasks.executors.ranks import run_on_ranks
from tag2mask.tasks.store.digests import json_digest, names_in, pairs_digest
from tag2mask.tasks.store.manifest import read_manifest
from tag2mask.tasks.store.runtime import TAKEN_OVER, WAITS, StageRuntime
from tag2mask.tasks.store.store import Artifact, DamagedArtifact, Recipe, Store

KEY = re.compile(r"[0-9a-f]{20}")
"""Name of an artifact's folder."""


@dataclass(frozen=True)
class Order:
    """Everything needed to build one artifact, in this or in another process."""

    root: Path
    recipe: Recipe
    config: Section
    inputs: Mapping[str, Path]
    """Name of each input -> the folder of its artifact, or a raw file or folder."""
    arguments: Mapping[str, Any] = field(default_factory=dict)
    """What the stage is given beside settings and inputs."""
    force: bool = False
    """Build it again, even if it or a part of it is there."""
    resume: bool = False
    """With `force`: go on with what an attempt before this one has left, instead of from nothing."""


class InputChanged(UserError, RuntimeError):
    """An input is no longer what the recipe says."""


def _items(store: Store, order: Order) -> dict[str, Items]:
    """Name of each per-image input of an order -> what it holds, by image."""
    found: dict[str, Items] = {}
    for name in image_inputs(order.recipe):
        if is_artifact(store, path := order.inputs[name]):
            artifact = Artifact(path, read_manifest(path))
            if artifact.images:
                found[name] = artifact.items()
        elif files := _files_read(order.recipe.stage, name, path):
            digests = store.digests.of_names(path, sorted(files, key=_id_and_name))
            found[name] = ((image_id, json_digest([*one])) for image_id, one in groupby(digests, key=_id_of))
    return found


def _id_and_name(name: str) -> tuple[str, str]:
    """Id of the image that a file belongs to, and its name: files in the order of ids."""
    return os.path.splitext(name)[0], name


def _id_of(file: tuple[str, str]) -> str:
    """Id of the image that a file, (name, digest), belongs to: of a map and what lies beside it the same."""
    return _id_and_name(file[0])[0]


def _files_read(stage: str, name: str, path: Path) -> list[str] | None:
    """Names of the files that a stage reads of a raw folder, sorted; None where it reads all that there is."""
    suffixes = CATALOG[stage].folders.get(name) if stage in CATALOG else None
    return None if suffixes is None or not path.is_dir() else names_in(path, suffixes)


def find_sound(store: Store, recipe: Recipe) -> tuple[Artifact | None, str]:
    """The artifact if it is complete and sound; a damaged one is set aside under its lock and named.

    Returns:
        The artifact or None, and what was wrong with a damaged one ("" if nothing was).
    """
    try:
        return store.find(recipe.stage, recipe.key), ""
    except DamagedArtifact:
        pass
    with store.lock(f"{recipe.stage}-{recipe.key}"):  # another run may have rebuilt it while we waited
        return _find_or_set_aside(store, recipe)


def build(order: Order, runtime: StageRuntime) -> Artifact:
    """Build an artifact unless it is there; a second process that asks for it at the same time waits and finds it.

    Raises:
        InputChanged: an input is no longer what the recipe was made of, before the stage or after it.
        DamagedArtifact: an input is a result with other files than its stage wrote; or the result itself is damaged,
            and a stage at work reads it.
        NoRoomOnDisk: the disk is full.
        Whatever the stage raises; the work done so far stays in the store's work_dir.
    """
    store = Store(order.root).create()
    recipe = order.recipe
    stage = importlib.import_module(f"tag2mask.tasks.{recipe.stage}")
    with _waited_for(store, f"{recipe.stage}-{recipe.key}", runtime), ExitStack() as use:
        found, damage = (None, "") if order.force else _find_or_set_aside(store, recipe)
        if found is not None:
            runtime.progress(1, 1, TAKEN_OVER)
            return found
        for name in sorted({_shown_path(store, path) for path in _stored(store, order).values()}):
            use.enter_context(store.lock(f"use-{name.replace('/', '-')}", shared=True))
        _check_inputs(store, order)
        if not order.force and (left := store.commit_finished(recipe)) is not None:
            return left
        keys = SpooledKeys(item_keys(recipe, _items(store, order)), store.root)
        earlier = _earlier(store, order, keys)
        about = _about(store, order, runtime) | {"reused_images": len(earlier), "replaces": damage}
        runtime = replace(runtime, earlier=earlier)
        with store.making(recipe, keys=keys, about=about, afresh=order.force and not order.resume) as out:
            if runtime.devices > 1 or runtime.machines:
                run_on_ranks(recipe.stage, order.config, out, runtime, order.arguments, order.inputs)
            else:
                stage.run(order.config, out, runtime, **order.arguments, **order.inputs)
            _check_inputs_again(store, order, out)
        return Artifact(place := store.path_of(recipe.stage, recipe.key), read_manifest(place))


def _earlier(store: Store, order: Order, keys: SpooledKeys) -> EarlierParts:
    """What older results hold of these images, unless it was asked to make everything anew."""
    older = [] if order.force or not keys else reversed(store.artifacts(order.recipe.stage))
    return EarlierParts.among(older, keys, store.digests)


@contextmanager
def _waited_for(store: Store, name: str, runtime: StageRuntime) -> Iterator[None]:
    """Hold a lock, and say so where another run has to be waited for."""
    with ExitStack() as held:
        try:
            held.enter_context(store.lock(name, wait=False))
        except BlockingIOError:
            runtime.progress(0, 1, WAITS)
            held.enter_context(store.lock(name))
        yield


def _find_or_set_aside(store: Store, recipe: Recipe) -> tuple[Artifact | None, str]:
    """The sound artifact; or None and what was wrong with a damaged one, now set aside.  The caller holds its lock.

    Raises:
        DamagedArtifact: it is damaged, and a stage that reads it is at work, which would be left without files.
    """
    try:
        return store.find(recipe.stage, recipe.key), ""
    except DamagedArtifact as damage:
        try:
            with store.lock(f"use-{recipe.stage}-{recipe.key}", wait=False):
                store.set_aside(recipe.stage, recipe.key)
        except BlockingIOError as reader:
            raise DamagedArtifact(f"{damage}; a run at work reads it: when that has ended, run again") from reader
        return None, str(damage)


def _stored(store: Store, order: Order) -> dict[str, Path]:
    """Name -> folder of the inputs that are artifacts of the store."""
    return {name: path for name, path in order.inputs.items() if is_artifact(store, path)}


def is_artifact(store: Store, path: Path) -> bool:
    """Whether a path is that of an artifact, `<root>/<stage>/<key>`, and not one that only lies below the root."""
    parts = inside.parts if (inside := _inside(store, path)) else ()
    return len(parts) == 2 and not parts[0].startswith(".") and KEY.fullmatch(parts[1]) is not None


def input_digest(store: Store, stage: str, name: str, path: Path) -> str:
    """Content digest of an input of a stage: an artifact's own, or that of the raw files that the stage reads."""
    if is_artifact(store, path):
        return str(read_manifest(path)["digest"])
    files = _files_read(stage, name, path)
    return store.digests.of_path(path) if files is None else pairs_digest(store.digests.of_names(path, files))


def _check_inputs(store: Store, order: Order) -> None:
    """Refuse inputs that changed since the recipe was written: the result would be kept under a wrong name.

    Raises:
        InputChanged: one holds something else.
        DamagedArtifact: one is a result whose files are not those that its stage wrote.
    """
    for name, path in order.inputs.items():
        if is_artifact(store, path):
            artifact = store.find(path.parent.name, path.name)  # asks for every file, unlike its manifest
            digest = "" if artifact is None else artifact.digest
        else:
            digest = input_digest(store, order.recipe.stage, name, path)
        if digest != order.recipe.inputs[name]:
            raise InputChanged(f"{path} ({name} of {order.recipe.stage}) changed while the run was at work: run again")


def _check_inputs_again(store: Store, order: Order, out: Path) -> None:
    """Throw away a result whose inputs changed meanwhile: nobody can say which of its files were made of what."""
    try:
        _check_inputs(store, order)
    except (InputChanged, DamagedArtifact):
        shutil.rmtree(out)
        raise


def _about(store: Store, order: Order, runtime: StageRuntime) -> dict[str, Any]:
    """What the manifest says of how a result came about, beside its recipe."""
    return {
        "input_paths": {name: _shown_path(store, path) for name, path in order.inputs.items()},
        "versions": _versions(),
        "device": runtime.device,
        "precision": runtime.precision,
        "executor": runtime.executor,
        "devices": runtime.devices,
        "machines": runtime.machines.partition("@")[0],
    }


def _shown_path(store: Store, path: Path) -> str:
    """A path as the manifest has it: `stage/key` inside the store, though it led there by a link; as it is outside."""
    inside = _inside(store, path)
    return str(path) if inside is None else inside.as_posix()


def _inside(store: Store, path: Path) -> Path | None:
    """A path as it is from the store's folder on, by whichever links both were given; None where it lies elsewhere."""
    for root, given in ((store.root, path), (store.root.resolve(), path.resolve())):
        if given.is_relative_to(root):
            return given.relative_to(root)
    return None


def _versions() -> dict[str, Any]:
    names = ("tag2mask", "torch", "torchvision", "numpy", "scipy")
    return {"python": platform.python_version(), **{name: _version(name) for name in names}}


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "not installed"  # run from a bare checkout
