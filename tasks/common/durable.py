"""Writing files so that they are either complete or absent, whatever happens in between."""

import errno
import json
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO


class NoRoomOnDisk(RuntimeError):
    """The disk is full; what was done so far is kept and the run can be resumed."""


@contextmanager
def told_of_full_disk(folder: Path) -> Iterator[None]:
    """Turn the system's 'no space left' into an error that says where, how much is free, and what to do."""
    try:
        yield
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        free = shutil.disk_usage(folder).free / 2**20
        raise NoRoomOnDisk(
            f"no room on the disk of {folder} ({free:.0f} MiB free): free some, or remove old artifacts with "
            "`tag2mask gc`, and run again; finished work is kept"
        ) from error


def write_file(path: Path, write: Callable[[BinaryIO], Any]) -> None:
    """Write a file aside and rename it; a reader never sees a part of it.

    The bytes are not forced to the disk here: see `sync_files`, which does that for many files at once.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        with told_of_full_disk(path.parent), aside.open("wb") as file:
            write(file)
        os.replace(aside, path)
    finally:
        aside.unlink(missing_ok=True)


def write_json(path: Path, value: Any) -> None:
    """Write a JSON file with sorted keys, atomically and durably."""
    text = json.dumps(value, indent=1, sort_keys=True, allow_nan=False) + "\n"
    write_file(path, lambda file: file.write(text.encode()))
    sync_files([path])


def read_json(path: Path) -> Any:
    """Read a JSON file."""
    return json.loads(path.read_text(encoding="utf-8"))


def sync_files(paths: list[Path]) -> None:
    """Force files and the folders that hold them to the disk."""
    for path in [*paths, *sorted({path.parent for path in paths})]:
        descriptor = os.open(path, os.O_RDONLY)
        try:
            with told_of_full_disk(path.parent):
                os.fsync(descriptor)
        finally:
            os.close(descriptor)
