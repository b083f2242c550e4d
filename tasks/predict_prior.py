"""Saliency and background map of each training image without any training, by robust background detection.

Reads   dataset               the index
Writes  saliency/<id>.png     (H, W) uint8: what differs from the background, 255 = most salient
        background/<id>.png   (H, W) uint8: probability of background by boundary connectivity
        provenance.json       that there are no masks behind them
"""

from functools import partial
from pathlib import Path

from tag2mask.configs.schema import Prior
from tag2mask.tasks.algorithms.background_prior import background_prior
from tag2mask.tasks.dataset.image_index import ImageIndex
from tag2mask.tasks.dataset.images import read_rgb
from tag2mask.tasks.dataset.label_maps import write_gray
from tag2mask.tasks.dataset.provenance import Provenance
from tag2mask.tasks.executors.images import process_in_parallel
from tag2mask.tasks.executors.work import Process, one_by_one
from tag2mask.tasks.store.runtime import StageRuntime


def run(config: Prior, out: Path, runtime: StageRuntime, *, dataset: Path) -> None:
    """Write both maps of all training images that are not done yet."""
    index = ImageIndex.read(dataset).split("train")
    Provenance("none: robust background detection", "no", 0).write(out)
    work = partial(open_work, config=config, out=out, dataset=dataset)
    process_in_parallel(index.ids, out, work, runtime, holds_lock=True)  # the superpixels hold it


def open_work(device: str, *, config: Prior, out: Path, dataset: Path) -> Process:
    """What a worker does."""
    sources = ImageIndex.read(dataset).sources
    return one_by_one(lambda image_id: predict_image(image_id, sources[image_id], config=config, out=out))


def predict_image(image_id: str, image: Path, *, config: Prior, out: Path) -> list[Path]:
    """Compute and write both maps of one image.

    Args:
        image_id: its id.
        image: its file.
        config: size, superpixels and constants.
        out: folder of the two folders of `<id>.png`.
    """
    saliency, background = background_prior(read_rgb(image), config)
    return [
        write_gray(out / "saliency" / f"{image_id}.png", saliency),
        write_gray(out / "background" / f"{image_id}.png", background),
    ]
