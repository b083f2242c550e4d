"""Labels of the next round: what the segmenter found, kept only near what is salient (NSRM, Yao et al., CVPR 2021).

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

from collections.abc import Iterator
from pathlib import Path

import numpy as np
from scipy import ndimage

from tag2mask.configs.schema import Masking
from tag2mask.tasks.algorithms.foreground import drop_small_foreground
from tag2mask.tasks.dataset.image_index import ImageIndex
from tag2mask.tasks.dataset.label_maps import IGNORE, read_gray, read_labels, write_labels
from tag2mask.tasks.store.journal import process_images
from tag2mask.tasks.store.runtime import StageRuntime


def run(
    config: Masking, out: Path, runtime: StageRuntime, *, dataset: Path, predictions: Path, labels: Path, saliency: Path
) -> None:
    """Label all training images that are not done yet."""
    index = ImageIndex.read(dataset).split("train")
    records = {record.image_id: record for record in index}

    def process(image_ids: list[str]) -> Iterator[tuple[str, list[Path]]]:
        for image_id in image_ids:
            masked = mask_nonsalient(
                read_labels(predictions / f"{image_id}.png"),
                read_labels(labels / f"{image_id}.png"),
                read_gray(saliency / "saliency" / f"{image_id}.png"),
                len(records[image_id].tags),
                saliency_threshold=config.saliency,
                dilation=config.dilation,
                minimum_tags=config.minimum_tags,
                minimum_foreground=config.minimum_foreground,
            )
            yield image_id, [write_labels(out / f"{image_id}.png", masked)]

    process_images(list(index.ids), out, process, runtime)


def mask_nonsalient(
    prediction: np.ndarray,
    labels: np.ndarray,
    saliency: np.ndarray,
    tag_count: int,
    *,
    saliency_threshold: int = 0,
    dilation: int = 30,
    minimum_tags: int = 2,
    minimum_foreground: float = 0.01,
) -> np.ndarray:
    """Labels of one image from the refined prediction, the labels of the round before, and saliency.

    Args:
        prediction: (H, W) uint8, 0 background, 1..254 class.
        labels: (H, W) uint8, 0, class, or 255 ignore: what the segmenter was trained on.
        saliency: (H, W) uint8, 255 = surely foreground.
        tag_count: number of the image's tags.
        saliency_threshold: saliency (0-255) above which a pixel is salient; 0 is the published "any non-zero".
        dilation: side of the square by which the kept region grows, in pixels; see `dilate`.
        minimum_tags: images with fewer tags keep their prediction.
        minimum_foreground: share in [0, 1]; a map with less foreground is ignored whole, 0 turns that off.

    Returns:
        (H, W) uint8: 0 background, 1..254 class, 255 ignore; never an array that was passed in.

    Raises:
        ValueError: shapes that differ, a type other than uint8, or a dilation below 1.
    """
    _check(prediction, labels, saliency)
    masked = prediction.copy()
    if tag_count >= minimum_tags:
        missed = (masked == 0) & (labels != 0) & (labels != IGNORE)
        np.copyto(masked, labels, where=missed)
        kept = dilate((masked != 0) | (saliency > saliency_threshold), dilation)
        masked[~kept] = IGNORE
    return drop_small_foreground(masked, minimum_foreground)


def dilate(region: np.ndarray, side: int) -> np.ndarray:
    """Grow an (H, W) bool region by a square of `side` pixels.

    An even square has no middle: with side 30, pixel p covers p-14 .. p+15 in both directions, as in OpenCV.
    """
    if side < 1:
        raise ValueError(f"the dilation must be at least 1 pixel, not {side}")
    grown: np.ndarray = ndimage.maximum_filter(region.view(np.uint8), size=side, mode="constant", cval=0)
    return grown.view(bool)


def _check(prediction: np.ndarray, labels: np.ndarray, saliency: np.ndarray) -> None:
    for name, pixels in (("prediction", prediction), ("labels", labels), ("saliency", saliency)):
        if pixels.ndim != 2 or pixels.dtype != np.uint8 or pixels.size == 0:
            raise ValueError(f"{name} must be (H, W) uint8 with at least one pixel, not {pixels.shape} {pixels.dtype}")
        if pixels.shape != prediction.shape:
            raise ValueError(f"{name} has shape {pixels.shape}, the prediction {prediction.shape}; they must be equal")
