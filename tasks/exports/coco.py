"""A release as COCO's JSON: one mask (RLE) an image and class, and as panoptic PNG files that hold every pixel."""

from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from tag2mask.tasks.dataset.label_maps import IGNORE
from tag2mask.tasks.exports.export_set import ExportSet, write_json_line
from tag2mask.tasks.mask_codecs.coco_masks import annotations, box_of, categories
from tag2mask.tasks.store.files import write_file

BACKGROUND = 256
"""Category and segment of the background in a panoptic file, where 0 is void; labels have 8 bits."""


def write_coco(export_set: ExportSet, out: Path) -> tuple[str, ...]:
    """Write `images/` and `annotations.json`."""
    (out / "images").mkdir()
    images, found = _images(export_set, out), list[dict[str, Any]]()
    for image, record in zip(images, export_set.index, strict=True):
        found += annotations(export_set.map(record), image["id"], len(found) + 1)
    about = "Category 255 with iscrowd 1: ignored pixels. A pixel without annotation: background."
    content = {
        "info": {**export_set.origin, "description": about},
        "images": images,
        "categories": categories(export_set.index.classes),
        "annotations": found,
    }
    write_json_line(out / "annotations.json", content)
    return (
        f"ignored pixels ({100 * export_set.ignored_share:.2f} %) are crowds of the category 255: a program that "
        "leaves out crowds trains them as background",
    )


def write_coco_panoptic(export_set: ExportSet, out: Path) -> tuple[str, ...]:
    """Write all of `write_coco`, `panoptic.json`, and `panoptic/<id>.png` with id = R + 256 G + 256² B, 0 = ignored."""
    write_coco(export_set, out)
    (out / "panoptic").mkdir()
    images, found = _images(export_set, None), []
    for image, record in zip(images, export_set.index, strict=True):
        labels, name = export_set.map(record), f"{record.image_id}.png"
        ids = np.where(labels == IGNORE, 0, np.where(labels == 0, BACKGROUND, labels.astype(int)))
        colors = np.stack([ids % 256, ids // 256, np.zeros_like(ids)], axis=2).astype(np.uint8)
        write_file(out / "panoptic" / name, lambda file, c=colors: Image.fromarray(c).save(file, format="PNG"))  # type: ignore[misc]
        segments = [_segment(ids == number, number) for number in np.unique(ids).tolist() if number]
        found.append({"image_id": image["id"], "file_name": name, "segments_info": segments})
    named = [{**one, "isthing": 0} for one in categories(export_set.index.classes)[:-1]]
    background = {"id": BACKGROUND, "name": "background", "supercategory": "background", "isthing": 0}
    about = "A segment a class, all its objects in one. Id 0: ignored pixels."
    content = {
        "info": {**export_set.origin, "description": about},
        "images": images,
        "categories": [*named, background],
        "annotations": found,
    }
    write_json_line(out / "panoptic.json", content)
    return ("nothing is lost in the panoptic files; annotations.json has its ignored pixels as crowds",)


def _images(export_set: ExportSet, out: Path | None) -> list[dict[str, Any]]:
    """COCO's records of the images; puts them below a folder, if one is given."""
    found = []
    for number, record in enumerate(export_set.index, start=1):
        name = Path(record.file).name if out is None else export_set.place(record, out / "images")
        found.append({"id": number, "file_name": name, "width": record.width, "height": record.height})
    return found


def _segment(mask: np.ndarray, number: int) -> dict[str, Any]:
    bbox = [int(side) for side in box_of(mask)]
    return {"id": number, "category_id": number, "area": int(mask.sum()), "bbox": bbox, "iscrowd": 0}
