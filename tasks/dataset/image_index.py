"""The index of a dataset as the stages read it: ids, splits, sizes, tags, and the pixels."""

import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Self

import numpy as np

from tag2mask.tasks.dataset.images import read_rgb
from tag2mask.tasks.dataset.tables import table_rows
from tag2mask.tasks.store.files import read_json


@dataclass(frozen=True, slots=True)
class ImageRecord:
    """One image of the index."""

    image_id: str
    file: str
    """Relative to the index."""
    split: str
    """`train` or `val`; `test` in the index of `index_test`."""
    width: int
    """In pixels."""
    height: int
    """In pixels."""
    tags: tuple[int, ...]
    """Class numbers 1..C, rising."""

    @property
    def size(self) -> tuple[int, int]:
        """(height, width) in pixels."""
        return self.height, self.width


@dataclass(frozen=True)
class ImageIndex:
    """The images of an `index_dataset` or `index_test` artifact, or a part of them."""

    folder: Path
    classes: tuple[str, ...]
    """Names of the classes 1..C."""
    records: tuple[ImageRecord, ...]

    @classmethod
    def read(cls, folder: Path) -> Self:
        """Read the index below a folder."""
        classes = tuple(read_json(folder / "classes.json"))
        numbers = {name: number for number, name in enumerate(classes, start=1)}
        # what images have in common is held once: a million records are then a third as large
        number, tags = cache(int), cache(lambda text: tuple(sorted(numbers[name] for name in text.split())))
        records = tuple(
            ImageRecord(
                image_id=row["image_id"],
                file=row["file"],
                split=sys.intern(row["split"]),
                width=number(row["width"]),
                height=number(row["height"]),
                tags=tags(row["labels"]),
            )
            for row in table_rows(folder / "index.csv")
        )
        return cls(folder, classes, records)

    def __len__(self) -> int:
        return len(self.records)

    def __iter__(self) -> Iterator[ImageRecord]:
        return iter(self.records)

    @property
    def ids(self) -> tuple[str, ...]:
        """Image ids in order."""
        return tuple(record.image_id for record in self.records)

    @property
    def sources(self) -> dict[str, Path]:
        """Image id -> its file."""
        return {record.image_id: self.folder / record.file for record in self.records}

    def split(self, name: str) -> Self:
        """The images of one split."""
        return replace(self, records=tuple(record for record in self.records if record.split == name))

    def only(self, image_ids: Iterable[str]) -> Self:
        """The images with these ids, in the order given."""
        by_id = {record.image_id: record for record in self.records}
        return replace(self, records=tuple(by_id[image_id] for image_id in image_ids))

    def pixels(self, record: ImageRecord) -> np.ndarray:
        """(H, W, 3) uint8 RGB of an image."""
        return read_rgb(self.folder / record.file)

    def tag_matrix(self) -> np.ndarray:
        """(images, C) float32, 1 where the image has the class."""
        matrix = np.zeros((len(self), len(self.classes)), np.float32)
        for row, record in enumerate(self.records):
            matrix[row, [number - 1 for number in record.tags]] = 1
        return matrix
