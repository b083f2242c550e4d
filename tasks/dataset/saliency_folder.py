"""Saliency maps for other programs: soft 8-bit maps and a table that flags images in which nothing stands out.

Networks trained on images that always show something salient find something in every image; the flag lets a
person set such maps aside instead of trusting them.
"""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import astuple, dataclass, fields
from pathlib import Path

import numpy as np

from tag2mask.configs.errors import UserError
from tag2mask.tasks.dataset.label_maps import read_gray
from tag2mask.tasks.dataset.tables import write_table
from tag2mask.tasks.store.files import PART, disk_full_as_error, sync_files

SALIENT = 128
"""Saliency (0-255) from which a pixel counts as salient in the table."""
SMALLEST_SHARE = 0.001
"""Share of salient pixels below which nothing is salient: 0.1 % of an image is a speck."""


class FolderInTheWay(UserError, ValueError):
    """The folder would overwrite something; the message names it."""


@dataclass(frozen=True)
class SalientShare:
    """What the table says of one map."""

    image_id: str
    maximum: int
    """Largest saliency, 0-255."""
    salient_share: float
    """Share of pixels at or above `SALIENT`, in [0, 1]."""
    nothing_salient: bool
    """Whether that share is below `SMALLEST_SHARE`."""


def salient_share(image_id: str, saliency: np.ndarray) -> SalientShare:
    """Summarize a map (H, W) uint8."""
    share = float(np.mean(saliency >= SALIENT))
    return SalientShare(image_id, int(saliency.max(initial=0)), round(share, 6), share < SMALLEST_SHARE)


def write_saliency_folder(maps: Path, out: Path) -> list[SalientShare]:
    """Copy all maps of an artifact to a new folder, with `maps.csv` and what is known of their model.

    Args:
        maps: artifact of a saliency stage: saliency/<id>.png, and provenance.json where it has one.
        out: folder to make: <id>.png, maps.csv, provenance.json.  It appears whole or not at all.

    Returns:
        One row per map, by id.

    Raises:
        FolderInTheWay: `out` exists and is not empty.
        NoRoomOnDisk: the disk is full.
    """
    with made_whole(out) as folder:
        rows = []
        for source in sorted((maps / "saliency").glob("*.png")):
            shutil.copyfile(source, folder / source.name)
            rows.append(salient_share(source.stem, read_gray(source)))
        columns = tuple(field.name for field in fields(SalientShare))
        write_table(folder / "maps.csv", [astuple(row) for row in rows], columns)
        if (maps / "provenance.json").is_file():
            shutil.copyfile(maps / "provenance.json", folder / "provenance.json")
    return rows


@contextmanager
def made_whole(out: Path) -> Iterator[Path]:
    """A folder beside `out` to fill, which takes its place at the end; after an error nothing is left.

    Raises:
        FolderInTheWay: `out` exists and is not empty.
        NoRoomOnDisk: the disk is full.
    """
    check_free(out)
    aside = out.with_name(f".{out.name}.{os.getpid()}{PART}")
    shutil.rmtree(aside, ignore_errors=True)
    try:
        with disk_full_as_error(out.parent):
            aside.mkdir(parents=True)
            yield aside
            files = [path for path in aside.rglob("*") if path.is_file()]
            sync_files(files, folders=[aside])
            os.replace(aside, out)  # takes the place of an empty folder, refuses any other
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
