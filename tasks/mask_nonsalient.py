"""Labels of the next round: what the segmenter found; its background counts near what is salient (NSRM, CVPR 2021).

Reads   dataset        the index; its training images
        predictions    <id>.png of `refine_masks`
        labels         <id>.png of the round before
        saliency       saliency/<id>.png (H, W) uint8, 255 = salient
Writes  <id>.png       (H, W) uint8 palette: 0 background, 1..C class, 255 ignore

In images of several classes the segmenter's background is trusted only around objects; background far from every object
and from every salient region becomes ignored, so that objects which nobody has found yet do not train as background.
Images of one class keep their prediction.

As in the published code, and unlike the article, the kept region starts from the prediction *and* from saliency.
"""

from functools import partial
from pathlib import Path

import numpy as np

from tag2mask.configs.schema import Masking
from tag2mask.tasks.algorithms.foreground import drop_small_foreground
from tag2mask.tasks.dataset.image_index import ImageIndex
from tag2mask.tasks.dataset.label_maps import IGNORE, as_bytes, read_gray, read_labels, write_labels
from tag2mask.tasks.executors.images import process_in_parallel
from tag2mask.tasks.executors.work import Process, one_by_one
from tag2mask.tasks.store.runtime import StageRuntime


def run(
    config: Masking, out: Path, runtime: StageRuntime, *, dataset: Path, predictions: Path, labels: Path, saliency: Path
) -> None:
    """Label all training images that are not done yet."""
    index = ImageIndex.read(dataset).split("train")
    work = partial(
        open_work, config=config, out=out, dataset=dataset, predictions=predictions, labels=labels, saliency=saliency
    )
    process_in_parallel(index.ids, out, work, runtime)


def open_work(
    device: str, *, config: Masking, out: Path, dataset: Path, predictions: Path, labels: Path, saliency: Path
) -> Process:
    """What a worker does."""
    tags = {record.image_id: record.tags for record in ImageIndex.read(dataset)}

    def label(image_id: str) -> list[Path]:
        masked = read_labels(predictions / f"{image_id}.png")
        if len(tags[image_id]) >= config.minimum_tags:
            masked = mask_nonsalient(
                masked,
                read_labels(labels / f"{image_id}.png"),
                read_gray(saliency / "saliency" / f"{image_id}.png"),
                saliency_threshold=config.saliency,
                dilation=config.dilation,
            )
        masked = drop_small_foreground(masked, config.minimum_foreground)
        return [write_labels(out / f"{image_id}.png", masked)]

    return one_by_one(label)


def mask_nonsalient(
    prediction: np.ndarray,
    labels: np.ndarray,
    saliency: np.ndarray,
    *,
    saliency_threshold: int = 0,
    dilation: int = 30,
) -> np.ndarray:
    """Labels of one image of several classes from its refined prediction, the labels of the round before, and saliency.

    Args:
        prediction: (H, W) uint8, 0 background, 1..254 class.
        labels: (H, W) uint8, 0, class, or 255 ignore: what the segmenter was trained on.
        saliency: (H, W) uint8, 255 = surely foreground.
        saliency_threshold: saliency (0-255) above which a pixel is salient; 0 is the published "any non-zero".
        dilation: side of the square by which the kept region grows, in pixels; see `dilate`.

    Returns:
        (H, W) uint8: 0 background, 1..254 class, 255 ignore; never an array that was passed in.

    Raises:
        ValueError: shapes that differ, a type other than uint8, or a dilation below 1.
    """
    _check(prediction, labels, saliency)
    missed = (prediction == 0) & (labels != IGNORE)
    masked: np.ndarray = prediction | (labels & as_bytes(missed))
    kept = dilate((masked != 0) | (saliency > saliency_threshold), dilation)
    masked |= as_bytes(~kept)
    return masked


def dilate(region: np.ndarray, side: int) -> np.ndarray:
    """Grow an (H, W) bool region by a square of `side` pixels.

    An even square has no middle: with side 30, pixel p covers p-14 .. p+15 in both directions, as in OpenCV.
    """
    if side < 1:
        raise ValueError(f"the dilation must be at least 1 pixel, not {side}")
    before, after = (side - 1) // 2, side // 2
    grown = np.pad(region, (after, before))
    for _ in range(2):
        grown = _any_of_next(grown, side).T  # rows, then columns
    return np.ascontiguousarray(grown)


def _any_of_next(region: np.ndarray, side: int) -> np.ndarray:
    """(H, W) bool -> (H - side + 1, W): whether a pixel or one of the `side` - 1 below it is true.

    Windows are joined to ever longer ones: 30 takes five steps.
    """
    covered = 1
    while covered < side:
        shift = min(covered, side - covered)
        region = region[:-shift] | region[shift:]
        covered += shift
    return region


def _check(prediction: np.ndarray, labels: np.ndarray, saliency: np.ndarray) -> None:
    for name, pixels in (("prediction", prediction), ("labels", labels), ("saliency", saliency)):
        if pixels.ndim != 2 or pixels.dtype != np.uint8 or pixels.size == 0:
            raise ValueError(f"{name} must be (H, W) uint8 with at least one pixel, not {pixels.shape} {pixels.dtype}")
        if pixels.shape != prediction.shape:
            raise ValueError(f"{name} has shape {pixels.shape}, the prediction {prediction.shape}; they must be equal")
