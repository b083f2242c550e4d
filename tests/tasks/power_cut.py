"""What a power cut would lose: a model of a disk that keeps what `fsync` has reached, and no more."""

import os
import stat
from collections.abc import Callable
from pathlib import Path

import pytest


class Disk:
    """Notes what each `fsync` finds, and at each rename what of it had not been forced to the disk."""

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self._held: dict[int, object] = {}
        """Inode -> what the last `fsync` found: a file's size and time of writing, a folder's names."""
        self.renamed: dict[Path, list[Path]] = {}
        """Target of each rename -> what below it a power cut just after would leave empty, short or without a name."""
        patch.setattr(os, "fsync", self._fsync)
        for name in ("rename", "replace"):
            patch.setattr(os, name, self._renaming(getattr(os, name)))

    def keeps_name(self, path: Path) -> bool:
        """Whether the folder of a path was forced to the disk after the path got its name."""
        names = self._held.get(path.parent.stat().st_ino)
        return isinstance(names, frozenset) and path.name in names

    def _fsync(self, descriptor: int) -> None:
        self._held[os.fstat(descriptor).st_ino] = _content(os.fstat(descriptor), lambda: os.listdir(descriptor))

    def _renaming(self, rename: Callable[..., None]) -> Callable[..., None]:
        def renamed(source: Path, target: Path) -> None:
            below = Path(source).rglob("*") if Path(source).is_dir() else ()
            paths = [Path(source), *below]
            lost = [path.relative_to(source) for path in paths if not self._holds(path)]
            rename(source, target)
            self.renamed[Path(target)] = lost

        return renamed

    def _holds(self, path: Path) -> bool:
        """Whether a file's bytes, or all names of a folder, are on the disk."""
        if path.is_symlink():
            return True  # it is a name, of which its folder knows
        found = self._held.get(path.stat().st_ino)
        now = _content(path.stat(), lambda: os.listdir(path))
        return now <= found if isinstance(now, frozenset) and isinstance(found, frozenset) else now == found


def _content(status: os.stat_result, names: Callable[[], list[str]]) -> object:
    return frozenset(names()) if stat.S_ISDIR(status.st_mode) else (status.st_size, status.st_mtime_ns)
