"""The same images through every step: which images, which columns, which pictures."""

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from tag2mask.tasks.catalog import CATALOG, PictureKind
from tag2mask.tasks.dataset.class_maps import read_class_maps
from tag2mask.tasks.dataset.ground_truth import GroundTruth
from tag2mask.tasks.dataset.image_index import ImageIndex, ImageRecord
from tag2mask.tasks.dataset.images import resize
from tag2mask.tasks.dataset.label_maps import read_gray, read_labels
from tag2mask.tasks.report.pictures import (
    gray_picture,
    heat_picture,
    image_picture,
    label_picture,
    thumbnail_size,
)
from tag2mask.tasks.report.steps import Evaluated, Step

IMAGE, TRUTH = "image", "truth"
"""Titles of the first and the last column."""


@dataclass(frozen=True)
class Column:
    """One picture of every row."""

    title: str
    kind: PictureKind
    path: Callable[[str], Path]
    """Image id -> file; of `gray by class`, a map for each of the image's tags: `<class number>/<id>` -> file."""
    scores: Mapping[str, float]
    """Mean IoU by image id, where the step was evaluated."""


@dataclass(frozen=True)
class Picture:
    """One cell of the gallery."""

    title: str
    address: str | None
    """`data:` address; None where the step made nothing for the image."""
    score: float | None
    by_tag: tuple[tuple[int, str], ...] = ()
    """Class number and `data:` address of each map, in a cell that holds one for every tag."""

    @property
    def made(self) -> bool:
        """Whether there is anything to show."""
        return self.address is not None or bool(self.by_tag)


@dataclass(frozen=True)
class Row:
    """One image through every step."""

    record: ImageRecord
    score: float | None
    """Mean IoU by which the image was chosen."""
    pictures: tuple[Picture, ...]


def gallery_columns(
    steps: Sequence[Step], evaluations: Sequence[Evaluated], truth: GroundTruth | None, split: str
) -> list[Column]:
    """The columns of a split, in the order of the method, the image before and the truth behind them."""
    scores = {e.facts.measures: e.image_scores for e in evaluations if e.scores["split"] == split}
    columns = []
    for step in steps:
        stage = CATALOG[step.stage]
        if stage.picture is not None and step.facts.split in ("train", split):
            path = partial(_file, step.folder, stage.file)
            columns.append(Column(step.facts.title, stage.picture, path, scores.get(step.name, {})))
    if truth is not None:
        columns.append(Column(TRUTH, "labels", partial(_file, truth.folder, "masks/{}.png"), {}))
    return columns


def _file(folder: Path, pattern: str, image_id: str) -> Path:
    return folder / pattern.format(image_id)


def choose_images(
    image_ids: Sequence[str], scores: Mapping[str, float], count: int
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The worst images, worst first, and the best, best first; no image is in both.

    Without scores: (nothing, twice as many images evenly spaced in the order given).
    """
    ranked = sorted((image_id for image_id in image_ids if image_id in scores), key=lambda i: (scores[i], i))
    if not ranked:
        return (), evenly_spaced(image_ids, 2 * count)
    worst = ranked[: min(count, (len(ranked) + 1) // 2)]
    best = ranked[max(len(worst), len(ranked) - count) :]
    return tuple(worst), tuple(reversed(best))


def evenly_spaced(image_ids: Sequence[str], count: int) -> tuple[str, ...]:
    """So many of the images at most, evenly spaced over the order given, the first and the last among them."""
    positions = np.linspace(0, len(image_ids) - 1, min(count, len(image_ids))).round().astype(int)
    return tuple(image_ids[position] for position in positions)


def gallery_rows(
    index: ImageIndex,
    image_ids: Sequence[str],
    columns: Sequence[Column],
    scores: Mapping[str, float],
    *,
    side: int,
    threads: int,
) -> list[Row]:
    """Draw the rows of the images.

    Args:
        index: the dataset.
        image_ids: images, in order.
        columns: see `gallery_columns`.
        scores: by which the images were chosen.
        side: long side of a picture, in pixels.
        threads: rows drawn at once.

    Returns:
        One row an image, without columns that are empty in all of them; none where no step made a picture.
    """

    def draw(record: ImageRecord) -> Row:
        size = thumbnail_size(record.size, side)
        pixels = resize(index.pixels(record), size)
        pictures = [Picture(IMAGE, image_picture(pixels), None)]
        for column in columns:
            if column.kind == "gray by class":
                pictures.append(Picture(column.title, None, None, _maps_by_tag(column, record, side)))
                continue
            path = column.path(record.image_id)
            address = _draw(column.kind, path, pixels) if path.exists() else None
            pictures.append(Picture(column.title, address, column.scores.get(record.image_id)))
        return Row(record, scores.get(record.image_id), tuple(pictures))

    with ThreadPoolExecutor(max(1, threads)) as pool:
        rows = list(pool.map(draw, index.only(image_ids)))
    used = _used(rows)
    if {title for title, _ in used} <= {IMAGE, TRUTH}:
        return []
    return [Row(row.record, row.score, tuple(row.pictures[i] for _, i in used)) for row in rows]


def _used(rows: Sequence[Row]) -> list[tuple[str, int]]:
    """Titles and positions of columns of which at least one row has a picture; validation has no saliency or labels."""
    columns = zip(*(row.pictures for row in rows), strict=True)
    return [(cells[0].title, i) for i, cells in enumerate(columns) if any(cell.made for cell in cells)]


def _maps_by_tag(column: Column, record: ImageRecord, side: int) -> tuple[tuple[int, str], ...]:
    """The map of every tag that has one; several share the width of a cell, two in a row."""
    paths = {number: column.path(f"{number}/{record.image_id}") for number in record.tags}
    there = {number: path for number, path in paths.items() if path.exists()}
    size = thumbnail_size(record.size, side if len(there) == 1 else side // 2)
    return tuple((number, gray_picture(read_gray(path), size)) for number, path in there.items())


def _draw(kind: PictureKind, path: Path, pixels: np.ndarray) -> str:
    size = (pixels.shape[0], pixels.shape[1])
    if kind == "heat":
        maps, _ = read_class_maps(path, size)
        return heat_picture(pixels, maps.max(axis=0) if len(maps) else np.zeros(size, np.float32))
    if kind == "gray":
        return gray_picture(read_gray(path), size)
    return label_picture(read_labels(path), size)
