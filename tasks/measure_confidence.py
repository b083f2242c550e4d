"""How far the evidences stand behind the labels of each image and class: the least certain ones are reviewed first.

Reads   dataset           the index; its training images
        labels            <id>.png, the labels that are delivered
        cams              <id>.npz
        saliency          saliency/<id>.png (H, W) uint8, 255 = salient
        scores            scores/<id>.npz of `predict_masks`
        predictions       <id>.png of `refine_masks`
Writes  confidence.csv    one line an image and class (tags, and what is labeled), the least certain first
        pixels/<id>.png   with `per_pixel`: (H, W) uint8, 255 = certain
        metrics.json      means

No masks are read.  The mean of five figures is no probability: it puts images in an order.
"""

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from tag2mask.configs.schema import Confidence
from tag2mask.tasks.confidence.agreement import LabelEvidence, class_confidence, pixel_confidence
from tag2mask.tasks.dataset.arrays import read_scores
from tag2mask.tasks.dataset.class_maps import read_class_maps
from tag2mask.tasks.dataset.image_index import ImageIndex, ImageRecord
from tag2mask.tasks.dataset.label_maps import IGNORE, read_gray, read_labels, write_gray
from tag2mask.tasks.dataset.tables import write_table
from tag2mask.tasks.executors.images import map_in_parallel
from tag2mask.tasks.executors.work import Process, one_by_one
from tag2mask.tasks.store.files import note_written, write_json
from tag2mask.tasks.store.runtime import StageRuntime


def run(
    config: Confidence,
    out: Path,
    runtime: StageRuntime,
    *,
    dataset: Path,
    labels: Path,
    cams: Path,
    saliency: Path,
    scores: Path,
    predictions: Path,
) -> None:
    """Rate the labels of all training images."""
    index = ImageIndex.read(dataset).split("train")
    work = partial(
        open_work,
        config=config,
        out=out,
        dataset=dataset,
        labels=labels,
        cams=cams,
        saliency=saliency,
        scores=scores,
        predictions=predictions,
    )
    rows = []
    for image_id, found in map_in_parallel(index.ids, out, work, runtime):
        rows += found
        if config.per_pixel:
            note_written(out / "pixels" / f"{image_id}.png")  # perhaps by another process
    rows.sort(key=lambda row: (row["confidence"], row["image_id"], row["class"]))
    write_table(out / "confidence.csv", rows)
    values = [row["confidence"] for row in rows]
    means = {"mean_confidence": float(np.mean(values)), "lowest_confidence": min(values)} if values else {}
    write_json(out / "metrics.json", {"pairs": len(rows), **means})


def open_work(
    device: str,
    *,
    config: Confidence,
    out: Path,
    dataset: Path,
    labels: Path,
    cams: Path,
    saliency: Path,
    scores: Path,
    predictions: Path,
) -> Process:
    """What a worker does."""
    index = ImageIndex.read(dataset)
    records = {record.image_id: record for record in index}

    def rate(image_id: str) -> list[dict[str, Any]]:
        record = records[image_id]
        marks = read_labels(labels / f"{image_id}.png")
        maps, numbers = read_class_maps(cams / f"{image_id}.npz", record.size)
        evidence = LabelEvidence(
            *read_scores(scores / "scores" / f"{image_id}.npz", record.size),
            {int(n): one >= config.cam_foreground for n, one in zip(numbers, maps, strict=True)},
            read_gray(saliency / "saliency" / f"{image_id}.png") >= config.saliency,
            read_labels(predictions / f"{image_id}.png"),
        )
        if config.per_pixel:
            write_gray(out / "pixels" / f"{image_id}.png", pixel_confidence(marks, evidence))
        return list(_rows(record, index.classes, marks, evidence))

    return one_by_one(rate)


def _rows(
    record: ImageRecord, classes: tuple[str, ...], labels: np.ndarray, evidence: LabelEvidence
) -> Iterator[dict[str, Any]]:
    shown = set(np.unique(labels).tolist()) - {0, IGNORE}
    for number in sorted(shown.union(record.tags)):
        about = {"image_id": record.image_id, "class": classes[number - 1]}
        yield about | class_confidence(labels, number, evidence)
