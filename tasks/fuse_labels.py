"""Labels of the next round: the segmenter's prediction fused with labels 0, refined by the dense CRF (not in NSROM).

Reads   dataset        the index; its training images
        scores         scores/<id>.npz of `predict_masks`
        labels         <id>.png of labels 0, which come from evidence outside of the segmenter
Writes  <id>.png       (H, W) uint8 palette: 0 background, 1..C class, 255 ignore

Stands in the place of `mask_nonsalient` where `next_labels` says so; see `label_fusion`.
"""

from functools import partial
from pathlib import Path

from tag2mask.configs.schema import Fusion
from tag2mask.tasks.algorithms.dense_crf import refine_labels
from tag2mask.tasks.algorithms.foreground import drop_small_foreground
from tag2mask.tasks.algorithms.label_fusion import fuse, with_classes
from tag2mask.tasks.dataset.arrays import read_scores
from tag2mask.tasks.dataset.image_index import ImageIndex
from tag2mask.tasks.dataset.images import read_rgb
from tag2mask.tasks.dataset.label_maps import read_labels, write_labels
from tag2mask.tasks.executors.images import process_in_parallel
from tag2mask.tasks.executors.work import Process, one_by_one
from tag2mask.tasks.store.runtime import StageRuntime


def run(config: Fusion, out: Path, runtime: StageRuntime, *, dataset: Path, scores: Path, labels: Path) -> None:
    """Label all training images that are not done yet."""
    index = ImageIndex.read(dataset).split("train")
    work = partial(open_work, config=config, out=out, dataset=dataset, scores=scores, labels=labels)
    process_in_parallel(index.ids, out, work, runtime)


def open_work(device: str, *, config: Fusion, out: Path, dataset: Path, scores: Path, labels: Path) -> Process:
    """What a worker does."""
    sources = ImageIndex.read(dataset).sources

    def fuse_one(image_id: str) -> list[Path]:
        job = sources[image_id], scores / "scores" / f"{image_id}.npz", labels / f"{image_id}.png"
        return fuse_image(image_id, job, config=config, out=out)

    return one_by_one(fuse_one)


def fuse_image(image_id: str, job: tuple[Path, Path, Path], *, config: Fusion, out: Path) -> list[Path]:
    """Label one image.

    Args:
        image_id: its id.
        job: files of the image, its scores, its labels 0.
        config: trust in labels 0, constants of the CRF.
        out: folder of the `<id>.png`.
    """
    source, scores, earlier = job
    image, labels = read_rgb(source), read_labels(earlier)
    probabilities, classes = with_classes(*read_scores(scores, image.shape[:2]), labels)
    fused = fuse(probabilities, classes, labels, max(config.trust, 1 / len(classes)))
    refined = refine_labels(image, fused, classes, config.crf)
    return [write_labels(out / f"{image_id}.png", drop_small_foreground(refined, config.minimum_foreground))]
