"""A release as YOLO's labels for segmentation: a line a polygon, its class from 0 on, points as shares of the sides."""

from pathlib import Path

import numpy as np

from tag2mask.configs.strict_yaml import yaml_value
from tag2mask.tasks.exports.export_set import ExportSet, write_text
from tag2mask.tasks.mask_codecs.polygons import TOLERANCE, holes_of, mask_of_polygon, polygons_of


def write_yolo(export_set: ExportSet, out: Path) -> tuple[str, ...]:
    """Write `images/train/`, `labels/train/<id>.txt` and `data.yaml`; what turning masks into polygons costs."""
    images, labels = out / "images" / "train", out / "labels" / "train"
    images.mkdir(parents=True)
    labels.mkdir(parents=True)
    shares, holes, worst = list[float](), 0, ""
    for record in export_set.index:
        export_set.place(record, images)
        lines = []
        for number, mask in export_set.masks(record):
            polygons = polygons_of(mask)
            lines += [_line(number - 1, polygon, mask.shape) for polygon in polygons]
            share = _overlap(mask, polygons)
            if share < min(shares, default=2.0):
                worst = f"{export_set.name_of(number)} of {record.image_id}"
            shares.append(share)
            holes += holes_of(mask)
        write_text(labels / f"{record.image_id}.txt", "".join(lines))
    names = "".join(f"  {number}: {yaml_value(name)}\n" for number, name in enumerate(export_set.index.classes))
    write_text(out / "data.yaml", f"train: images/train\nval: images/train\nnames:\n{names}")
    if not shares:
        return ("no image has a labeled pixel, so there is no polygon",)
    return (
        f"polygons within {TOLERANCE:g} pixels of the masks: mean IoU {np.mean(shares):.4f} of {len(shares)} masks, "
        f"lowest {min(shares):.4f} ({worst})",
        f"YOLO's polygons have no holes: {holes} are cut in by bridges",
        f"YOLO has no ignored pixels: {100 * export_set.ignored_share:.2f} % become background",
    )


def _line(number: int, polygon: np.ndarray, size: tuple[int, ...]) -> str:
    """A polygon's line; coordinates have six digits, a thousandth of a pixel in an image of a thousand."""
    shares = np.clip(polygon / [size[1], size[0]], 0, 1)
    return f"{number} {' '.join(f'{value:.6f}' for value in shares.ravel())}\n"


def _overlap(mask: np.ndarray, polygons: list[np.ndarray]) -> float:
    """IoU of a mask and the pixels whose centers lie in its polygons."""
    drawn = np.zeros_like(mask)
    for polygon in polygons:
        drawn |= mask_of_polygon(polygon, mask.shape)
    return float((mask & drawn).sum() / (mask | drawn).sum())
