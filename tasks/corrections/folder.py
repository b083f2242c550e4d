"""The folder of corrected masks: `<id>.png`, `classes.json`, `corrections.csv`.

    <id>.png         (H, W) uint8 palette: 0 background, 1.. the classes of classes.json, 255 ignored
    classes.json     names of the classes in the order of their numbers; it only grows, so that old masks keep theirs
    corrections.csv  image_id, image_sha256 (of the image that was corrected), source, taken (when); one line a mask

The table is written last, once the masks are on the disk, and decides: a mask that it does not list is refused.
"""

import csv
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from tag2mask.configs.errors import UserError
from tag2mask.tasks.dataset.image_ids import checked_id
from tag2mask.tasks.dataset.ingest import named
from tag2mask.tasks.dataset.label_maps import CORRECTED_TABLE, IGNORE, write_labels
from tag2mask.tasks.dataset.tables import write_table
from tag2mask.tasks.store.files import read_json, sync_files, write_json

CLASSES = "classes.json"
COLUMNS = ("image_id", "image_sha256", "source", "taken")


class BadCorrection(UserError, ValueError):
    """A corrected mask cannot be used; the message names it, the reason and the remedy."""


@dataclass(frozen=True)
class Correction:
    """One corrected mask."""

    image_id: str
    image_sha256: str
    """Of the bytes of the image as the index holds it."""
    source: str
    """What it was corrected with, in a word."""
    taken: str
    """When it was taken back, UTC."""


@dataclass(frozen=True)
class CorrectionFolder:
    """What a folder of corrections holds."""

    path: Path
    classes: tuple[str, ...]
    corrections: Mapping[str, Correction]
    """By image id."""

    @classmethod
    def read(cls, path: Path, coming: Collection[str] = ()) -> "CorrectionFolder":
        """Read a folder; one that does not exist yet, or is empty, holds none.

        Args:
            path: the folder.
            coming: ids whose masks are about to be written, which an interruption may have left without a line.

        Raises:
            BadCorrection: table, classes and masks do not fit together, or there are more classes than numbers.
        """
        table = path / CORRECTED_TABLE
        if not table.is_file():
            _refuse_strays(path, coming)
            return cls(path, (), {})
        classes = _classes(path / CLASSES)
        found: dict[str, Correction] = {}
        try:
            with table.open(newline="", encoding="utf-8") as file:
                rows = list(csv.DictReader(file))
        except (UnicodeDecodeError, csv.Error) as error:
            raise BadCorrection(f"{table}: is not a table in UTF-8 text ({error}); copy it again") from error
        for number, row in enumerate(rows, start=2):
            if tuple(row) != COLUMNS or None in row.values():
                raise BadCorrection(f"{table}, line {number}: must have the columns {','.join(COLUMNS)}")
            image_id = checked_id(row["image_id"], f"{table}, line {number}")
            if image_id in found:
                raise BadCorrection(f"{table}, line {number}: id {image_id!r} stands there a second time; keep one")
            found[image_id] = Correction(**row)
        missing = [image_id for image_id in found if not (path / f"{image_id}.png").is_file()]
        if missing:
            raise BadCorrection(
                f"{path}: {len(missing)} masks of {CORRECTED_TABLE} are gone: {named(missing)}; copy them again"
            )
        _refuse_strays(path, {*found, *coming})
        return cls(path, classes, found)

    def add(self, masks: Mapping[str, np.ndarray], classes: tuple[str, ...], about: Mapping[str, Correction]) -> None:
        """Write further corrections; one of an image that has one takes its place.

        Args:
            masks: image id -> (H, W) uint8, 0 background, 1.. `classes`, 255 ignored.
            classes: names of the classes of these masks.
            about: image id -> what the table says of it.

        Raises:
            BadCorrection: there would be more classes than numbers; nothing was written.
        """
        known = (*self.classes, *(name for name in classes if name not in self.classes))
        _check_count(known, self.path / CLASSES)
        numbers = renumbering(classes, known)
        write_json(self.path / CLASSES, list(known))
        sync_files([write_labels(self.path / f"{image_id}.png", numbers[mask]) for image_id, mask in masks.items()])
        rows = [tuple(asdict(one).values()) for _, one in sorted({**self.corrections, **about}.items())]
        write_table(self.path / CORRECTED_TABLE, rows, COLUMNS, durably=True)


def renumbering(classes: tuple[str, ...], wanted: tuple[str, ...]) -> np.ndarray:
    """(256,) uint8: number among one list of classes -> among another; 255 also for what the other lacks."""
    numbers = np.full(256, IGNORE, np.uint8)
    numbers[0] = 0
    for number, name in enumerate(classes, start=1):
        if name in wanted:
            numbers[number] = wanted.index(name) + 1
    return numbers


def _classes(path: Path) -> tuple[str, ...]:
    try:
        names = read_json(path)
    except (OSError, ValueError) as error:
        raise BadCorrection(f"{path}: cannot be read ({error}); copy it again") from error
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise BadCorrection(f"{path}: must be a list of the classes' names")
    _check_count(names, path)
    return tuple(names)


def _check_count(names: Sequence[str], path: Path) -> None:
    """Refuse more names than masks have numbers: 255 is ignored."""
    if len(names) >= IGNORE:
        raise BadCorrection(
            f"{path}: would hold {len(names)} names, and masks have room for {IGNORE - 1}: those of classes that were "
            "renamed stay; take masks into a new folder (--into, dataset.corrections)"
        )


def _refuse_strays(path: Path, known: Collection[str]) -> None:
    strays = sorted(
        file.name for file in path.glob("*.png") if file.stem not in known and not file.name.startswith(".")
    )
    if strays:
        raise BadCorrection(
            f"{path}: {len(strays)} masks are not in {CORRECTED_TABLE}: {named(strays)}; "
            "the same `tag2mask corrections` again takes them in, or take them away"
        )
