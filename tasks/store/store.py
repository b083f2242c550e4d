"""The artifact store: one immutable folder per result, found by what made it.

    <root>/<stage>/<key>/{..., manifest.json}     results
    <root>/.work/<stage>/<key>/                   results in the making; kept after a crash, to be resumed
    <root>/.trash/                              results whose bytes are not what their manifest says, or replaced ones
    <root>/.locks/, .digests.sqlite, .runs/       locks, remembered digests, records of runs

`key` hashes the stage, its version, its settings and the content digests of its inputs.  A result is complete or
absent: it is made in `.work`, its manifest is written last, and one rename moves it to its place.

Locks: `<stage>-<key>` is held by whoever builds or sets aside a result, `use-<stage>-<key>` (shared) by whoever
builds from it, `run` (shared) by every run.
"""

import os
import shutil
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any, Self

from tag2mask.configs.errors import UserError
from tag2mask.tasks.store.artifact import Artifact, Recipe
from tag2mask.tasks.store.digests import DigestMemory
from tag2mask.tasks.store.files import NoRoomOnDisk, disk_full_as_error, files_written, free_bytes, sync_files
from tag2mask.tasks.store.journal import RESUME
from tag2mask.tasks.store.locks import StoreNotWritable, hold, read_only_as_error
from tag2mask.tasks.store.manifest import MANIFEST, DamagedArtifact, faults_of, read_manifest
from tag2mask.tasks.store.seal import ITEMS, seal

__all__ = ["ITEMS", "MANIFEST", "Artifact", "DamagedArtifact", "NoStore", "Recipe", "Store", "StoreNotWritable"]

RELEASES = "releases"
"""Folder below the root that holds no artifacts: released label sets."""
MINIMUM_FREE_BYTES = 200 * 2**20
"""Below this much free disk no stage is started."""


class NoStore(UserError, ValueError):
    """There is no store in that folder."""


class Store:
    """Finds, builds and keeps artifacts below one folder.  Safe to use from several processes at once.

    A store that may only be read can be searched and verified.  One whose folder does not exist is empty; building and
    locking make the folder.
    """

    def __init__(self, root: Path) -> None:
        self.root = root.absolute()
        self.digests = DigestMemory(self.root / ".digests.sqlite")

    @classmethod
    def existing(cls, root: Path) -> Self:
        """The store in a folder that is there, for who only looks.

        Raises:
            NoStore: it is not there, or is no folder.
        """
        if not root.is_dir():
            wrong = "is a file" if root.exists() else "does not exist"
            raise NoStore(f"there is no artifact store in {root}, which {wrong}: name one with --root")
        return cls(root)

    def create(self) -> Self:
        """Make the folder if it is not there.

        Raises:
            StoreNotWritable: it cannot be made.
        """
        with read_only_as_error(self.root):
            self.root.mkdir(parents=True, exist_ok=True)
        return self

    def path_of(self, stage: str, key: str) -> Path:
        """Where the complete result stands or would stand."""
        return self.root / stage / key

    def work_dir(self, stage: str, key: str) -> Path:
        """Where the result is made."""
        return self.root / ".work" / stage / key

    def lock(self, name: str, *, shared: bool = False, wait: bool = True) -> AbstractContextManager[None]:
        """Hold a named lock.  The kernel gives it back when its holder dies, by whatever signal.

        Raises:
            BlockingIOError: somebody else holds it and `wait` is off.
            StoreNotWritable: the lock's file cannot be made.
        """
        return hold(self.root / ".locks" / f"{name}.lock", shared=shared, wait=wait)

    def find(self, stage: str, key: str, *, reread: bool = False) -> Artifact | None:
        """The complete, undamaged result, or None where there is none.

        Args:
            stage: stage of the result.
            key: name of the result.
            reread: read every byte again instead of trusting the file system's signature of unchanged files.

        Raises:
            DamagedArtifact: it exists, but a file is missing, was added, or has other bytes; the message names it.
        """
        place = self.path_of(stage, key)
        if not place.is_dir():
            return None
        manifest = read_manifest(place)
        faults = faults_of(place, manifest, self.digests, reread=reread)
        if faults:
            raise DamagedArtifact(str(faults[0]) + (f" (and {len(faults) - 1} more)" if len(faults) > 1 else ""))
        return Artifact(place, manifest)

    def set_aside(self, stage: str, key: str) -> Path:
        """Move a damaged or replaced result away, so that it is rebuilt; `gc` deletes it.  Returns where it went."""
        target = self._aside(stage, key)
        with read_only_as_error(self.root):
            target.parent.mkdir(parents=True, exist_ok=True)
            os.rename(self.path_of(stage, key), target)
        return target

    def _aside(self, stage: str, key: str) -> Path:
        return self.root / ".trash" / f"{stage}-{key}-{time.time_ns()}"

    def commit_finished(self, recipe: Recipe) -> Artifact | None:
        """Move a result to its place whose last attempt got as far as its manifest; None where there is more to do."""
        work_dir = self.work_dir(recipe.stage, recipe.key)
        with disk_full_as_error(self.root):
            return self._commit(work_dir, recipe) if self._finished(work_dir) else None

    @contextmanager
    def making(
        self,
        recipe: Recipe,
        *,
        keys: Iterable[tuple[str, str]] = (),
        about: Mapping[str, Any] | None = None,
        afresh: bool = False,
    ) -> Iterator[Path]:
        """Give the work_dir to make a result in, and move it to its place.  The caller holds the lock `<stage>-<key>`.

        Whatever an interrupted attempt left in the work_dir is there, to be resumed.

        Args:
            recipe: what the result is made of.
            keys: (image id, digest of all that its part is made of), by id, where parts may be taken over.
            about: further facts for the manifest, which do not enter the key.
            afresh: throw away what an interrupted attempt left.

        Raises:
            NoRoomOnDisk: before anything is done, if less than 200 MiB are free, or while writing.
            StoreNotWritable: the work_dir cannot be made.
            DamagedArtifact: a finished image's file was changed before the stage ended; the next attempt makes it anew.
        """
        work_dir = self.work_dir(recipe.stage, recipe.key)
        free = free_bytes(self.root)
        if free < MINIMUM_FREE_BYTES:
            raise NoRoomOnDisk(
                f"only {free / 2**20:.0f} MiB free on the disk of {self.root}; at least "
                f"{MINIMUM_FREE_BYTES / 2**20:.0f} MiB are needed to start {recipe.stage}: free some, or remove old "
                "artifacts with `tag2mask gc`"
            )
        with read_only_as_error(self.root), disk_full_as_error(self.root):
            if afresh and work_dir.exists():
                shutil.rmtree(work_dir)
            work_dir.mkdir(parents=True, exist_ok=True)
        with disk_full_as_error(self.root):
            (work_dir / MANIFEST).unlink(missing_ok=True)
            started = time.monotonic()
            with files_written(work_dir) as written:
                yield work_dir
            facts = {"seconds": round(time.monotonic() - started, 3), **(about or {})}
            aside = self._aside(f"foreign-{recipe.stage}", recipe.key)
            seal(work_dir, recipe.as_json(), keys, self.digests, facts, written, aside)
            self._commit(work_dir, recipe)

    def _finished(self, work_dir: Path) -> bool:
        """Whether an earlier attempt got as far as its manifest, so that only the rename is left."""
        try:
            return not faults_of(work_dir, read_manifest(work_dir), self.digests, reread=True)
        except DamagedArtifact:
            return False

    def _commit(self, work_dir: Path, recipe: Recipe) -> Artifact:
        stage, key = recipe.stage, recipe.key
        made, place = Artifact(self.path_of(stage, key), read_manifest(work_dir)), self.path_of(stage, key)
        place.parent.mkdir(parents=True, exist_ok=True)
        if self._stands(made):  # a forced rebuild gave the same bytes: whoever reads them is not disturbed
            os.replace(work_dir / MANIFEST, place / MANIFEST)
            shutil.rmtree(work_dir)
        else:
            shutil.rmtree(work_dir / RESUME, ignore_errors=True)
            with self.lock(f"use-{stage}-{key}"):  # other bytes than before: wait until nobody reads the old ones
                if place.exists():
                    self.set_aside(stage, key)
                os.rename(work_dir, place)
        sync_files([], folders=[place, place.parent, self.root])
        return made

    def _stands(self, made: Artifact) -> bool:
        """Whether a sound result with the same bytes is in its place already."""
        try:
            standing = self.find(made.stage, made.key)
        except DamagedArtifact:
            return False
        return standing is not None and standing.manifest["parts"] == made.manifest["parts"]

    def artifacts(self, stage: str | None = None) -> list[Artifact]:
        """All complete results with a sound manifest, oldest first, without checking the bytes of their other files."""
        found = []
        for manifest in self.root.glob(f"{stage or '[!.]*'}/*/{MANIFEST}"):
            try:
                found.append(Artifact(manifest.parent, read_manifest(manifest.parent)))
            except DamagedArtifact:
                continue  # half deleted by a collector beside us, or damaged: `verify` reports the latter
        return sorted(found, key=lambda artifact: (artifact.manifest["made"], artifact.label))
