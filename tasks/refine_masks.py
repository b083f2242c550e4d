"""Sharpen predictions by the dense CRF over the classes present, on the raw RGB image (NSROM, stages H and L).

Reads   dataset        the index
        scores         scores/<id>.npz of `predict_masks`; its images are the ones refined
Writes  <id>.png       (H, W) uint8 palette: 0 background, 1..C class
"""

from functools import partial
from pathlib import Path

from tag2mask.configs.schema import Refinement
from tag2mask.tasks.algorithms.dense_crf import refine_present
from tag2mask.tasks.dataset.arrays import read_scores
from tag2mask.tasks.dataset.image_index import ImageIndex
from tag2mask.tasks.dataset.images import read_rgb
from tag2mask.tasks.dataset.label_maps import write_labels
from tag2mask.tasks.executors.images import process_in_parallel
from tag2mask.tasks.executors.work import Process, one_by_one
from tag2mask.tasks.store.runtime import StageRuntime


def run(config: Refinement, out: Path, runtime: StageRuntime, *, dataset: Path, scores: Path) -> None:
    """Refine all predicted images that are not done yet."""
    image_ids = sorted(path.stem for path in (scores / "scores").glob("*.npz"))
    work = partial(open_work, config=config, out=out, dataset=dataset, scores=scores)
    process_in_parallel(image_ids, out, work, runtime)


def open_work(device: str, *, config: Refinement, out: Path, dataset: Path, scores: Path) -> Process:
    """What a worker does."""
    sources = ImageIndex.read(dataset).sources

    def refine(image_id: str) -> list[Path]:
        job = sources[image_id], scores / "scores" / f"{image_id}.npz"
        return refine_image(image_id, job, config=config, out=out)

    return one_by_one(refine)


def refine_image(image_id: str, job: tuple[Path, Path], *, config: Refinement, out: Path) -> list[Path]:
    """Refine one image and write its labels.

    Args:
        image_id: its id.
        job: its file, and that of its scores.
        config: constants of the CRF.
        out: folder of the `<id>.png`.
    """
    source, scores = job
    image = read_rgb(source)
    probabilities, numbers = read_scores(scores, image.shape[:2])
    labels = refine_present(image, probabilities, numbers, config)
    return [write_labels(out / f"{image_id}.png", labels)]
