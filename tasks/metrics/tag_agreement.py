"""How far the classes that predictions show agree with the tags of their images: a measure that needs no masks.

The predictions must not be filtered by the tags, and their images must not have trained the network: a segmenter that
has memorized its labels shows the tags of its own training images whatever it has learned.
"""

import numpy as np


def shown_classes(labels: np.ndarray, classes: int, minimum_share: float) -> np.ndarray:
    """Classes that a label map shows.

    Args:
        labels: (H, W) uint8, 0 background, 1..C class, 255 ignore.
        classes: C.
        minimum_share: in [0, 1]; a class is shown where it has more than this share of the pixels.

    Returns:
        (C,) bool.
    """
    shares = np.bincount(labels.ravel(), minlength=256)[1 : classes + 1] / labels.size
    shown: np.ndarray = shares > minimum_share
    return shown


def tag_agreement(shown: np.ndarray, tagged: np.ndarray) -> dict[str, float]:
    """Precision and recall of the classes shown against the tags.

    Args:
        shown: (N, C) bool, what the predictions show.
        tagged: (N, C) bool, what the tags say.

    Returns:
        `tag_precision` and `tag_recall` over all pairs of image and class, and `tag_f1`, the mean over the classes that
        are tagged somewhere of 2 TP / (2 TP + FP + FN), which no frequent class decides alone; each in [0, 1], and 0
        where nothing is shown.

    Raises:
        ValueError: shapes that differ, or no tag at all.
    """
    if shown.shape != tagged.shape or shown.ndim != 2:
        raise ValueError(f"shown has shape {shown.shape}, tagged {tagged.shape}; both must be (images, classes)")
    if not tagged.any():
        raise ValueError("no image has a tag to compare with")
    right, found, wanted = (shown & tagged).sum(0), shown.sum(0), tagged.sum(0)  # (C,) each
    known = wanted > 0
    by_class = 2 * right[known] / (found[known] + wanted[known])
    return {
        "tag_precision": float(right.sum() / max(found.sum(), 1)),
        "tag_recall": float(right.sum() / wanted.sum()),
        "tag_f1": float(by_class.mean()),
    }
