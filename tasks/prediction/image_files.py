"""Which files somebody means who names folders, files and patterns; and decoding them ahead of the network."""

import glob
import os
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import Executor, Future
from pathlib import Path
from typing import Generic, TypeVar

from tag2mask.configs.errors import UserError
from tag2mask.configs.home_folder import expanded
from tag2mask.tasks.catalog import IMAGE_SUFFIXES
from tag2mask.tasks.dataset.image_ids import is_legible
from tag2mask.tasks.dataset.images import find_images

Read = TypeVar("Read")


class NoImages(UserError, ValueError):
    """There is nothing to predict, or two images would have one mask; the message names them."""


def images_named(given: Sequence[str]) -> dict[str, Path]:
    """Image id (name without suffix) -> file, sorted by id.

    Args:
        given: folders, of which the images right in them are taken; files, whatever their suffix; and patterns such as
            `photos/**/*.jpg`, of which the files with an image's suffix are taken.

    Raises:
        NoHomeFolder: a name begins with the home folder of a user who has none.
        NoImages: a name leads to nothing, two images have the same id, or a name cannot stand in a table.
    """
    found: dict[str, Path] = {}
    for name in given:
        for path in _meant(name):
            other = found.setdefault(path.stem, path)
            if other.absolute() != path.absolute():
                raise NoImages(
                    f"{other} and {path} would both be {path.stem}.png: rename one, or predict them to two folders"
                )
    unfit = [os.fsencode(path) for path in found.values() if not is_legible(path.name)]
    if unfit:
        raise NoImages(f"{unfit[0]!r}: a name must be UTF-8 without control characters; rename the file")
    return dict(sorted(found.items()))


def _meant(name: str) -> Iterable[Path]:
    """Files that one name means; at least one."""
    path = expanded(name)
    if path.is_dir():
        try:
            files = list(find_images(path).values())
        except ValueError as error:  # two of the same id
            raise NoImages(str(error)) from error
        if not files:
            raise NoImages(f"{name}: no images in this folder ({', '.join(IMAGE_SUFFIXES)})")
        return files
    if path.is_file():
        return [path]
    matches = sorted(Path(match) for match in glob.glob(str(path), recursive=True))
    files = [match for match in matches if match.suffix.lower() in IMAGE_SUFFIXES and match.is_file()]
    if not files:
        among = f"none of the {len(matches)} files that it matches is an image" if matches else "no such file or folder"
        raise NoImages(f"{name}: {among}; give a folder, image files, or a quoted pattern such as 'photos/**/*.jpg'")
    return files


class ReadAhead(Generic[Read]):
    """Reads items in a pool before they are asked for, a few at a time, so that memory stays flat.

    Args:
        items: name -> file, in the order in which they will be asked for.
        read: reads a file.
        pool: where.
        ahead: items to have begun beyond those that are asked for.
    """

    def __init__(self, items: Mapping[str, Path], read: Callable[[Path], Read], pool: Executor, ahead: int) -> None:
        self._waiting = deque(items.items())
        self._begun: deque[tuple[str, Future[Read]]] = deque()
        self._read, self._pool, self._ahead = read, pool, ahead

    def take(self, names: Sequence[str]) -> list[Read]:
        """What was read of the next items; they must be asked for in their order."""
        self._begin(len(names) + self._ahead)
        taken = []
        for name in names:
            begun, future = self._begun.popleft()
            if begun != name:
                raise ValueError(f"{name} was asked for before {begun}")
            taken.append(future.result())
        return taken

    def _begin(self, count: int) -> None:
        while self._waiting and len(self._begun) < count:
            name, path = self._waiting.popleft()
            self._begun.append((name, self._pool.submit(self._read, path)))
