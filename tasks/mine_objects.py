"""Initial labels: background extraction, conflicts, and potential-object mining (Yao et al., CVPR 2021, section 3).

Reads   dataset                the index; its training images
        saliency               saliency/<id>.png (H, W) uint8, 255 = salient; background/<id>.png likewise, where the
                               settings ask for it
        attention, cams        <id>.npz of OA-CAM and of CAM
        cosaliency             cosaliency/<number>/<id>.png (H, W) uint8; class-conditional mining alone
Writes  <id>.png               (H, W) uint8 palette: 0 background, 1..C class, 255 ignore

A pixel gets a class only where attention says so more strongly than saliency says background.  Where two evidences are
both strong, or where something is salient that no class explains, the pixel is ignored, because a wrong label costs the
segmenter more than a missing one.  Mining then ignores background pixels in which the plain CAM still sees an object.

Class-conditional mining takes the saliency of each class instead: background is what none of them shows, and a class's
evidence is its attention times its saliency.  It is not in the article, nor is evidence from a background map: the
article takes 1 - saliency.

The rule itself stands in `algorithms/object_mining.py`.
"""

from functools import partial
from pathlib import Path

import numpy as np

from tag2mask.configs.schema import Mining
from tag2mask.tasks.algorithms.dense_crf import refine
from tag2mask.tasks.algorithms.object_mining import mine_labels
from tag2mask.tasks.dataset.class_maps import read_class_levels
from tag2mask.tasks.dataset.image_index import ImageIndex
from tag2mask.tasks.dataset.label_maps import read_gray, write_labels
from tag2mask.tasks.executors.images import process_in_parallel
from tag2mask.tasks.executors.work import Process, one_by_one
from tag2mask.tasks.store.runtime import StageRuntime


def run(
    config: Mining,
    out: Path,
    runtime: StageRuntime,
    *,
    dataset: Path,
    saliency: Path,
    attention: Path,
    cams: Path,
    cosaliency: Path | None = None,
) -> None:
    """Label all training images that are not done yet.

    Raises:
        ValueError: mining is to be class-conditional, but there are no maps by tag.
    """
    if config.class_conditional and cosaliency is None:
        raise ValueError("mining.class_conditional needs the maps of predict_cosaliency (cosaliency.provider)")
    work = partial(
        open_work,
        config=config,
        out=out,
        dataset=dataset,
        saliency=saliency,
        attention=attention,
        cams=cams,
        by_class=cosaliency if config.class_conditional else None,
    )
    process_in_parallel(ImageIndex.read(dataset).split("train").ids, out, work, runtime)


def open_work(
    device: str,
    *,
    config: Mining,
    out: Path,
    dataset: Path,
    saliency: Path,
    attention: Path,
    cams: Path,
    by_class: Path | None,
) -> Process:
    """What a worker does."""
    index = ImageIndex.read(dataset)
    records = {record.image_id: record for record in index}

    def mine(image_id: str) -> list[Path]:
        size = records[image_id].size
        salient = read_gray(saliency / "saliency" / f"{image_id}.png")
        integral, classes = read_class_levels(attention / f"{image_id}.npz", size)
        if config.refine:
            integral = sharpened(index.pixels(records[image_id]), integral)
        given = saliency / "background" / f"{image_id}.png"
        labels = mine_labels(
            salient,
            integral,
            read_class_levels(cams / f"{image_id}.npz", size)[0],
            classes,
            config,
            background=read_gray(given) if config.background == "map" else None,
            class_saliency=None if by_class is None else read_class_saliency(by_class, image_id, classes),
        )
        return [write_labels(out / f"{image_id}.png", labels)]

    return one_by_one(mine)


def read_class_saliency(folder: Path, image_id: str, classes: np.ndarray) -> np.ndarray | None:
    """Maps (K, H, W) uint8 of an image's classes in their order, or None for an image without a class."""
    paths = [folder / "cosaliency" / str(number) / f"{image_id}.png" for number in classes.tolist()]
    return np.stack([read_gray(path) for path in paths]) if paths else None


def sharpened(image: np.ndarray, attention: np.ndarray) -> np.ndarray:
    """Class maps (K, H, W) uint8 aligned with the image's edges by the dense CRF, each against the rest.

    Not in the published method; the CRF's constants are those of its own refinement.
    """
    scores = attention / np.float32(255)
    planes = [refine(image, np.stack([1 - plane, plane]))[1] for plane in scores]
    return np.rint(np.stack(planes) * 255).astype(np.uint8) if planes else attention
