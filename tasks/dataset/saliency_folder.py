"""Saliency maps for other programs: soft 8-bit maps and a table that flags images in which nothing stands out.

Networks trained on images that always show something salient find something in every image; the flag lets a
person set such maps aside instead of trusting them.
"""

import shutil
from dataclasses import astuple, dataclass, fields
from pathlib import Path

import numpy as np

from tag2mask.tasks.dataset.label_maps import read_gray
from tag2mask.tasks.dataset.tables import write_table
from tag2mask.tasks.dataset.whole_folder import made_whole

SALIENT = 128
"""Saliency (0-255) from which a pixel counts as salient in the table."""
SMALLEST_SHARE = 0.001
"""Share of salient pixels below which nothing is salient: 0.1 % of an image is a speck."""


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
