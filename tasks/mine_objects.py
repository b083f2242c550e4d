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

The arithmetic is that of the published rule in float32.  One deviation changes nothing but the time: only the planes of
the classes present are built, since the plane of an absent class is zero and can neither win nor conflict.
"""

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from tag2mask.configs.schema import Mining
from tag2mask.tasks.algorithms.dense_crf import refine
from tag2mask.tasks.algorithms.foreground import drop_small_foreground
from tag2mask.tasks.dataset.class_maps import read_class_maps
from tag2mask.tasks.dataset.image_index import ImageIndex
from tag2mask.tasks.dataset.label_maps import IGNORE, read_gray, write_labels
from tag2mask.tasks.store.journal import process_images
from tag2mask.tasks.store.runtime import StageRuntime

EPSILON = 1e-8
"""Stateful the scaling of a constant map from dividing by zero."""

_BACKGROUND_EVIDENCE = (1 - np.arange(256)[::-1] / 255).astype(np.float32)
"""Of 8-bit values; formed as 1 - saliency, to the last bit as published."""


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
    by_class = cosaliency if config.class_conditional else None
    index = ImageIndex.read(dataset).split("train")
    records = {record.image_id: record for record in index}

    def process(image_ids: list[str]) -> Iterator[tuple[str, list[Path]]]:
        for image_id in image_ids:
            size = records[image_id].size
            salient = read_gray(saliency / "saliency" / f"{image_id}.png")
            integral, classes = read_class_maps(attention / f"{image_id}.npz", size)
            if config.refine:
                integral = sharpened(index.pixels(records[image_id]), integral)
            given = saliency / "background" / f"{image_id}.png"
            labels = mine_labels(
                salient,
                integral,
                read_class_maps(cams / f"{image_id}.npz", size)[0],
                classes,
                foreground=config.foreground,
                conflict=config.conflict,
                saliency_threshold=config.saliency,
                attention_threshold=config.attention,
                cam_background=config.cam_background,
                minimum_foreground=config.minimum_foreground,
                background=read_gray(given) if config.background == "map" else None,
                class_saliency=None if by_class is None else read_class_saliency(by_class, image_id, classes),
            )
            yield image_id, [write_labels(out / f"{image_id}.png", labels)]

    process_images(list(index.ids), out, process, runtime)


def read_class_saliency(folder: Path, image_id: str, classes: np.ndarray) -> np.ndarray | None:
    """Maps (K, H, W) uint8 of an image's classes in their order, or None for an image without a class."""
    paths = [folder / "cosaliency" / str(number) / f"{image_id}.png" for number in classes.tolist()]
    return np.stack([read_gray(path) for path in paths]) if paths else None


def sharpened(image: np.ndarray, attention: np.ndarray) -> np.ndarray:
    """Class maps (K, H, W) in [0, 1] aligned with the image's edges by the dense CRF, each against the rest.

    Not in the published method; the CRF's constants are those of its own refinement.
    """
    planes = [refine(image, np.stack([1 - plane, plane]))[1] for plane in attention]
    return np.stack(planes) if planes else attention


def mine_labels(
    saliency: np.ndarray,
    attention: np.ndarray,
    cams: np.ndarray,
    classes: np.ndarray,
    *,
    foreground: float = 0.3,
    conflict: float = 0.9,
    saliency_threshold: int = 32,
    attention_threshold: float = 0.8,
    cam_background: float = 0.3,
    minimum_foreground: float = 0.01,
    background: np.ndarray | None = None,
    class_saliency: np.ndarray | None = None,
) -> np.ndarray:
    """Labels of one image from its saliency, its improved attention (OA-CAM), its CAM and its tags.

    Args:
        saliency: (H, W) uint8, 255 = surely foreground.
        attention: (K, H, W) floating, OA-CAM of the K classes; each map is scaled to [0, 1] by its own range.
        cams: (K, H, W) floating, plain CAM of the same classes; scaled likewise.
        classes: (K,) uint8 class numbers 1..254, all different, in any order.
        foreground: evidence in [0, 1] below which a plane counts as zero.
        conflict: evidence in [0, 1]; a pixel where two or more planes exceed it is ignored.
        saliency_threshold: saliency (0-255) from which a background pixel is ignored.
        attention_threshold: attention in [0, 1] above which a pixel counts as salient at 255.
        cam_background: CAM in [0, 1]; the mining threshold of a class without a pixel is found among what exceeds it.
        minimum_foreground: share in [0, 1]; a map with less foreground is ignored whole, 0 turns that off.
        background: (H, W) uint8, 255 = surely background; None is the published rule, 255 - saliency.
        class_saliency: (K, H, W) uint8 of the same classes; their maximum takes the place of `saliency`, and each
            class's scaled attention is multiplied by its own.  None is the published rule.

    Returns:
        (H, W) uint8: 0 background, 1..254 class, 255 ignore.

    Raises:
        ValueError: shapes, types or class numbers that do not fit, or a map that is not finite.
    """
    _check_saliency(saliency)
    order = _rising_order(classes)
    classes = classes[order]
    attention = _checked_maps("attention", attention, classes, saliency.shape)[order]
    cams = _checked_maps("cams", cams, classes, saliency.shape)[order]
    scaled = [scale_to_range(plane) for plane in attention]
    if class_saliency is not None:
        saliency, scaled = _by_class(class_saliency, scaled, order, saliency.shape)
    if background is None:
        background = 255 - saliency
    elif background.shape != saliency.shape or background.dtype != np.uint8:
        raise ValueError(f"background must be {saliency.shape} uint8, not {background.shape} {background.dtype}")
    labels = strongest_evidence(background, scaled, classes, foreground=foreground, conflict=conflict)
    unexplained = saliency >= saliency_threshold
    for plane in scaled:
        unexplained |= plane > attention_threshold
    labels[unexplained & (labels == 0)] = IGNORE
    labels[potential_objects(labels, cams, classes, cam_background) & (labels == 0)] = IGNORE
    return drop_small_foreground(labels, minimum_foreground)


def strongest_evidence(
    background: np.ndarray, attention: list[np.ndarray], classes: np.ndarray, *, foreground: float, conflict: float
) -> np.ndarray:
    """The plane with the strongest evidence at each pixel, and 255 where more than one is very strong.

    Args:
        background: (H, W) uint8, evidence of the background times 255.
        attention: K maps (H, W) float32 in [0, 1].
        classes: (K,) class numbers, rising, so that a tie goes to the lowest number and background wins all ties.
        foreground: evidence below this counts as zero.
        conflict: two planes above this are a conflict.

    Returns:
        (H, W) uint8: 0, a class number, or 255.
    """
    labels = np.zeros(background.shape, np.uint8)
    best = _BACKGROUND_EVIDENCE[background]
    best[best < foreground] = 0
    strong = best > conflict
    crowded = np.zeros(background.shape, bool)
    for number, plane in zip(classes, attention, strict=True):
        wins = (plane > best) & (plane >= foreground)
        labels[wins] = number
        np.copyto(best, plane, where=wins)
        also_strong = (plane > conflict) & (plane >= foreground)
        crowded |= strong & also_strong
        strong |= also_strong
    labels[crowded] = IGNORE
    return labels


def potential_objects(labels: np.ndarray, cams: np.ndarray, classes: np.ndarray, cam_background: float) -> np.ndarray:
    """Where the CAM of some class is as strong as it typically is on that class's own pixels.

    Args:
        labels: (H, W) uint8 after background extraction.
        cams: (K, H, W) float32.
        classes: (K,) class numbers.
        cam_background: see `mining_threshold`.

    Returns:
        (H, W) bool.
    """
    found = np.zeros(labels.shape, bool)
    for number, cam in zip(classes, cams, strict=True):
        scaled = scale_to_range(cam)
        threshold = mining_threshold(scaled, labels == number, cam_background)
        if threshold is not None:
            found |= scaled > threshold
    return found


def mining_threshold(cam: np.ndarray, of_class: np.ndarray, cam_background: float) -> np.float32 | None:
    """CAM value above which a pixel may belong to an object of the class.

    The median over the pixels that have the class already.  Where these have no evidence (or there are none) it is the
    median of the upper half of what exceeds `cam_background`, about the 75th percentile.

    Args:
        cam: (H, W) float32 in [0, 1].
        of_class: (H, W) bool, the pixels labeled with the class.
        cam_background: value at or below which a CAM is no object.

    Returns:
        The threshold, or None where no pixel qualifies: nothing exceeds `cam_background`, or no value lies above the
        median of those that do (they are all equal, say).  The published code computes NaN in the second case, and
        nothing exceeds NaN.
    """
    own = cam[of_class]
    if own.any():
        return np.float32(np.median(own))
    evidence = cam[cam > cam_background]
    if evidence.size == 0:
        return None
    upper = evidence[evidence > np.median(evidence)]
    return np.float32(np.median(upper)) if upper.size else None


def scale_to_range(plane: np.ndarray) -> np.ndarray:
    """Bring an (H, W) float32 map to [0, 1] by its minimum and maximum; a constant map becomes zero."""
    low, high = plane.min(), plane.max()
    scaled: np.ndarray = plane - low
    scaled /= high - low + EPSILON
    return scaled


def _check_saliency(saliency: np.ndarray) -> None:
    if saliency.ndim != 2 or saliency.dtype != np.uint8 or saliency.size == 0:
        raise ValueError(
            f"saliency must be (H, W) uint8 with at least one pixel, not {saliency.shape} {saliency.dtype}"
        )


def _by_class(
    class_saliency: np.ndarray, attention: list[np.ndarray], order: np.ndarray, size: tuple[int, ...]
) -> tuple[np.ndarray, list[np.ndarray]]:
    """The strongest saliency of any class, and attention (in rising order of the classes) times that of its class."""
    if class_saliency.shape != (len(order), *size) or class_saliency.dtype != np.uint8 or not len(order):
        raise ValueError(
            f"class_saliency is {class_saliency.shape} {class_saliency.dtype}; {len(order)} classes (one or more) "
            f"need {(len(order), *size)} uint8"
        )
    share = class_saliency[order].astype(np.float32) / np.float32(255)
    return class_saliency.max(0), [plane * own for plane, own in zip(attention, share, strict=True)]


def _rising_order(classes: np.ndarray) -> np.ndarray:
    """Positions of the class numbers in rising order, which is the order of ties."""
    if classes.ndim != 1 or classes.dtype != np.uint8:
        raise ValueError(f"classes must be (K,) uint8, not {classes.shape} {classes.dtype}")
    if len(set(classes.tolist())) != len(classes) or any(number in (0, IGNORE) for number in classes.tolist()):
        raise ValueError(f"classes must be different numbers from 1 to {IGNORE - 1}, not {classes.tolist()}")
    return np.argsort(classes)


def _checked_maps(name: str, maps: np.ndarray, classes: np.ndarray, size: tuple[int, ...]) -> np.ndarray:
    if maps.shape != (len(classes), *size):
        raise ValueError(
            f"{name} has shape {maps.shape}; {len(classes)} classes and a saliency map of shape {size} need "
            f"{(len(classes), *size)}"
        )
    if not np.issubdtype(maps.dtype, np.floating):
        raise ValueError(
            f"{name} has type {maps.dtype}; scores are floating point in [0, 1] (divide 8-bit maps by 255)"
        )
    for number, plane in zip(classes.tolist(), maps, strict=True):
        if not (np.isfinite(plane.min()) and np.isfinite(plane.max())):
            raise ValueError(f"{name} of class {number} has a value that is not finite")
    return maps.astype(np.float32, copy=False)
