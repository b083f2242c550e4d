"""A release as its readers see it: images, labels, tags and classes, by image id."""

import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from tag2mask.configs.errors import UserError
from tag2mask.configs.home_folder import expanded
from tag2mask.tasks.catalog import IMAGE_SUFFIXES
from tag2mask.tasks.dataset.images import read_image
from tag2mask.tasks.dataset.label_maps import read_labels
from tag2mask.tasks.dataset.tables import read_table
from tag2mask.tasks.release import releases
from tag2mask.tasks.release.label_sets import LabelSet
from tag2mask.tasks.store.store import RELEASES


class NoImagesHere(UserError, ValueError):
    """The images of a release are not where they are looked for; the message names the place and the remedy."""


@dataclass(frozen=True)
class ReleasedImages:
    """The images of a release, and their labels."""

    title: str
    """`name@3`."""
    classes: tuple[str, ...]
    """Names of the classes 1..C; in label maps 0 is the background, 255 ignored."""
    ids: tuple[str, ...]
    """Image ids in order."""
    images: Path | None
    """Folder of the images; None where the dataset is gone."""
    _labels: dict[str, Path]
    _files: dict[str, str]
    _tags: dict[str, tuple[str, ...]]

    def __len__(self) -> int:
        return len(self.ids)

    def labels(self, image_id: str) -> np.ndarray:
        """(H, W) uint8: 0 background, 1..C class, 255 ignored.

        Raises:
            KeyError: no such image.
        """
        return read_labels(self._labels[image_id])

    def image(self, image_id: str) -> np.ndarray:
        """(H, W, 3) uint8 RGB.

        Raises:
            KeyError: no such image.
            NoImagesHere: its file is not there.
            BadImage: it cannot be read any more.
        """
        name = self._files[image_id]
        path = None if self.images is None else _file_of(self.images, name)
        if path is None:
            place = (
                "the dataset of the release is no longer in its store" if self.images is None else self.images / name
            )
            raise NoImagesHere(
                f"{self.title}: no image {name} ({place}): name the folder, read_release(…, images=FOLDER)"
            )
        return read_image(path, maximum_megapixels=math.inf).pixels

    def tags(self, image_id: str) -> tuple[str, ...]:
        """Names of the classes with which the image was tagged.

        Raises:
            KeyError: no such image.
        """
        return self._tags[image_id]


def _file_of(folder: Path, name: str) -> Path | None:
    """A file by its name; or by its id, where the release holds a converted image, and its original is there."""
    stem = Path(name).stem
    suffixes = (*IMAGE_SUFFIXES, *(suffix.upper() for suffix in IMAGE_SUFFIXES))
    candidates = (folder / one for one in (name, *(f"{stem}{suffix}" for suffix in suffixes)))
    return next((path for path in candidates if path.is_file()), None)


def read_release(folder: Path | str, *, images: Path | str | None = None) -> ReleasedImages:
    """Read a release or a candidate; pixels are read when they are asked for.

    Args:
        folder: such as `artifacts/releases/mine/latest`.
        images: folder of the images, where the release was copied away from its store.

    Raises:
        NoHomeFolder: the folder begins with the home folder of a user who has none.
        DamagedArtifact: it is no release, or files of it are missing; bytes are compared by `tag2mask verify` alone.
    """
    place = expanded(folder).resolve()
    release = releases.read_release(place)
    root = next(parent for parent in place.parents if parent.name == RELEASES or parent == parent.parent).parent
    found = LabelSet.of_release(place, release.manifest, root, release.title)
    own = None if found.dataset is None else found.dataset / "images"
    files = {row["image_id"]: row["image"] for row in read_table(place / "images.csv")}
    tags = {row["image_id"]: tuple(row["labels"].split()) for row in read_table(place / "tags.csv")}
    classes = tuple(release.manifest["classes"])
    chosen = own if images is None else Path(images)
    return ReleasedImages(release.title, classes, tuple(files), chosen, dict(found.files), files, tags)
