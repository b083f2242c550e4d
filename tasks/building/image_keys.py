"""What each image's part of a result is made of: equal keys, equal parts."""

import tempfile
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Protocol

from tag2mask.tasks.catalog import CATALOG
from tag2mask.tasks.store.artifact import Recipe
from tag2mask.tasks.store.digests import json_digest
from tag2mask.tasks.store.files import disk_full_as_error

DIGITS = 64
"""Hex digits of a key."""
Items = Iterable[tuple[str, str]]
"""(image id, digest of what an input holds for that image), by id."""


class Keys(Protocol):
    """(image id, digest of all that its part is made of), by id, to be read several times."""

    def __len__(self) -> int:
        """How many there are."""

    def __iter__(self) -> Iterator[tuple[str, str]]:
        """They, from the first one on."""


def joined(*tables: Iterable[tuple[str, Any]]) -> Iterator[tuple[str, list[Any]]]:
    """(id, its values) of the ids that all tables have; they are read in a stream, side by side.

    Args:
        tables: (id, value), by id; what stands out of order is passed over.
    """
    readers = [iter(table) for table in tables]
    heads = [next(reader, None) for reader in readers]
    while rows := [head for head in heads if head is not None]:
        if len(rows) < len(readers):
            return
        last = max(image_id for image_id, _ in rows)
        whole = all(image_id == last for image_id, _ in rows)
        if whole:
            yield last, [value for _, value in rows]
        pairs = zip(rows, readers, strict=True)
        heads = [next(reader, None) if whole or row[0] != last else row for row, reader in pairs]


def item_keys(recipe: Recipe, items: Mapping[str, Items]) -> Iterator[tuple[str, str]]:
    """What each image's part of a result is made of: the recipe, with per-image inputs narrowed to that image.

    Adding images to a dataset changes the recipe but no older image's key, so their parts are taken over as they are.

    Args:
        recipe: of the result.
        items: name of each per-image input -> what it holds, read once and in a stream.

    Returns:
        (image id, key), by id; nothing where no input is per image, or where images depend on each other.
    """
    record = CATALOG.get(recipe.stage)
    if not items or (record is not None and record.dataset_level):
        return
    shared, own = recipe.as_json(), image_inputs(recipe)
    shared["inputs"] = {name: digest for name, digest in recipe.inputs.items() if name in own and name not in items}
    base = json_digest(shared)
    for image_id, found in joined(*items.values()):
        yield image_id, json_digest([base, dict(zip(items, found, strict=True))])


def image_inputs(recipe: Recipe) -> list[str]:
    """Names of the inputs that an image's own part of a result depends on."""
    record = CATALOG.get(recipe.stage)
    own = None if record is None else record.image_inputs
    return [name for name in recipe.inputs if own is None or name in own]


class SpooledKeys:
    """Keys of images, by id, in a file without a name: read again and again, one reader at a time, never held."""

    def __init__(self, keys: Iterable[tuple[str, str]], folder: Path) -> None:
        """Write the keys to a file.

        Args:
            keys: (image id, key), by id.
            folder: on whose disk the file lies; nothing of it is to be seen there.

        Raises:
            NoRoomOnDisk: the disk is full.
        """
        self._count = 0
        with disk_full_as_error(folder):
            self._file = tempfile.TemporaryFile(dir=folder)
            for image_id, key in keys:
                name = image_id.encode(errors="surrogateescape")
                if b"\n" not in name:  # a name that no index takes: its part is made anew
                    self._file.write(b"%s %s\n" % (key.encode(), name))
                    self._count += 1
            self._file.flush()

    def __len__(self) -> int:
        return self._count

    def __iter__(self) -> Iterator[tuple[str, str]]:
        self._file.seek(0)
        for line in self._file:
            yield line[DIGITS + 1 : -1].decode(errors="surrogateescape"), line[:DIGITS].decode()
