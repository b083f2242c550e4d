"""Folders that are made once, so that an interrupted benchmark goes on."""

import shutil
from collections.abc import Callable
from pathlib import Path


def filled(folder: Path, make: Callable[[Path], None], *, resumes: bool = False) -> Path:
    """A folder that `make` fills once; it appears whole.

    Args:
        folder: where.
        make: fills an empty folder.
        resumes: whether `make` goes on with what an interrupted one left; else that is thrown away.
    """
    if not folder.is_dir():
        part = folder.with_name(f"{folder.name}.part")
        if not resumes:
            shutil.rmtree(part, ignore_errors=True)
        part.mkdir(parents=True, exist_ok=True)
        make(part)
        part.rename(folder)
    return folder
