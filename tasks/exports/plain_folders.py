"""A release as folders of PNG files: as VOC has them, plain with a table, and as an image folder of Hugging Face."""

import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from tag2mask.tasks.dataset.image_index import ImageRecord
from tag2mask.tasks.dataset.label_maps import IGNORE, class_table, read_labels
from tag2mask.tasks.dataset.tables import write_table
from tag2mask.tasks.exports.export_set import ExportSet, write_json_line, write_text
from tag2mask.tasks.release.contents import tag_table

WHOLE = ("nothing is lost: label maps keep every pixel",)


def write_voc(export_set: ExportSet, out: Path) -> tuple[str, ...]:
    """Write `JPEGImages/`, `SegmentationClass/`, `ImageSets/Segmentation/train.txt`, `labels.txt` and `tags.csv`."""
    images, masks, lists = (out / name for name in ("JPEGImages", "SegmentationClass", "ImageSets/Segmentation"))
    for folder in (images, masks, lists):
        folder.mkdir(parents=True)
    for record in export_set.index:
        export_set.place(record, images)
        shutil.copyfile(export_set.labels.files[record.image_id], masks / f"{record.image_id}.png")
    write_text(lists / "train.txt", _lines(export_set.index.ids))
    write_text(out / "labels.txt", _lines(("background", *export_set.index.classes)))
    write_table(out / "tags.csv", tag_table(export_set.index))
    return WHOLE


def write_plain(export_set: ExportSet, out: Path) -> tuple[str, ...]:
    """Write `images/`, `labels/<id>.png`, `index.csv` and `classes.csv`."""
    for name in ("images", "labels"):
        (out / name).mkdir()
    rows = []
    for record in export_set.index:
        labels = export_set.labels.files[record.image_id]
        name = export_set.place(record, out / "images")
        shutil.copyfile(labels, out / "labels" / f"{record.image_id}.png")
        rows.append(_plain_row(record, name, read_labels(labels), export_set.index.classes))
    write_table(out / "index.csv", rows)
    write_table(out / "classes.csv", class_table(export_set.index.classes))
    return WHOLE


def _plain_row(record: ImageRecord, name: str, labels: np.ndarray, classes: tuple[str, ...]) -> dict[str, Any]:
    pixels = np.bincount(labels.ravel(), minlength=256)
    return {
        "image_id": record.image_id,
        "image": f"images/{name}",
        "label": f"labels/{record.image_id}.png",
        "width": record.width,
        "height": record.height,
        "tags": " ".join(classes[number - 1] for number in record.tags),
        "labeled": " ".join(classes[number - 1] for number in np.flatnonzero(pixels[:IGNORE]).tolist() if number),
        "foreground_share": int(pixels[1:IGNORE].sum()) / labels.size,
        "ignored_share": int(pixels[IGNORE]) / labels.size,
    }


def write_hugging_face(export_set: ExportSet, out: Path) -> tuple[str, ...]:
    """Write `train/` with images, `masks/` and `metadata.jsonl`, and `id2label.json`, as an image folder has them.

    A column that ends with `_file_name` is loaded as an image; a palette PNG keeps its numbers.
    """
    masks = out / "train" / "masks"
    masks.mkdir(parents=True)
    lines = []
    for record in export_set.index:
        name = export_set.place(record, out / "train")
        shutil.copyfile(export_set.labels.files[record.image_id], masks / f"{record.image_id}.png")
        tags = [export_set.name_of(number) for number in record.tags]
        lines.append(json.dumps({"file_name": name, "mask_file_name": f"masks/{record.image_id}.png", "tags": tags}))
    write_text(out / "train" / "metadata.jsonl", _lines(lines))
    names = {0: "background", **dict(enumerate(export_set.index.classes, start=1)), IGNORE: export_set.ignored}
    write_json_line(out / "id2label.json", {str(number): name for number, name in names.items()})
    return WHOLE


def _lines(lines: Sequence[str]) -> str:
    return "".join(f"{line}\n" for line in lines)
