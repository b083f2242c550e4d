"""What is exported: labels and images."""

import errno
import json
import os
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from tag2mask.configs.errors import UserError
from tag2mask.tasks.catalog.formats import ReleaseImages
from tag2mask.tasks.dataset.image_index import ImageIndex, ImageRecord
from tag2mask.tasks.dataset.label_maps import IGNORE, ignored_name, read_labels
from tag2mask.tasks.release.label_sets import LabelSet
from tag2mask.tasks.store.files import write_file


class CannotExport(UserError, ValueError):
    """The release cannot be written there, or not whole; the message says why."""


@dataclass(frozen=True)
class ExportSet:
    """Labels and images to export."""

    title: str
    """Name and number of the release, or the run that made the labels."""
    labels: LabelSet
    index: ImageIndex
    """The labeled images."""
    images: ReleaseImages
    origin: Mapping[str, Any]
    """What the export says of where it comes from."""

    def place(self, record: ImageRecord, folder: Path) -> str:
        """Put an image into a folder; the name it has there."""
        name = Path(record.file).name
        source = self.index.folder / record.file
        if self.images == "copy":
            shutil.copyfile(source, folder / name)
        elif self.images == "link":
            try:
                os.link(source, folder / name)
            except OSError as error:
                if error.errno != errno.EXDEV:
                    raise
                raise CannotExport(f"{folder} is on another disk than {source}: export with --images copy") from error
        return name

    def map(self, record: ImageRecord) -> np.ndarray:
        """(H, W) uint8 labels of an image."""
        return read_labels(self.labels.files[record.image_id])

    def masks(self, record: ImageRecord, *, ignored: bool = False) -> Iterator[tuple[int, np.ndarray]]:
        """(number, mask) of each class of an image by rising number, (H, W) bool; ignored pixels last, if asked for."""
        labels = self.map(record)
        for number in np.unique(labels).tolist():
            if number and (number != IGNORE or ignored):
                yield number, labels == number

    def name_of(self, number: int) -> str:
        """Name of a label."""
        return self.ignored if number == IGNORE else self.index.classes[number - 1]

    @property
    def ignored(self) -> str:
        """Name of the label of ignored pixels."""
        return ignored_name(self.index.classes)

    @property
    def ignored_share(self) -> float:
        """Share of all pixels that are ignored."""
        pixels = ignored = 0
        for record in self.index:
            labels = self.map(record)
            pixels, ignored = pixels + labels.size, ignored + int((labels == IGNORE).sum())
        return ignored / max(1, pixels)


def write_json_line(path: Path, value: Any) -> None:
    """Write a JSON file for other programs, in one line."""
    write_file(path, lambda file: file.write(json.dumps(value, allow_nan=False).encode()))


def write_text(path: Path, text: str) -> None:
    """Write a text file in UTF-8."""
    write_file(path, lambda file: file.write(text.encode()))
