"""A folder for people or other programs that is written whole or not at all."""

import glob
import os
import shutil
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tag2mask.configs.errors import UserError
from tag2mask.tasks.store.digests import files_below
from tag2mask.tasks.store.files import PART, disk_full_as_error, sync_files


class FolderInTheWay(UserError, ValueError):
    """The folder would overwrite something; the message names it."""


@contextmanager
def made_whole(out: Path) -> Iterator[Path]:
    """A folder beside `out` to fill, which takes its place at the end; after an error nothing is left.

    It is named after this process, so that two commands at once do not share it; what killed ones of this machine left
    is removed by the next.

    Raises:
        FolderInTheWay: `out` exists and is not empty, before or when the new folder is ready.
        NoRoomOnDisk: the disk is full.
    """
    check_free(out)
    aside = out.with_name(f"{_beginning(out)}{os.getpid()}{PART}")
    try:
        with disk_full_as_error(out.parent):
            _remove_killed(out)
            aside.mkdir(parents=True)
            yield aside
            folders = [aside, *(path for path in aside.rglob("*") if path.is_dir())]
            sync_files(files_below(aside), folders=folders)
            _put(aside, out)
            sync_files([], folders=[out.parent])
    finally:
        shutil.rmtree(aside, ignore_errors=True)


def check_free(out: Path) -> None:
    """Refuse to write where something is.

    Raises:
        FolderInTheWay: `out` exists and is not an empty folder.
    """
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise FolderInTheWay(f"{out} exists and is not empty; name a new folder with --out")


def _put(aside: Path, out: Path) -> None:
    """Let a folder take the place of an empty one, or of none."""
    try:
        os.replace(aside, out)
    except OSError:
        check_free(out)  # another command was ready first
        raise


def _beginning(out: Path) -> str:
    """How the folders aside of this machine begin; a number of a process says nothing on another one."""
    return f".{out.name}.{socket.gethostname()}."


def _remove_killed(out: Path) -> None:
    """Remove what processes of this machine that are no more had begun to fill, and an earlier one of this number."""
    beginning = _beginning(out)
    for path in out.parent.glob(f"{glob.escape(beginning)}*{PART}"):
        number = path.name.removeprefix(beginning).removesuffix(PART)
        if number.isdecimal() and not _runs_beside(int(number)):
            shutil.rmtree(path, ignore_errors=True)


def _runs_beside(process: int) -> bool:
    """Whether another process than this one has that number."""
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:  # somebody else's
        return True
    return process != os.getpid()
