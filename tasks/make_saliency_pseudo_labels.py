"""Targets to learn saliency from without any mask: the pixels where saliency and class activation maps agree.

Reads   dataset        the index
        saliency       saliency/<id>.png of `predict_prior`, or of the network of the round before
        cams           <id>.npz of `infer_cams`
Writes  <id>.png       (H, W) uint8 gray: 0 background, 255 salient, 128 unknown, which teaches nothing
        metrics.json   images with targets, shares of salient, background and unknown pixels
"""

from functools import partial
from pathlib import Path

import numpy as np

from tag2mask.configs.schema import SelfTraining
from tag2mask.tasks.dataset.class_maps import read_class_maps
from tag2mask.tasks.dataset.image_index import ImageIndex
from tag2mask.tasks.dataset.label_maps import read_gray, write_gray
from tag2mask.tasks.executors.images import process_in_parallel
from tag2mask.tasks.executors.work import Process, one_by_one
from tag2mask.tasks.store.files import write_json
from tag2mask.tasks.store.runtime import StageRuntime
from tag2mask.tasks.training.pseudo_targets import BACKGROUND, SALIENT, UNKNOWN, NothingAgreed, agreed_target


def run(config: SelfTraining, out: Path, runtime: StageRuntime, *, dataset: Path, saliency: Path, cams: Path) -> None:
    """Write the targets of all training images that are not done yet.

    Raises:
        NothingAgreed: saliency and CAMs agree nowhere; the message says what to change.
    """
    index = ImageIndex.read(dataset).split("train")
    work = partial(open_work, config=config, out=out, dataset=dataset, saliency=saliency, cams=cams)
    process_in_parallel(index.ids, out, work, runtime)
    write_json(out / "metrics.json", summary(out, index.ids))


def open_work(device: str, *, config: SelfTraining, out: Path, dataset: Path, saliency: Path, cams: Path) -> Process:
    """What a worker does."""
    sizes = {record.image_id: record.size for record in ImageIndex.read(dataset)}

    def agree(image_id: str) -> list[Path]:
        path = saliency / "saliency" / f"{image_id}.png"
        soft, size = read_gray(path), sizes[image_id]
        if soft.shape != size:
            raise ValueError(f"{path}: is {soft.shape[1]}x{soft.shape[0]}, its image {size[1]}x{size[0]}")
        maps, _ = read_class_maps(cams / f"{image_id}.npz", size)
        return [write_gray(out / f"{image_id}.png", agreed_target(soft, maps, config))]

    return one_by_one(agree)


def summary(folder: Path, image_ids: tuple[str, ...]) -> dict[str, float]:
    """What the targets below a folder know.

    Raises:
        NothingAgreed: nothing at all.
    """
    counts, used = np.zeros(256, np.int64), 0
    for image_id in image_ids:
        values = np.bincount(read_gray(folder / f"{image_id}.png").ravel(), minlength=256)
        counts += values
        used += int(values.sum() > values[UNKNOWN])
    if not used:
        raise NothingAgreed(len(image_ids))
    named = {"salient_share": SALIENT, "background_share": BACKGROUND, "unknown_share": UNKNOWN}
    shares = {name: float(counts[value] / counts.sum()) for name, value in named.items()}
    return {"images": len(image_ids), "images_with_targets": used, **shares}
