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
        `tag_precision`, `tag_recall` and `tag_f1`, 2 TP / (2 TP + FP + FN), over all pairs of image and class; each in
        [0, 1], and 0 where nothing is shown.  Not the mean of the classes' F1, which rare classes make uncertain.

    Raises:
        ValueError: shapes that differ, or no tag at all.
    """
    if shown.shape != tagged.shape or shown.ndim != 2:
        raise ValueError(f"shown has shape {shown.shape}, tagged {tagged.shape}; both must be (images, classes)")
    if not tagged.any():
        raise ValueError("no image has a tag to compare with")
    right, found, wanted = int((shown & tagged).sum()), int(shown.sum()), int(tagged.sum())
    return {
        "tag_precision": right / max(found, 1),
        "tag_recall": right / wanted,
        "tag_f1": 2 * right / (found + wanted),
    }
