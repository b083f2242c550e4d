"""Files of work in progress that carry a digest of themselves: checkpoints, and what is computed once and read again.

A result's files are held to its manifest; these lie in a work_dir that has none yet.  The first line of each is the
SHA-256 of the rest, so that a bit that has turned over meanwhile is noticed before anything is made of it.
"""

import hashlib
import logging
from collections.abc import Iterator
from pathlib import Path

from tag2mask.tasks.store.files import write_file

KEPT = 2
"""Checkpoints that stay: the newest, and one to go back to where that is damaged."""
_NAME = "checkpoint-{:09d}"
log = logging.getLogger("tag2mask")


class DamagedFile(ValueError):
    """A file is not what was written."""


def write_checked(path: Path, content: bytes | memoryview, *, durably: bool = False) -> None:
    """Write a file that carries its digest, atomically.

    Args:
        path: the file.
        content: what `read_checked` gives back.
        durably: force it to the disk, as `write_file` does.

    Raises:
        NoRoomOnDisk: the disk is full; the file is as it was before.
    """
    digest = hashlib.sha256(content).hexdigest().encode()
    write_file(path, lambda file: file.writelines((digest, b"\n", content)), durably=durably)


def read_checked(path: Path) -> bytes:
    """What was written to a file.

    Raises:
        DamagedFile: it holds something else.
        OSError: it cannot be read now.
    """
    with path.open("rb") as file:
        digest, content = file.readline(65), file.read()
    if digest != hashlib.sha256(content).hexdigest().encode() + b"\n":
        raise DamagedFile(f"{path}: is not what was written there")
    return content


def save_checkpoint(folder: Path, step: int, content: bytes | memoryview) -> None:
    """Write the checkpoint of a step durably, and drop those before the one before it.

    Raises:
        NoRoomOnDisk: the disk is full; the checkpoints before it stay.
    """
    write_checked(folder / _NAME.format(step), content, durably=True)
    for path in _saved(folder)[KEPT:]:
        path.unlink()


def checkpoints(folder: Path) -> Iterator[tuple[int, bytes]]:
    """(step, content) of the sound checkpoints, the newest first; a damaged one is named in the log and deleted.

    Raises:
        OSError: one cannot be read now; it may be sound.
    """
    for path in _saved(folder):
        try:
            yield int(path.name.rpartition("-")[2]), read_checked(path)
        except FileNotFoundError:  # damaged, and another process of this training was first to delete it
            continue
        except DamagedFile as error:
            log.warning("%s: the training goes on from an older checkpoint, or from its start", error)
            path.unlink(missing_ok=True)


def _saved(folder: Path) -> list[Path]:
    """Checkpoints, the newest first."""
    return sorted(folder.glob(f"{_NAME.partition('{')[0]}{'[0-9]' * 9}"), reverse=True)
