"""A small artifact for the tests of the store, and the calls that make it and find it again."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from tag2mask.tasks.store.files import note_written
from tag2mask.tasks.store.manifest import read_manifest
from tag2mask.tasks.store.store import Artifact, Recipe, Store

RECIPE = Recipe("toy", 1, {"threshold": 0.5}, {"index": "d" * 64})
FILES = {"a.bin": b"aaaa", "sub/b.bin": bytes(1000), "empty": b"", "metrics.json": b'{"iou": 0.25}'}


def make(out: Path, files: dict[str, bytes] = FILES) -> None:
    """Write the artifact's files."""
    for name, content in files.items():
        (out / name).parent.mkdir(parents=True, exist_ok=True)
        (out / name).write_bytes(content)
        note_written(out / name)


def find(store: Store, *, reread: bool = False) -> Artifact | None:
    """Look the artifact up."""
    return store.find(RECIPE.stage, RECIPE.key, reread=reread)


def build_with(
    store: Store,
    recipe: Recipe,
    make: Callable[[Path], object],
    *,
    about: Mapping[str, Any] | None = None,
    afresh: bool = False,
) -> Artifact:
    """Make an artifact as stages are built, with a function in the place of the stage."""
    if not afresh and (left := store.commit_finished(recipe)) is not None:
        return left
    with store.making(recipe, about=about, afresh=afresh) as out:
        make(out)
    return Artifact(place := store.path_of(recipe.stage, recipe.key), read_manifest(place))
