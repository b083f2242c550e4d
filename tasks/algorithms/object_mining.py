"""Background extraction, conflicts and potential-object mining of one image (Yao et al., CVPR 2021, section 3).

Every map is 8-bit, as the published code keeps it: one of 256 levels a pixel.  What the rule computes from a level (its
scaled evidence, its comparison with a threshold or with another map) it can therefore look up in a table of 256, and
the image-sized work is comparing and choosing bytes.  The tables are computed in the published code's own types, so
that ties fall as they fall there: scaled attention and CAM in float64, the planes that compete in float32.

Only the planes of the classes present are compared: the plane of an absent class is zero, which can neither win nor
conflict.
"""

import numpy as np

from tag2mask.configs.schema import Mining
from tag2mask.tasks.algorithms.evidence import LEVELS, Evidence, median, without_weak
from tag2mask.tasks.algorithms.foreground import drop_small_foreground
from tag2mask.tasks.dataset.label_maps import IGNORE, as_bytes

PUBLISHED = Mining()
"""The settings' defaults."""


def mine_labels(
    saliency: np.ndarray,
    attention: np.ndarray,
    cams: np.ndarray,
    classes: np.ndarray,
    config: Mining = PUBLISHED,
    *,
    background: np.ndarray | None = None,
    class_saliency: np.ndarray | None = None,
) -> np.ndarray:
    """Labels of one image from its saliency, its improved attention (OA-CAM), its CAM and its tags.

    Args:
        saliency: (H, W) uint8, 255 = surely foreground.
        attention: (K, H, W) uint8, OA-CAM of the K classes; each map is scaled to [0, 1] by its own range.
        cams: (K, H, W) uint8, plain CAM of the same classes; scaled likewise.
        classes: (K,) uint8 class numbers 1..254, all different, in any order.
        config: thresholds; what it says of `background`, `class_conditional` and `refine` is the caller's affair.
        background: (H, W) uint8, 255 = surely background; None is the published rule, 255 - saliency.
        class_saliency: (K, H, W) uint8 of the same classes; their maximum takes the place of `saliency`, and each
            class's scaled attention is multiplied by its own.  None is the published rule.

    Returns:
        (H, W) uint8: 0 background, 1..254 class, 255 ignore.

    Raises:
        ValueError: shapes, types or class numbers that do not fit.
    """
    _check_saliency(saliency)
    order = _rising_order(classes)
    classes = classes[order]
    planes = [Evidence.scaled(plane) for plane in _checked_maps("attention", attention, classes, saliency.shape)[order]]
    cams = _checked_maps("cams", cams, classes, saliency.shape)[order]
    if class_saliency is not None:
        saliency, planes = _by_class(class_saliency, planes, order, saliency.shape)
    if background is None:
        background = 255 - saliency
    elif background.shape != saliency.shape or background.dtype != np.uint8:
        raise ValueError(f"background must be {saliency.shape} uint8, not {background.shape} {background.dtype}")
    labels = strongest_evidence(background, planes, classes, foreground=config.foreground, conflict=config.conflict)
    unexplained = saliency >= config.saliency
    for plane in planes:
        unexplained |= plane.levels >= plane.least_above(config.attention)
    _ignore_background(labels, unexplained)
    found = potential_objects(labels, [Evidence.scaled(cam) for cam in cams], classes, config.cam_background)
    _ignore_background(labels, found)
    return drop_small_foreground(labels, config.minimum_foreground)


def strongest_evidence(
    background: np.ndarray, planes: list[Evidence], classes: np.ndarray, *, foreground: float, conflict: float
) -> np.ndarray:
    """The plane with the strongest evidence at each pixel, and 255 where more than one is very strong.

    Args:
        background: (H, W) uint8, evidence of the background times 255.
        planes: attention of K classes.
        classes: (K,) class numbers, rising, so that a tie goes to the lowest number and background wins all ties.
        foreground: evidence below this counts as zero.
        conflict: two planes above this are a conflict.

    Returns:
        (H, W) uint8: 0, a class number, or 255.
    """
    labels = np.zeros(background.shape, np.uint8)
    saliency = np.arange(LEVELS, dtype=np.float32)[::-1]
    worth = without_weak(
        1 - saliency / np.float32(255), foreground
    )  # formed from saliency, to the last bit as published
    before = [(background, worth)]
    strong = background >= _least_level_above(worth, conflict)
    crowded = np.zeros(background.shape, bool)
    for number, plane in zip(classes.tolist(), planes, strict=True):
        worth = plane.competing(foreground)
        wins = as_bytes(plane.levels > _highest_losing_level(worth, before))
        labels &= ~wins
        labels |= wins & np.uint8(number)
        also_strong = plane.levels >= _least_level_above(worth, conflict)
        crowded |= strong & also_strong
        strong |= also_strong
        before.append((plane.levels, worth))
    labels |= as_bytes(crowded)
    return labels


def _least_level_above(worth: np.ndarray, threshold: float) -> int:
    """The lowest level whose worth, (256,) float32 and rising, exceeds a threshold; 256 where none does."""
    return LEVELS - int(np.count_nonzero(worth > threshold))


def _highest_losing_level(worth: np.ndarray, before: list[tuple[np.ndarray, np.ndarray]]) -> np.ndarray:
    """(H, W) uint8: the highest level of a plane that wins against none of the planes before it.

    Args:
        worth: (256,) float32 of the plane, rising from zero.
        before: levels (H, W) uint8 and worth (256,) float32 of each plane before it.
    """
    found: np.ndarray | None = None
    for levels, other in before:
        losing = (np.searchsorted(worth, other, side="right") - 1).astype(np.uint8)  # equal evidence loses
        limit = np.take(losing, levels)
        found = limit if found is None else np.maximum(found, limit, out=found)
    assert found is not None  # the background is always there
    return found


def potential_objects(
    labels: np.ndarray, cams: list[Evidence], classes: np.ndarray, cam_background: float
) -> np.ndarray:
    """Where the CAM of some class is as strong as it typically is on that class's own pixels.

    Args:
        labels: (H, W) uint8 after background extraction.
        cams: CAM of K classes.
        classes: (K,) class numbers.
        cam_background: see `mining_threshold`.

    Returns:
        (H, W) bool.
    """
    found = np.zeros(labels.shape, bool)
    for number, cam in zip(classes, cams, strict=True):
        threshold = mining_threshold(cam, labels == number, cam_background)
        if threshold is not None:
            found |= cam.levels >= cam.least_above(threshold)
    return found


def mining_threshold(cam: Evidence, of_class: np.ndarray, cam_background: float) -> float | None:
    """CAM value above which a pixel may belong to an object of the class.

    The median over the pixels that have the class already.  Where these have no evidence (or there are none) it is the
    median of the upper half of what exceeds `cam_background`, about the 75th percentile.

    Args:
        cam: CAM of the class.
        of_class: (H, W) bool, the pixels labeled with the class.
        cam_background: value at or below which a CAM is no object.

    Returns:
        The threshold, or None where no pixel qualifies: nothing exceeds `cam_background`, or no value lies above the
        median of those that do (they are all equal, say).  The published code computes NaN in the second case, and
        nothing exceeds NaN.
    """
    own = cam.histogram(of_class)
    if (cam.worth[own > 0] > 0).any():
        return median(own, cam.worth)
    evidence = cam.histogram()
    evidence[: cam.least_above(cam_background)] = 0
    middle = median(evidence, cam.worth)
    if middle is None:
        return None
    evidence[: cam.least_above(middle)] = 0
    return median(evidence, cam.worth)


def _ignore_background(labels: np.ndarray, where: np.ndarray) -> None:
    """Make background pixels 255, in place, where an (H, W) bool says so."""
    labels |= as_bytes(where & (labels == 0))


def _check_saliency(saliency: np.ndarray) -> None:
    if saliency.ndim != 2 or saliency.dtype != np.uint8 or saliency.size == 0:
        raise ValueError(
            f"saliency must be (H, W) uint8 with at least one pixel, not {saliency.shape} {saliency.dtype}"
        )


def _by_class(
    class_saliency: np.ndarray, attention: list[Evidence], order: np.ndarray, size: tuple[int, ...]
) -> tuple[np.ndarray, list[Evidence]]:
    """The strongest saliency of any class, and attention (in rising order of the classes) times that of its class."""
    if class_saliency.shape != (len(order), *size) or class_saliency.dtype != np.uint8 or not len(order):
        raise ValueError(
            f"class_saliency is {class_saliency.shape} {class_saliency.dtype}; {len(order)} classes (one or more) "
            f"need {(len(order), *size)} uint8"
        )
    own = class_saliency[order]
    return own.max(0), [plane.times(share) for plane, share in zip(attention, own, strict=True)]


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
    if maps.dtype != np.uint8:
        raise ValueError(f"{name} has type {maps.dtype}; maps are 8-bit (round 255 times a score in [0, 1])")
    return maps
