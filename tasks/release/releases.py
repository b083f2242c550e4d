"""Numbered releases of label sets: whole or absent, never changed, and a pointer that says which one to use.

    <root>/releases/<name>/<number>/{labels/, ..., manifest.json}     releases, from 1 on
    <root>/releases/<name>/latest                                     symbolic link to the number to use
    <root>/releases/<name>/candidates/<digest>/                       sets that the gate kept back
    <root>/releases/<name>/history.json                               what `latest` has pointed to
    <root>/.work/releases/<name>/                                     a release in the making

A folder is made aside, forced to the disk, and moved to its place by one rename; only then `latest` moves, by another.
A publisher that was killed between the two is noticed by its successor, which moves `latest` as it would have been: the
history distinguishes such a release from one that a person has rolled back.  Where the history or the link is not what
it was, nothing is published until a person has said which release is meant (`latest.py`).

Label files are copies.  A hard link would share its bytes with the artifact, and whoever opens a released file to write
would damage both.
"""

import os
import shutil
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from tag2mask.configs.errors import UserError
from tag2mask.tasks.release.latest import LATEST, Entry, Latest, now
from tag2mask.tasks.store.digests import file_digest
from tag2mask.tasks.store.files import disk_full_as_error, read_json, sync_files, write_json
from tag2mask.tasks.store.locks import read_only_as_error
from tag2mask.tasks.store.manifest import MANIFEST, DamagedArtifact, Fault, faults_of, own_names, seal_of
from tag2mask.tasks.store.store import RELEASES, Store

CANDIDATES = "candidates"
KEPT_CANDIDATES = 3
"""Newest candidates of a name that stay; a new one pushes out the oldest."""


class NoSuchRelease(UserError, ValueError):
    """There is no release of that name or number; the message says what there is."""


@dataclass(frozen=True)
class Release:
    """A release or a candidate."""

    path: Path
    manifest: Mapping[str, Any]

    @property
    def number(self) -> int | None:
        """Its number; None for a candidate."""
        number: int | None = self.manifest["number"]
        return number

    @property
    def title(self) -> str:
        """`name@3`, or `name@candidates/<digest>`, by which it can be named."""
        name = self.path.parent.name if self.number else self.path.parent.parent.name
        return f"{name}@{self.number or f'{CANDIDATES}/{self.path.name}'}"


class Releases:
    """The releases of one name.  What changes them is done under their lock.

    Raises:
        NoSuchRelease: no run can have that name.
    """

    def __init__(self, store: Store, name: str) -> None:
        if "/" in name or name.startswith("."):
            raise NoSuchRelease(f"{name!r} is no name of a run; write name@number")
        self.store, self.name = store, name
        self.folder = store.root / RELEASES / name
        self.pointer = Latest(self.folder)

    @contextmanager
    def held(self) -> Iterator[None]:
        """Hold the lock against other publishers, after completing what a killed one has left.

        Raises:
            DamagedArtifact: `latest` or the history are not what they were; the message names what mends them.
        """
        with self.store.lock(f"release-{self.name}"):
            numbers = self.numbers()
            self.pointer.check(numbers)
            if self.pointer.unsettled(numbers):
                self.pointer.point(numbers[-1], "published")
            yield

    def numbers(self) -> list[int]:
        """Numbers of the releases, rising."""
        folders = self.folder.iterdir() if self.folder.is_dir() else []
        return sorted(int(path.name) for path in folders if path.name.isdecimal() and path.is_dir())

    def latest(self) -> int | None:
        """Number of the release to use; None before the first.

        Raises:
            DamagedArtifact: the link was changed by hand and names no number.
        """
        return self.pointer.number()

    def history(self) -> list[Entry]:
        """What `latest` has pointed to, oldest first: {latest, why, when}.

        Raises:
            DamagedArtifact: it cannot be read or was changed.
        """
        return self.pointer.entries()

    def folders(self) -> list[Path]:
        """Folders of the releases, by number, and then of the candidates."""
        candidates = sorted(path for path in (self.folder / CANDIDATES).glob("[!.]*") if path.is_dir())
        return [*(self.folder / str(number) for number in self.numbers()), *candidates]

    def read(self, number: int | str) -> Release:
        """A release by its number, `latest`, or a candidate by the start of its digest after `candidates/`.

        Raises:
            NoSuchRelease: there is none; the message names those there are.
            DamagedArtifact: its manifest cannot be trusted.
        """
        wanted = self.latest() if number == LATEST else number
        path = self.folder / str(wanted)
        if str(wanted).startswith(f"{CANDIDATES}/"):
            path = next(iter(sorted(path.parent.glob(f"{path.name}*"))), path)
        if wanted is None or not path.is_dir():
            numbers = ", ".join(map(str, self.numbers())) or "none"
            known = ", ".join(names(self.store.root)) or "none"
            raise NoSuchRelease(
                f"no release {self.name}@{number}; {self.name} has: {numbers} (names with releases: {known})"
            )
        return read_release(path)

    def with_digest(self, digest: str, *, but: Collection[Path] = ()) -> Release | None:
        """The newest release of a label set, by its content; releases in some folders are not looked at."""
        folders = [self.folder / str(number) for number in reversed(self.numbers())]
        releases = map(read_release, (folder for folder in folders if folder not in but))
        return next((release for release in releases if release.manifest["digest"] == digest), None)

    def candidates(self) -> list[Release]:
        """The candidates whose manifest can be trusted, oldest first."""
        found = _trusted(path for path in self.folders() if path.parent.name == CANDIDATES)
        return sorted(found, key=lambda release: (release.manifest.get("sequence", 0), release.manifest["made"]))

    def make(
        self, about: Mapping[str, Any], write: Callable[[Path], None], expected: Mapping[str, str], *, released: bool
    ) -> Release:
        """Make a release, or a candidate, and for a release let `latest` point to it.  The caller holds the lock.

        Args:
            about: facts for the manifest; `digest` names the content.
            write: writes the files below the folder it is given.
            expected: name -> SHA-256 of files that must have come out as they are in the store.
            released: whether it becomes a release.

        Raises:
            DamagedArtifact: a file has other bytes than expected.
            NoRoomOnDisk, StoreNotWritable: nothing was changed.
        """
        earlier = [*self.numbers(), *(entry["latest"] for entry in self.history())]  # no number is given twice
        number = max(earlier, default=0) + 1 if released else None
        sequence = max((one.manifest.get("sequence", 0) for one in self.candidates()), default=0) + 1
        target = self.folder / (str(number) if released else f"{CANDIDATES}/{about['digest'][:12]}")
        aside = self.store.root / ".work" / RELEASES / self.name
        with read_only_as_error(self.store.root), disk_full_as_error(self.store.root):
            shutil.rmtree(aside, ignore_errors=True)
            aside.mkdir(parents=True)
            target.parent.mkdir(parents=True, exist_ok=True)
            write(aside)
            release = Release(target, _seal(aside, {**about, "number": number, "sequence": sequence}, expected))
            if target.exists():  # a candidate that is judged anew
                self._discard(target)
            os.rename(aside, target)
            sync_files([], folders=[folder for folder in target.parents if folder.is_relative_to(self.store.root)])
            if number is not None:
                self.pointer.point(number, "published")
        self._forget_candidates(None if number is None else about["digest"])
        return release

    def move_latest(self, number: int) -> int | None:
        """Let `latest` point to a release.  Returns what it pointed to before; None where that is not known.

        This also mends a link or a history that is not what it was: the releases say which there are, the person which
        is meant.

        Raises:
            NoSuchRelease: there is no such release.
            DamagedArtifact: it is damaged, or a folder stands where the link should be.
        """
        with self.store.lock(f"release-{self.name}"):
            before = None if self.pointer.fault(self.numbers()) else self.latest()
            release = self.read(number)
            faults = faults_of(release.path, release.manifest, self.store.digests, reread=True)
            if faults:
                raise DamagedArtifact(f"{release.title}: {faults[0].file} {faults[0].what}: {LATEST} stays at {before}")
            self.pointer.point(number, "moved by hand", self._whole_history())
            return before

    def _whole_history(self) -> list[Entry]:
        """What can be trusted of the history, and what the releases say that it does not: each was published once."""
        entries = self.pointer.trusted()
        seen, made = {e["latest"] for e in entries}, {r.number: r.manifest["made"] for r in _trusted(self.folders())}
        missing = [number for number in self.numbers() if number not in seen]
        return entries + [{"latest": n, "why": "published", "when": made.get(n, "")} for n in missing]

    def _forget_candidates(self, digest: str | None) -> None:
        """Drop the oldest candidates, and the one that has become a release."""
        candidates = self.candidates()
        for position, candidate in enumerate(candidates):
            if candidate.manifest["digest"] == digest or position < len(candidates) - KEPT_CANDIDATES:
                self._discard(candidate.path)

    def _discard(self, path: Path) -> None:
        """Delete a candidate; it is moved away first, so that a kill leaves none of it half there."""
        doomed = self.store.root / ".trash" / f"candidate-{self.name}-{path.name}-{time.time_ns()}"
        doomed.parent.mkdir(exist_ok=True)
        os.rename(path, doomed)
        shutil.rmtree(doomed)


def names(root: Path) -> list[str]:
    """Names that have releases or candidates."""
    return sorted(path.name for path in (root / RELEASES).glob("[!.]*") if path.is_dir())


def read_release(path: Path) -> Release:
    """Read the manifest of a release or candidate.

    Raises:
        DamagedArtifact: it cannot be read or was changed.
    """
    try:
        manifest = read_json(path / MANIFEST)
        sound = isinstance(manifest, dict) and manifest.get("seal") == seal_of(manifest)
    except (OSError, ValueError) as error:
        raise DamagedArtifact(f"{path}: {MANIFEST} cannot be read ({error})") from error
    if not sound:
        raise DamagedArtifact(f"{path}: {MANIFEST} was changed after it was made")
    return Release(path, manifest)


def _trusted(folders: Iterable[Path]) -> Iterator[Release]:
    """The releases and candidates in some folders whose manifest can be trusted."""
    for folder in folders:
        with suppress(DamagedArtifact):
            yield read_release(folder)


def release_faults(store: Store, *, reread: bool = True) -> list[Fault]:
    """What is wrong with the releases of a store, with their candidates, `latest` and history, by name."""
    faults = []
    for releases in (Releases(store, name) for name in names(store.root)):
        numbers = releases.numbers()
        pointer = releases.pointer.fault(numbers)
        if pointer is not None:
            faults.append(replace(pointer, what=f"{pointer.what}: {releases.pointer.remedy(numbers)}"))
        faults += damage_of(releases, reread=reread)
    return faults


def damage_of(releases: Releases, *, reread: bool = True) -> list[Fault]:
    """What is wrong with the releases and candidates of a name, each by its folder below the store."""
    faults = []
    for folder in releases.folders():
        label = folder.relative_to(releases.store.root).as_posix()
        try:
            found = faults_of(folder, read_release(folder).manifest, releases.store.digests, reread=reread)
        except DamagedArtifact as error:
            found = [Fault(label, MANIFEST, f"cannot be trusted ({error})")]
        faults += [Fault(label, fault.file, fault.what) for fault in found]
    return faults


def pinned_datasets(store: Store) -> set[str]:
    """`stage/key` of the datasets that releases and candidates show the images of: the collector keeps them."""
    return {
        str(read_release(manifest.parent).manifest["dataset"])
        for pattern in ("*/[0-9]*", f"*/{CANDIDATES}/*")
        for manifest in (store.root / RELEASES).glob(f"{pattern}/{MANIFEST}")
    }


def _seal(aside: Path, about: Mapping[str, Any], expected: Mapping[str, str]) -> dict[str, Any]:
    """Write the manifest of a folder in the making, and force everything to the disk."""
    present = {name: aside / name for name in sorted(own_names(aside))}
    digests = {name: file_digest(path) for name, path in present.items()}
    changed = [name for name, digest in expected.items() if digests.get(name) != digest]
    if changed:
        raise DamagedArtifact(f"{changed[0]} is not what its artifact says: run `tag2mask verify`, and run again")
    manifest = {**about, "files": digests, "made": now()}
    manifest["bytes"] = sum(path.stat().st_size for path in present.values())
    manifest["seal"] = seal_of(manifest)
    sync_files(present.values(), folders=[path for path in aside.rglob("*") if path.is_dir()])
    write_json(aside / MANIFEST, manifest)
    return manifest
