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

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tag2mask.configs.schema import Measurement
from tag2mask.tasks.dataset.class_maps import read_class_maps
from tag2mask.tasks.dataset.image_index import ImageIndex, ImageRecord
from tag2mask.tasks.dataset.label_maps import read_gray, read_labels
from tag2mask.tasks.metrics.label_quality import ImageSignals, class_rows, image_rows, measure_image, summarize
from tag2mask.tasks.metrics.step_scores import write_table
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

    def measure(record: ImageRecord) -> ImageSignals:
        image_id, path = record.image_id, labels / f"{record.image_id}.png"
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

    images = []
    with ThreadPoolExecutor(max(1, runtime.threads)) as pool:
        try:
            for image in pool.map(measure, index):
                images.append(image)
                runtime.progress(len(images), len(index))
        finally:
            pool.shutdown(cancel_futures=True)
    summary, by_class = summarize(images, index.classes), class_rows(images, index.classes)
    head = {"images": len(images), "classes": list(index.classes), **config.model_dump()}
    write_json(out / "signals.json", {**head, "summary": summary, "per_class": by_class})
    write_json(out / "metrics.json", summary)
    write_table(out / "per_image.csv", image_rows(images, index.classes))
    write_table(out / "per_class.csv", by_class)
