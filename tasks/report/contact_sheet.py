"""One picture that shows what a stage made: the same images every night, each beside its result."""

from pathlib import Path

import numpy as np

from tag2mask.configs.schema import NodeFacts
from tag2mask.tasks.dataset.image_index import ImageIndex
from tag2mask.tasks.report.gallery import evenly_spaced, gallery_columns, gallery_rows
from tag2mask.tasks.report.pictures import jpeg_address, picture_pixels
from tag2mask.tasks.report.steps import Step

PAIRS_A_ROW = 4
LARGEST = 200_000
"""Characters of the picture's address; it is kept by a database for good."""
QUALITIES = (85, 70, 50, 30, 10)
"""JPEG's, of which the first is taken that keeps to `LARGEST`."""
GAP = 4
"""Pixels between two pairs."""


def contact_sheet(dataset: Path, facts: NodeFacts, folder: Path, *, pairs: int = 12, side: int = 128) -> str | None:
    """Draw images and what a stage made of them, side by side.

    Args:
        dataset: `index_dataset` artifact, or `index_test` for the test split.
        facts: title and split of its node.
        folder: its artifact.
        pairs: images at most, evenly spaced over the split.
        side: long side of a picture, in pixels.

    Returns:
        A `data:` address of a JPEG, at most 200 000 characters; None for a stage that makes no pictures.
    """
    step = Step.read("", folder, facts)
    columns = gallery_columns([step], evaluations=[], truth=None, split=facts.split)
    index = ImageIndex.read(dataset).split(facts.split)
    chosen = evenly_spaced(index.ids, pairs)
    rows = gallery_rows(index, chosen, columns, {}, side=side, threads=1) if columns else []
    if not rows:
        return None
    cells = [[picture_pixels(p.address) if p.address else None for p in row.pictures] for row in rows]
    drawn = [size for row in cells for pixels in row if pixels is not None for size in pixels.shape[:2]]
    sheet = _sheet(cells, max(drawn))
    for quality in QUALITIES:
        address = jpeg_address(sheet, quality)
        if len(address) <= LARGEST:
            break
    return address


def _sheet(cells: list[list[np.ndarray | None]], side: int) -> np.ndarray:
    """Paste pictures of at most side x side pixels, a few images a row, on white: (H, W, 3) uint8."""
    wide = max(len(row) for row in cells)
    across = min(PAIRS_A_ROW, len(cells))
    down = -(-len(cells) // across)
    step = wide * side + GAP
    sheet = np.full((down * (side + GAP) - GAP, across * step - GAP, 3), 255, np.uint8)
    for number, row in enumerate(cells):
        top, left = (number // across) * (side + GAP), (number % across) * step
        for column, pixels in enumerate(row):
            if pixels is not None:
                height, width = pixels.shape[:2]
                sheet[top : top + height, left + column * side : left + column * side + width] = pixels
    return sheet
