"""Measures of label maps and class maps against ground truth, gathered image by image.

Every accumulator has two verbs: `step` takes one image, `result` gives the figures of all images so far.  Nothing here
reads a file.  Saliency maps have `saliency`.
"""

from dataclasses import dataclass

import numpy as np

from tag2mask.tasks.dataset.ground_truth import VOID
from tag2mask.tasks.dataset.label_maps import IGNORE

PerClass = tuple[float | None, ...]
"""One figure a class, background first; None where it has no meaning, such as the IoU of a class that never occurs."""


@dataclass(frozen=True)
class SegmentationScores:
    """Agreement of label maps with ground truth.  All shares lie in [0, 1]."""

    miou: float
    """Mean IoU over the classes that occur in the ground truth; an ignored pixel counts as missed by its true class."""
    miou_labeled: float | None
    """The same over labeled pixels alone, as if the ignored ones were void; None where every pixel is ignored."""
    miou_as_background: float
    """The same with ignored pixels taken for background, as the field's tools take them; nobody trains on them so."""
    ignored_share: float
    """Share of the measured pixels whose prediction is 255."""
    iou: PerClass
    """Intersection over union, ignored pixels in the union of their true class."""
    iou_labeled: PerClass
    """Intersection over union over labeled pixels alone."""
    precision: PerClass
    """Share of the pixels predicted as the class that are the class; None where it is never predicted."""
    recall: PerClass
    """Share of the class's pixels that are predicted as the class."""
    pixels: tuple[int, ...]
    """Measured ground-truth pixels of each class."""


class ConfusionMatrix:
    """One confusion matrix over all images, from which mean IoU, precision and recall are taken."""

    def __init__(self, classes: int) -> None:
        """Start empty.

        Args:
            classes: number of classes with the background, at most 255: labels are 0 .. classes - 1.
        """
        if not 1 <= classes <= VOID:
            raise ValueError(f"the number of classes, background included, must be from 1 to {VOID}, not {classes}")
        self.classes = classes
        self.counts = np.zeros((classes, classes + 1), np.int64)
        """Pixels by (true class, predicted class); the last column holds the ignored ones."""

    def step(self, prediction: np.ndarray, target: np.ndarray) -> None:
        """Add one image.

        Args:
            prediction: (H, W) uint8 class numbers; 255 = ignored, which is counted apart.
            target: (H, W) uint8 class numbers; 255 = void, which is dropped.

        Raises:
            ValueError: shapes that differ, a type other than uint8, or a value that is no class.
        """
        _check_labels("prediction", prediction, target.shape)
        _check_labels("target", target, target.shape)
        # One histogram over all pairs of bytes costs less than masking, and shows foreign values for free.
        pairs = target.astype(np.uint16) << 8 | prediction
        counts = np.bincount(pairs.ravel(), minlength=2**16).reshape(256, 256)  # (HW,) -> (target, prediction)
        _check_values("prediction", counts.sum(axis=0), self.classes)
        _check_values("target", counts.sum(axis=1), self.classes)
        self.counts[:, :-1] += counts[: self.classes, : self.classes]
        self.counts[:, -1] += counts[: self.classes, IGNORE]

    def result(self) -> SegmentationScores:
        """The figures so far.

        Raises:
            ValueError: no measured pixel yet, be it that there was no image or that all ground truth was void.
        """
        return scores_of(self.counts)


def scores_of(counts: np.ndarray) -> SegmentationScores:
    """All figures of one confusion matrix.

    Args:
        counts: (classes, classes + 1) int, pixels by (true, predicted), the last column = ignored.

    Raises:
        ValueError: a matrix of zeros, which has no figures.
    """
    measured = int(counts.sum())
    if measured == 0:
        raise ValueError("there is no ground-truth pixel to measure against: no image, or nothing but void (255)")
    labeled = counts[:, :-1]
    hits = labeled.diagonal()
    predicted = labeled.sum(axis=0)
    true_labeled = labeled.sum(axis=1)
    true = counts.sum(axis=1)
    iou = _ratios(hits, true + predicted - hits, where=true > 0)
    iou_labeled = _ratios(hits, true_labeled + predicted - hits, where=true_labeled > 0)
    return SegmentationScores(
        miou=_mean(iou) or 0.0,
        miou_labeled=_mean(iou_labeled),
        miou_as_background=_mean(_iou_as_background(counts)) or 0.0,
        ignored_share=int(counts[:, -1].sum()) / measured,
        iou=iou,
        iou_labeled=iou_labeled,
        precision=_ratios(hits, predicted, where=predicted > 0),
        recall=_ratios(hits, true, where=true > 0),
        pixels=tuple(true.tolist()),
    )


def _iou_as_background(counts: np.ndarray) -> PerClass:
    """IoU of each class where the ignored column is added to that of the background, class 0."""
    filled = counts[:, :-1].copy()
    filled[:, 0] += counts[:, -1]
    hits, true = filled.diagonal(), filled.sum(axis=1)
    return _ratios(hits, true + filled.sum(axis=0) - hits, where=true > 0)


@dataclass(frozen=True)
class ThresholdScores:
    """Mean IoU of class maps over background thresholds."""

    thresholds: tuple[float, ...]
    """The thresholds tried, rising."""
    curve: tuple[float, ...]
    """Mean IoU at each."""
    best_threshold: float
    """The threshold of the highest mean IoU; the lowest of several."""
    best: SegmentationScores
    """All figures at that threshold."""


class ThresholdedIoU:
    """Mean IoU of class maps at many background thresholds, in one pass over the images.

    A pixel's class is the one with the highest score where this score exceeds the threshold, and background elsewhere.
    Neither the winning class nor its score depends on the threshold, so a histogram of the scores holds all confusion
    matrices.
    """

    def __init__(self, classes: int, thresholds: np.ndarray) -> None:
        """Start empty.

        Args:
            classes: number of classes with the background, at most 255.
            thresholds: (T,) floating, strictly rising; compared with the scores in float32.
        """
        if not 2 <= classes <= VOID:
            raise ValueError(f"the number of classes, background included, must be from 2 to {VOID}, not {classes}")
        self.classes = classes
        self.thresholds = np.asarray(thresholds, np.float32)
        if self.thresholds.ndim != 1 or self.thresholds.size == 0 or not np.all(np.diff(self.thresholds) > 0):
            raise ValueError("thresholds must be one row of strictly rising numbers (in float32), and at least one")
        self.counts = np.zeros((classes, classes, self.thresholds.size + 1), np.int64)
        """Pixels by (true class, winning class, number of thresholds that the winner's score exceeds)."""

    def step(self, maps: np.ndarray, numbers: np.ndarray, target: np.ndarray) -> None:
        """Add one image.

        Args:
            maps: (K, H, W) floating scores of the image's classes; a tie goes to the first.  K = 0: all background.
            numbers: (K,) uint8 class numbers 1 .. classes - 1, all different.
            target: (H, W) uint8 class numbers; 255 = void, which is dropped.

        Raises:
            ValueError: shapes or types that do not fit, a value that is no class, or a score that is NaN.
        """
        _check_labels("target", target, target.shape)
        _check_class_maps(maps, numbers, target.shape, self.classes)
        pixels = np.bincount(target.ravel(), minlength=256)
        _check_values("target", pixels, self.classes)
        bins = self.thresholds.size + 1
        if len(maps) == 0:
            self.counts[:, 0, 0] += pixels[: self.classes]
            return
        winner, score = _winners(maps)
        exceeded = np.searchsorted(self.thresholds, score.ravel(), side="left")  # thresholds t with t < score
        rows = self.classes + 1  # the last row takes the void pixels
        cells = np.minimum(target, self.classes).ravel().astype(np.intp)
        cells = (cells * len(maps) + winner.ravel()) * bins + exceeded
        counts = np.bincount(cells, minlength=rows * len(maps) * bins).reshape(rows, len(maps), bins)
        self.counts[:, numbers] += counts[: self.classes]

    def confusion(self, position: int) -> np.ndarray:
        """(classes, classes + 1) int: the confusion matrix at the threshold of one position; nothing is ignored."""
        above = self.counts[:, :, position + 1 :].sum(axis=2)  # (true, winner, T + 1) -> (true, winner)
        above[:, 0] = self.counts.sum(axis=(1, 2)) - above[:, 1:].sum(axis=1)
        return np.pad(above, ((0, 0), (0, 1)))

    def result(self) -> ThresholdScores:
        """The figures so far.

        Raises:
            ValueError: no measured pixel yet.
        """
        scores = [scores_of(self.confusion(position)) for position in range(self.thresholds.size)]
        curve = tuple(score.miou for score in scores)
        best = int(np.argmax(curve))
        thresholds = tuple(self.thresholds.tolist())
        return ThresholdScores(thresholds, curve, thresholds[best], scores[best])


def _ratios(part: np.ndarray, whole: np.ndarray, *, where: np.ndarray) -> PerClass:
    return tuple(
        p / w if use else None for p, w, use in zip(part.tolist(), whole.tolist(), where.tolist(), strict=True)
    )


def _mean(figures: PerClass) -> float | None:
    known = [figure for figure in figures if figure is not None]
    return sum(known) / len(known) if known else None


def _winners(maps: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Position (H, W) intp and score (H, W) float32 of the highest of K maps; the first of several."""
    scores = maps.astype(np.float32, copy=False)
    best = scores[0].copy()
    winner = np.zeros(best.shape, np.intp)
    for position in range(1, len(scores)):  # argmax along the first axis walks memory the slow way
        better = scores[position] > best
        winner[better] = position
        np.copyto(best, scores[position], where=better)
    return winner, best


def _check_labels(name: str, labels: np.ndarray, shape: tuple[int, ...]) -> None:
    if labels.shape != shape:
        raise ValueError(f"{name} has shape {labels.shape}, the target {shape}; resize the {name} to the target first")
    if labels.ndim != 2 or labels.dtype != np.uint8:
        raise ValueError(f"{name} must be (H, W) uint8 class numbers, not {labels.shape} {labels.dtype}")


def _check_values(name: str, pixels: np.ndarray, classes: int) -> None:
    """Refuse values that are neither a class nor 255; `pixels` (256,) counts each value."""
    foreign = np.flatnonzero(pixels[classes:VOID]) + classes
    if foreign.size:
        raise ValueError(
            f"{name} has the value {foreign[0]}; with {classes} classes the values are 0 .. {classes - 1} and {VOID}"
        )


def _check_class_maps(maps: np.ndarray, numbers: np.ndarray, shape: tuple[int, ...], classes: int) -> None:
    if maps.ndim != 3 or maps.shape[1:] != shape:
        raise ValueError(
            f"class maps have shape {maps.shape}, the target {shape}; they must be (K, {shape[0]}, {shape[1]})"
        )
    if not np.issubdtype(maps.dtype, np.floating) or np.isnan(maps).any():
        raise ValueError(f"class maps must be floating point without NaN; these are {maps.dtype}")
    if numbers.shape != maps.shape[:1] or len(set(numbers.tolist())) != len(maps):
        raise ValueError(f"{len(maps)} class maps need as many different class numbers, not {numbers.tolist()}")
    if any(not 1 <= number < classes for number in numbers.tolist()):
        raise ValueError(f"class numbers of maps must be from 1 to {classes - 1}, not {numbers.tolist()}")
