"""A small artifact for the tests of the store, and the call that finds it again."""

from pathlib import Path

from tag2mask.tasks.store.files import note_written
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
