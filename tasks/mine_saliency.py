"""Targets to learn saliency from without any mask: the pixels where saliency and class activation maps agree.

Reads   dataset        the index
        saliency       saliency/<id>.png of `predict_prior`, or of the network of the round before
        cams           <id>.npz of `infer_cams`
Writes  <id>.png       (H, W) uint8 grey: 0 background, 255 salient, 128 unknown, which teaches nothing
        metrics.json   photographs with targets, shares of salient, background and unknown pixels
"""

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from tag2mask.configs.schema import SelfTraining
from tag2mask.tasks.common.agreed_targets import BACKGROUND, SALIENT, UNKNOWN, NothingAgreed, agreed_target
from tag2mask.tasks.common.class_maps import read_class_maps
from tag2mask.tasks.common.durable import write_json
from tag2mask.tasks.common.image_index import ImageIndex
from tag2mask.tasks.common.journal import process_images
from tag2mask.tasks.common.label_images import read_grey, write_grey
from tag2mask.tasks.common.runtime import StageRuntime


def run(config: SelfTraining, out: Path, runtime: StageRuntime, *, dataset: Path, saliency: Path, cams: Path) -> None:
    """Write the targets of all training photographs that are not done yet.

    Raises:
        NothingAgreed: saliency and CAMs agree nowhere; the message says what to change.
    """
    index = ImageIndex.read(dataset).split("train")
    records = {record.image_id: record for record in index}

    def process(part: list[str]) -> Iterator[tuple[str, list[Path]]]:
        for image_id in part:
            path = saliency / "saliency" / f"{image_id}.png"
            soft, size = read_grey(path), records[image_id].size
            if soft.shape != size:
                raise ValueError(f"{path}: is {soft.shape[1]}x{soft.shape[0]}, its photograph {size[1]}x{size[0]}")
            maps, _ = read_class_maps(cams / f"{image_id}.npz", size)
            yield image_id, [write_grey(out / f"{image_id}.png", agreed_target(soft, maps, config))]

    process_images(list(index.ids), out, process, runtime)
    write_json(out / "metrics.json", summary(out, index.ids))


def summary(folder: Path, image_ids: tuple[str, ...]) -> dict[str, float]:
    """What the targets below a folder know.

    Raises:
        NothingAgreed: nothing at all.
    """
    counts, used = np.zeros(256, np.int64), 0
    for image_id in image_ids:
        values = np.bincount(read_grey(folder / f"{image_id}.png").ravel(), minlength=256)
        counts += values
        used += int(values.sum() > values[UNKNOWN])
    if not used:
        raise NothingAgreed(len(image_ids))
    named = {"salient_share": SALIENT, "background_share": BACKGROUND, "unknown_share": UNKNOWN}
    shares = {name: float(counts[value] / counts.sum()) for name, value in named.items()}
    return {"images": len(image_ids), "images_with_targets": used, **shares}
