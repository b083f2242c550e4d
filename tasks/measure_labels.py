"""Signals of a label set's quality that need no masks: what the gate before a release reads.

Reads   dataset         the index; its training images
        labels          <id>.png, the labels to measure
        cams            <id>.npz
        saliency        saliency/<id>.png (H, W) uint8, 255 = salient
        predictions     <id>.png of `refine_masks`, where there is one
Writes  signals.json    the signals and the classes; metrics.json, the signals alone
        per_image.csv   signals of each image; per_class.csv, of each class

Coverage of the tags, ignored pixels, balance of the classes, and how far the foregrounds of labels, CAM, saliency and
prediction agree (IoU of each pair, mean over the images).  Ground truth is not read: with masks, `evaluate`
measures the same labels.
"""

from functools import partial
from pathlib import Path

from tag2mask.configs.schema import Measurement
from tag2mask.tasks.dataset.class_maps import read_class_maps
from tag2mask.tasks.dataset.image_index import ImageIndex
from tag2mask.tasks.dataset.label_maps import read_gray, read_labels
from tag2mask.tasks.dataset.tables import write_table
from tag2mask.tasks.executors.images import map_in_parallel
from tag2mask.tasks.executors.work import Process, one_by_one
from tag2mask.tasks.metrics.label_quality import ImageSignals, class_rows, image_rows, measure_image, summarize
from tag2mask.tasks.store.files import write_json
from tag2mask.tasks.store.runtime import StageRuntime


def run(
    config: Measurement,
    out: Path,
    runtime: StageRuntime,
    *,
    dataset: Path,
    labels: Path,
    cams: Path,
    saliency: Path,
    predictions: Path | None = None,
) -> None:
    """Measure the labels of all training images.

    Raises:
        ValueError: a file that cannot be read or does not fit its image's labels; the message names it.
    """
    index = ImageIndex.read(dataset).split("train")
    work = partial(
        open_work,
        config=config,
        dataset=dataset,
        labels=labels,
        cams=cams,
        saliency=saliency,
        predictions=predictions,
    )
    images = [image for _, image in map_in_parallel(index.ids, out, work, runtime)]
    summary, by_class = summarize(images, index.classes), class_rows(images, index.classes)
    head = {"images": len(images), "classes": list(index.classes), **config.model_dump()}
    write_json(out / "signals.json", {**head, "summary": summary, "per_class": by_class})
    write_json(out / "metrics.json", summary)
    write_table(out / "per_image.csv", image_rows(images, index.classes))
    write_table(out / "per_class.csv", by_class)


def open_work(
    device: str,
    *,
    config: Measurement,
    dataset: Path,
    labels: Path,
    cams: Path,
    saliency: Path,
    predictions: Path | None,
) -> Process:
    """What a worker does."""
    records = {record.image_id: record for record in ImageIndex.read(dataset)}

    def measure(image_id: str) -> ImageSignals:
        record, path = records[image_id], labels / f"{image_id}.png"
        maps, _ = read_class_maps(cams / f"{image_id}.npz", record.size)
        foregrounds = {
            "cam": maps.max(axis=0, initial=0) >= config.cam_foreground,
            "saliency": read_gray(saliency / "saliency" / f"{image_id}.png") >= config.saliency,
        }
        if predictions is not None:
            foregrounds["prediction"] = read_labels(predictions / f"{image_id}.png") != 0
        try:
            return measure_image(image_id, read_labels(path), record.tags, foregrounds)
        except ValueError as error:
            raise ValueError(f"{path}: {error}") from error

    return one_by_one(measure)
