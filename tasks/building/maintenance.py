"""Look after a store: check every artifact, and remove what no kept run needs."""

import os
import shutil
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from tag2mask.configs.errors import UserError
from tag2mask.tasks.building.build import KEY
from tag2mask.tasks.store.artifact import Artifact
from tag2mask.tasks.store.digests import files_below
from tag2mask.tasks.store.files import parts_below
from tag2mask.tasks.store.manifest import MANIFEST, DamagedArtifact, Fault, faults_of, label_of, read_manifest
from tag2mask.tasks.store.store import RELEASES, Store

__all__ = ["Fault", "StoreInUse", "collect_garbage", "verify"]


class StoreInUse(UserError, RuntimeError):
    """A run is at work in the store."""


ABANDONED_SECONDS = 7 * 86_400.0
"""Unfinished work younger than this may be resumed by the next run, and stays."""


def verify(store: Store, *, reread: bool = True) -> list[Fault]:
    """Check every artifact.

    Args:
        store: the store; may be read-only.
        reread: read every byte again instead of trusting the file system's signature of unchanged files.

    Returns:
        All faults, by stage and key; nothing where the store is sound.
    """
    faults = []
    for folder in _artifact_folders(store.root):
        try:
            found = faults_of(folder, read_manifest(folder), store.digests, reread=reread)
        except (DamagedArtifact, FileNotFoundError) as error:
            found = [Fault(label_of(folder), MANIFEST, f"cannot be trusted ({error})")]
        if folder.exists():  # else a run has set it aside or a person has deleted it meanwhile
            faults += found
    return faults


def collect_garbage(
    store: Store, *, keep: Callable[[], Iterable[str]], dry_run: bool, abandoned_seconds: float = ABANDONED_SECONDS
) -> list[tuple[str, int]]:
    """Remove artifacts that no kept run needs, damaged and replaced ones, abandoned work, and half-written files.

    Releases stay; the datasets whose images belong to their labels are for `keep` to name.

    Args:
        store: the store.
        keep: gives `stage/key` of the artifacts to keep, asked when no run can start; what they were made from is kept
            too, and an interrupted attempt at one of them.  Labels of artifacts that do not exist are ignored.
        dry_run: only list what would go.
        abandoned_seconds: unfinished work that nothing was written to for this long counts as abandoned.

    Returns:
        Label (`stage/key`, or a path below the store) and bytes given back to the disk, of everything removed.  A file
        that several artifacts share counts with the last of them.

    Raises:
        StoreInUse: a run is at work.
        DamagedArtifact: the manifest of a kept artifact or of a release cannot be trusted, so that its inputs are
            unknown.
    """
    try:
        with store.lock("run", wait=False):
            reachable = _reachable(store, keep())
            garbage = list(_garbage(store, reachable, time.time() - abandoned_seconds))
            sizes = _freed(garbage)
            if not dry_run:
                for path in garbage:
                    _remove(store, path)
            return [(_label(store, path), size) for path, size in zip(garbage, sizes, strict=True)]
    except BlockingIOError as error:
        raise StoreInUse(f"a run is at work in {store.root}: collect garbage when it has ended") from error


def holdings(store: Store, kept: Iterable[str] | None) -> tuple[list[Artifact], int]:
    """The complete artifacts, and how many of them neither belong to some artifacts nor went into one.

    Args:
        store: the store.
        kept: `stage/key` of those artifacts; None where they are unknown, and then 0 is the number.

    Raises:
        DamagedArtifact: the manifest of one that is needed cannot be trusted.
    """
    found = store.artifacts()
    needed = None if kept is None else _reachable(store, kept)
    return found, 0 if needed is None else sum(artifact.label not in needed for artifact in found)


def _artifact_folders(root: Path) -> list[Path]:
    """Folders of artifacts, whether sound or not, by stage and key."""
    found = (path for path in root.glob("[!.]*/*") if path.parent.name != RELEASES)  # a run may be named like a key
    return sorted(path for path in found if KEY.fullmatch(path.name) and path.is_dir())


def _reachable(store: Store, keep: Iterable[str]) -> set[str]:
    """Labels of the artifacts to keep and of all that they were made from."""
    reached: set[str] = set()
    waiting = list(keep)
    while waiting:
        label = waiting.pop()
        if label in reached:
            continue
        reached.add(label)
        folder = store.root / label
        if folder.is_dir():
            try:
                waiting += _inputs(Artifact(folder, read_manifest(folder)))
            except DamagedArtifact as damage:
                raise DamagedArtifact(
                    f"{damage}; what it was made from is not known, so nothing was removed: run again, which "
                    f"rebuilds it, or delete {folder}"
                ) from damage
    return reached


def _inputs(artifact: Artifact) -> Iterator[str]:
    """Labels of the artifacts that one was made from; raw files may lie in the store's folder, too."""
    for path in artifact.manifest.get("input_paths", {}).values():
        stage, key = (*Path(path).parts[:2], "", "")[:2]
        if not Path(path).is_absolute() and KEY.fullmatch(key):
            yield f"{stage}/{key}"


def _garbage(store: Store, reachable: set[str], abandoned_before: float) -> Iterator[Path]:
    works = sorted((store.root / ".work").glob("*/*"))
    folders = [*_artifact_folders(store.root), *(work for work in works if _last_written(work) <= abandoned_before)]
    free = [folder for folder in folders if not _locked(store, folder)]
    yield from (folder for folder in free if label_of(folder) not in reachable)
    yield from sorted((store.root / ".trash").glob("*"))
    for folder in [*(folder for folder in free if label_of(folder) in reachable), store.root / ".runs"]:
        yield from parts_below(folder)


def _last_written(folder: Path) -> float:
    """When anything in a folder was last written, in seconds since the epoch."""
    return max(path.lstat().st_mtime for path in (folder, *folder.rglob("*")))


def _locked(store: Store, folder: Path) -> bool:
    """Whether somebody is building an artifact or from it."""
    for prefix in ("", "use-"):
        try:
            with store.lock(f"{prefix}{folder.parent.name}-{folder.name}", wait=False):
                pass
        except BlockingIOError:
            return True
    return False


def _freed(garbage: list[Path]) -> list[int]:
    """Bytes that removing each path, in this order, gives back: a file goes with its last link."""
    gone: Counter[tuple[int, int]] = Counter()
    sizes = []
    for path in garbage:
        size = 0
        for file in [path] if path.is_file() else (file for file in path.rglob("*") if file.is_file()):
            stat = file.lstat()
            gone[stat.st_dev, stat.st_ino] += 1
            if gone[stat.st_dev, stat.st_ino] == stat.st_nlink:
                size += stat.st_size
        sizes.append(size)
    return sizes


def _remove(store: Store, path: Path) -> None:
    """Delete a file or folder; an artifact is moved away first, so that a kill leaves none of it half there."""
    if path.is_symlink() or not path.is_dir():  # what a person moved elsewhere and linked stays there
        path.unlink(missing_ok=True)
        return
    doomed = path
    if path.parent.name != ".trash":
        doomed = store.root / ".trash" / f"removed-{path.parent.name}-{path.name}-{time.time_ns()}"
        doomed.parent.mkdir(exist_ok=True)
        os.rename(path, doomed)
        store.digests.forget(file for file in files_below(doomed) if file.stat().st_nlink == 1)
    shutil.rmtree(doomed)
    if not any(path.parent.iterdir()):
        path.parent.rmdir()


def _label(store: Store, path: Path) -> str:
    return path.relative_to(store.root).as_posix()
