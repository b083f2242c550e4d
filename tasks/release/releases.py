"""Numbered releases of label sets: whole or absent, never changed, and a pointer that says which one to use.

    <root>/releases/<name>/<number>/{labels/, ..., manifest.json}     releases, from 1 on
    <root>/releases/<name>/latest                                     symbolic link to the number to use
    <root>/releases/<name>/candidates/<digest>/                       sets that the gate kept back
    <root>/releases/<name>/history.json                               what `latest` has pointed to
    <root>/.work/releases/<name>/                                     a release in the making

A folder is made aside, forced to the disk, and brought home by one rename; only then does `latest` move, by another.
A publisher that was killed between the two is noticed by its successor, which moves `latest` as it would have been: the
history tells such a release from one that a person has rolled back.

Label files are copies.  A hard link would share its bytes with the artifact, and whoever opens a released file to write
would damage both.
"""

import os
import shutil
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tag2mask.configs.errors import UserError
from tag2mask.tasks.store.digests import file_digest
from tag2mask.tasks.store.files import disk_full_as_error, read_json, sync_files, write_json
from tag2mask.tasks.store.locks import read_only_as_error
from tag2mask.tasks.store.manifest import MANIFEST, DamagedArtifact, Fault, faults_of, own_names, seal_of
from tag2mask.tasks.store.store import RELEASES, Store

CANDIDATES, LATEST, HISTORY = "candidates", "latest", "history.json"
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
        """`name@3`, or `name/candidates/<digest>`."""
        name = self.path.parent.name if self.number else self.path.parent.parent.name
        return f"{name}@{self.number}" if self.number else f"{name}/{CANDIDATES}/{self.path.name}"


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

    @contextmanager
    def held(self) -> Iterator[None]:
        """Hold the lock against other publishers, after completing what a killed one has left."""
        with self.store.lock(f"release-{self.name}"):
            self._settle()
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
        link = self.folder / LATEST
        target = os.readlink(link) if link.is_symlink() else None
        if target is not None and not target.isdecimal():
            raise DamagedArtifact(
                f"{link} points to {target!r}, which is no release: delete it, and run `tag2mask latest {self.name} N`"
            )
        return None if target is None else int(target)

    def history(self) -> list[dict[str, Any]]:
        """What `latest` has pointed to, oldest first: {latest, why, when}."""
        path = self.folder / HISTORY
        return list(read_json(path)) if path.exists() else []

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

    def with_digest(self, digest: str) -> Release | None:
        """The release of a label set, by its content."""
        for number in reversed(self.numbers()):
            release = read_release(self.folder / str(number))
            if release.manifest["digest"] == digest:
                return release
        return None

    def candidates(self) -> list[Release]:
        """The candidates, oldest first."""
        folders = [path for path in (self.folder / CANDIDATES).glob("[!.]*") if path.is_dir()]
        return sorted(map(read_release, folders), key=lambda release: (release.manifest["made"], release.path.name))

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
        number = max(self.numbers(), default=0) + 1 if released else None
        home = self.folder / (str(number) if released else f"{CANDIDATES}/{about['digest'][:12]}")
        aside = self.store.root / ".work" / RELEASES / self.name
        with read_only_as_error(self.store.root), disk_full_as_error(self.store.root):
            shutil.rmtree(aside, ignore_errors=True)
            aside.mkdir(parents=True)
            home.parent.mkdir(parents=True, exist_ok=True)
            write(aside)
            release = Release(home, _seal(aside, {**about, "number": number}, expected))
            if home.exists():  # a candidate that is judged anew
                self._discard(home)
            os.rename(aside, home)
            sync_files([], folders=[home.parent])
            if number is not None:
                self._point(number, "published")
        self._forget_candidates(None if number is None else about["digest"])
        return release

    def move_latest(self, number: int) -> int | None:
        """Let `latest` point to another release.  Returns what it pointed to before.

        Raises:
            NoSuchRelease: there is no such release.
            DamagedArtifact: it is damaged.
        """
        with self.held():
            release, before = self.read(number), self.latest()
            faults = faults_of(release.path, release.manifest, self.store.digests, reread=True)
            if faults:
                raise DamagedArtifact(f"{release.title}: {faults[0].file} {faults[0].what}: {LATEST} stays at {before}")
            self._point(number, "moved by hand")
            return before

    def _point(self, number: int, why: str) -> None:
        link, aside = self.folder / LATEST, self.folder / f".{LATEST}.part"
        aside.unlink(missing_ok=True)
        os.symlink(str(number), aside)
        os.replace(aside, link)
        sync_files([], folders=[self.folder])
        entry = {"latest": number, "why": why, "when": _now()}
        write_json(self.folder / HISTORY, [*self.history(), entry])

    def _settle(self) -> None:
        """Move `latest` to a release whose publisher was killed before it could."""
        numbers, seen = self.numbers(), {entry["latest"] for entry in self.history()}
        if numbers and numbers[-1] not in seen:
            self._point(numbers[-1], "published")

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


def release_faults(store: Store, *, reread: bool = True) -> list[Fault]:
    """What is wrong with the releases and candidates of a store, by name."""
    faults = []
    for name in names(store.root):
        releases = Releases(store, name)
        label = f"{RELEASES}/{name}"
        link = releases.folder / LATEST
        if link.is_symlink() and os.readlink(link) not in map(str, releases.numbers()):
            faults.append(Fault(label, LATEST, f"points to {os.readlink(link)}, which is no release"))
        homes = [releases.folder / str(number) for number in releases.numbers()]
        for home in [*homes, *sorted((releases.folder / CANDIDATES).glob("[!.]*"))]:
            label = home.relative_to(store.root).as_posix()
            try:
                found = faults_of(home, read_release(home).manifest, store.digests, reread=reread)
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
    manifest = {**about, "files": digests, "made": _now()}
    manifest["bytes"] = sum(path.stat().st_size for path in present.values())
    manifest["seal"] = seal_of(manifest)
    sync_files(present.values(), folders=[path for path in aside.rglob("*") if path.is_dir()])
    write_json(aside / MANIFEST, manifest)
    return manifest


def _now() -> str:
    """The time in UTC, fine enough to tell the order of two publications."""
    now = time.time()
    return f"{time.strftime('%Y-%m-%dT%H:%M:%S', time.gmtime(now))}.{int(now % 1 * 1e6):06d}Z"
