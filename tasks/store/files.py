"""Writing files so that they are either complete or absent, whatever happens in between."""

import errno
import json
import os
import shutil
import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

from tag2mask.configs.errors import UserError

PART = ".part"
MACHINE = os.urandom(6).hex()
"""Of this process, and of those that were forked from it."""
SYNCED_AT_ONCE = 32
"""Files forced to the disk at once."""
_watched: dict[Path, set[Path]] = {}  # folder -> files that this process has written below it while it was watched
NO_ROOM_BYTES = 2**20
"""With less than this free, a write that failed without a reason failed for want of room."""


class NoRoomOnDisk(UserError, RuntimeError):
    """The disk is full; what was done so far is kept and the run can be resumed."""


@contextmanager
def disk_full_as_error(folder: Path) -> Iterator[None]:
    """Turn the system's 'no space left' into an error that says where, how much is free, and what to do.

    Args:
        folder: what is written to; need not exist yet.

    Raises:
        NoRoomOnDisk: the disk or the user's share of it is full.
    """
    try:
        yield
    except NoRoomOnDisk:
        raise
    except (OSError, RuntimeError) as error:
        free = free_bytes(folder)
        if not _means_full(error, free):
            raise
        share = ", but this user's share of it is used up" if getattr(error, "errno", 0) == errno.EDQUOT else ""
        raise NoRoomOnDisk(
            f"no room on the disk of {folder} ({free / 2**20:.0f} MiB free{share}): free some, or remove old artifacts "
            "with `tag2mask gc`, and run again; finished work is kept"
        ) from error


def _means_full(error: OSError | RuntimeError, free: int) -> bool:
    """Whether a full disk is behind an error: numpy and torch report a short write without its errno."""
    number = error.errno if isinstance(error, OSError) else None
    if number is not None:
        return number in (errno.ENOSPC, errno.EDQUOT)
    return free < NO_ROOM_BYTES and "writ" in str(error)


def free_bytes(folder: Path) -> int:
    """Bytes free on the disk of a folder, which need not exist yet."""
    while not folder.exists() and folder != folder.parent:
        folder = folder.parent
    return shutil.disk_usage(folder).free


def write_file(path: Path, write: Callable[[BinaryIO], Any], *, durably: bool = False) -> None:
    """Write a file aside and rename it; a reader never sees a part of it.

    Args:
        path: the file; its folder is made if need be.
        write: writes the bytes to the open file that it is given.
        durably: force the bytes to the disk before the rename, so that a power cut leaves the old file or the new one.
            Without it see `sync_files`, which does that for many files at once.

    Raises:
        NoRoomOnDisk: the disk is full; the file is as it was before.
    """
    # not named after the file, whose name may be as long as the system allows; the kernel's thread ids are unique, but
    # another machine has the same ones
    aside = path.with_name(f".{MACHINE}{threading.get_native_id()}{PART}")
    try:
        with disk_full_as_error(path.parent):
            path.parent.mkdir(parents=True, exist_ok=True)
            with aside.open("wb") as file:
                write(file)
                if durably:
                    file.flush()
                    os.fsync(file.fileno())
            os.replace(aside, path)
        note_written(path)
    finally:
        aside.unlink(missing_ok=True)
    if durably:
        sync_files([], folders=[path.parent])


@contextmanager
def files_written(folder: Path) -> Iterator[set[Path]]:
    """The files that this process writes below a folder by `write_file` meanwhile, or names by `note_written`."""
    _watched[folder] = set()
    try:
        yield _watched[folder]
    finally:
        del _watched[folder]


def note_written(path: Path) -> None:
    """Note that a file was written, by other means than `write_file`."""
    for folder, written in list(_watched.items()):
        if path.is_relative_to(folder):
            written.add(path)


def forget_written(paths: Iterable[Path]) -> None:
    """Note that it is kept elsewhere which files were written: there may be millions."""
    for written in list(_watched.values()):
        written.difference_update(paths)


def parts_below(folder: Path) -> list[Path]:
    """Files that `write_file` had begun when its process was killed (or is writing just now), sorted."""
    return sorted(path for path in folder.rglob(f".*{PART}") if path.is_file())


def write_json(path: Path, value: Any) -> None:
    """Write a JSON file with sorted keys, atomically and durably.

    Raises:
        ValueError: it holds a number that JSON does not have (not a number, infinity); the message names the file.
        NoRoomOnDisk: the disk is full.
    """
    try:
        text = json.dumps(value, indent=1, sort_keys=True, allow_nan=False) + "\n"
    except ValueError as error:
        raise ValueError(f"{path}: cannot be written as JSON ({error})") from error
    write_file(path, lambda file: file.write(text.encode()), durably=True)


def read_json(path: Path) -> Any:
    """Read a JSON file.

    Raises:
        ValueError: it is not JSON; the message names the file.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8"), parse_constant=_refuse)
    except (ValueError, RecursionError) as error:  # the latter where it is nested thousands deep
        raise ValueError(f"{path}: is not JSON ({error})") from error


def _refuse(constant: str) -> None:
    raise ValueError(f"{constant} is not a number of JSON")


def sync_files(paths: Iterable[Path], *, folders: Iterable[Path] = ()) -> None:
    """Force files, the folders that hold them, and further folders to the disk.

    Many are asked for at once: the file system then writes its own journal once for all of them.

    Raises:
        NoRoomOnDisk: the disk turned out to be full.
    """
    files = list(paths)
    wanted = [*files, *sorted({path.parent for path in files} | set(folders))]
    with ThreadPoolExecutor(min(SYNCED_AT_ONCE, max(1, len(wanted)))) as pool:
        for _ in pool.map(_sync, wanted):
            pass


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        with disk_full_as_error(path.parent):
            os.fsync(descriptor)
    finally:
        os.close(descriptor)
