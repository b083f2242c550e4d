"""Take over an image's part of an older result that was made from the very same inputs."""

import os
import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

from tag2mask.tasks.building.image_keys import Keys, joined
from tag2mask.tasks.store.artifact import Artifact
from tag2mask.tasks.store.digests import DigestMemory, Signature
from tag2mask.tasks.store.files import disk_full_as_error
from tag2mask.tasks.store.parts import PARTS, Part, lines_of, parts_at

FRUITLESS = 24
"""Older results in a row without anything to take over after which no older one is looked at: more than what a run of
several rounds makes of one stage on its splits."""


@dataclass(frozen=True)
class EarlierParts:
    """Where the parts lie that may be taken over; they are looked at when they are taken."""

    memory: DigestMemory | None = None
    folders: Sequence[Path] = ()
    places: Mapping[str, tuple[int, int]] = field(default_factory=dict)
    """Image id -> number of the folder, and where its line begins in the folder's table."""

    @classmethod
    def among(cls, artifacts: Iterable[Artifact], keys: Keys, memory: DigestMemory) -> Self:
        """The parts of some results that have these keys.

        Args:
            artifacts: the results, the one to prefer first.
            keys: (image id, digest of all that its part is made of), by id; read once for each result.
            memory: remembers digests of files.
        """
        folders: list[Path] = []
        places: dict[str, tuple[int, int]] = {}
        fruitless = 0
        for artifact in artifacts:
            before = len(places)
            for image_id, place in _places(artifact, keys, memory):
                places.setdefault(image_id, (len(folders), place))
            folders.append(artifact.path)
            fruitless = 0 if len(places) > before else fruitless + 1
            if len(places) == len(keys) or fruitless == FRUITLESS:
                break
        return cls(memory, folders, places)

    def __len__(self) -> int:
        return len(self.places)

    def __contains__(self, image_id: str) -> bool:
        return image_id in self.places

    def take(self, image_ids: Sequence[str], out: Path) -> list[Part]:
        """Hard-link the parts of some images (copy them where the file system has no links).

        Args:
            image_ids: ids that are among these.
            out: the stage's folder.

        Returns:
            The parts that are sound, with the signatures of what was linked; a damaged one is left where it is.

        Raises:
            NoRoomOnDisk: the disk is full.
        """
        taken = []
        by_folder: dict[int, dict[str, int]] = {}
        for image_id in image_ids:
            if (found := self.places.get(image_id)) is not None:
                by_folder.setdefault(found[0], {})[image_id] = found[1]
        for number, places in by_folder.items():
            try:
                taken += self._take(self.folders[number], places, out)
            except FileNotFoundError:
                continue  # set aside by another run just now
        return taken

    def _take(self, folder: Path, places: Mapping[str, int], out: Path) -> list[Part]:
        assert self.memory is not None  # there are places
        try:
            read = [*parts_at(folder / PARTS, places.values())]
        except ValueError:
            return []  # damaged behind the file system's back: these images are made anew
        parts = [part for part, image_id in zip(read, places, strict=True) if part.image_id == image_id]
        files = [(name, f"{folder}/{name}") for part in parts for name in part.files]
        try:
            looked_at = list(self.memory.look_at(files))
        except OSError:  # some are gone: do without their images
            looked_at = list(self.memory.look_at((name, path) for name, path in files if os.path.isfile(path)))
        seen = {name: (signature, digest) for name, signature, digest in looked_at}
        sound = [p for p in parts if all(name in seen and seen[name][1] == d for name, d in p.files.items())]
        for parent in {(out / name).parent for part in sound for name in part.files}:
            parent.mkdir(parents=True, exist_ok=True)
        linked = []
        for part in sound:
            signatures = _link(folder, out, {name: seen[name][0] for name in part.files})
            linked.append(part._replace(key="", item="", signatures=signatures))
        return linked


def _places(artifact: Artifact, keys: Keys, memory: DigestMemory) -> Iterator[tuple[str, int]]:
    """(image id, where its line begins) of the parts in a result's table that have these keys."""
    path = artifact.path / PARTS
    try:
        if memory.of_path(path) != artifact.manifest["parts"]:
            return  # damaged: what it says of images cannot be trusted
        lines = ((place, Part.read(line)) for place, line in lines_of(path))
        table = ((part.image_id, (part.key, place)) for place, part in lines)
        for image_id, ((key, place), wanted) in joined(table, keys):
            if key == wanted:
                yield image_id, place
    except (OSError, ValueError):
        return  # set aside by another run just now


def _link(folder: Path, out: Path, seen: Mapping[str, Signature]) -> dict[str, Signature]:
    """Link files, or copy them; the signatures of those whose bytes are surely those that were seen."""
    signatures = {}
    for name, before in seen.items():
        source, target = f"{folder}/{name}", f"{out}/{name}"
        with disk_full_as_error(out):
            try:
                os.link(source, target)
            except FileExistsError:  # left over by an attempt that was killed
                os.unlink(target)
                return _link(folder, out, seen)
            except FileNotFoundError:
                raise
            except OSError:
                shutil.copyfile(source, target)
                continue
        if before.still(after := Signature.of(target)):
            signatures[name] = after
    return signatures
