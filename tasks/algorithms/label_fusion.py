"""A segmenter's probabilities and earlier labels as two observers of the same pixels.

A segmenter that is trained on labels and then labels its own training images replaces the evidence that they were made
from by what it remembers of them.  Here both count: the labels are an observer that is right with a given probability,
and errs to each other class alike (Dawid and Skene, Applied Statistics 1979).  Where both agree the fusion is more
certain, where they disagree the more certain one wins, and the dense CRF behind it moves the border between them.  Two
label maps are fused by learning who is right in Shimoda and Yanai (ICCV 2019).
"""

import numpy as np

from tag2mask.tasks.dataset.label_maps import IGNORE


def with_classes(probabilities: np.ndarray, classes: np.ndarray, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Probabilities with a plane of zeros for each class that labels have and the planes lack.

    Args:
        probabilities: (K, H, W) float32.
        classes: (K,) uint8 numbers of the planes.
        labels: (H, W) uint8, 255 ignore.

    Returns:
        (L, H, W) float32 and (L,) uint8, the given planes first.
    """
    missing = np.setdiff1d(labels, np.append(classes, IGNORE)).astype(np.uint8)
    zeros = np.zeros((len(missing), *labels.shape), np.float32)
    return np.concatenate([probabilities, zeros]), np.concatenate([classes, missing])


def fuse(probabilities: np.ndarray, classes: np.ndarray, labels: np.ndarray, trust: float) -> np.ndarray:
    """Posterior of each class, given a segmenter's probabilities as prior and labels as an observation.

    Args:
        probabilities: (K, H, W) float32, summing to one over the classes.
        classes: (K,) uint8 numbers of the planes; all that `labels` have, see `with_classes`.
        labels: (H, W) uint8 class numbers; 255 says nothing.
        trust: probability in [1 / K, 1) that a label is right; 1 / K says nothing.  One class leaves nothing to trust,
            so it is not looked at there.

    Returns:
        (K, H, W) float32, summing to one; the probabilities themselves where labels are ignored.

    Raises:
        ValueError: sizes that differ, a class without a plane, or a trust that says the opposite.
    """
    count = len(classes)
    if probabilities.shape != (count, *labels.shape):
        raise ValueError(
            f"probabilities have shape {probabilities.shape}; {count} classes and labels of {labels.shape} need "
            f"{(count, *labels.shape)}"
        )
    if count != 1 and not 1 / max(count, 1) <= trust < 1:
        raise ValueError(f"trust must be at least 1 / {count} and below 1, not {trust:g}")
    if unknown := sorted(set(np.unique(labels).tolist()) - set(classes.tolist()) - {IGNORE}):
        raise ValueError(f"labels have the classes {unknown}, of which there are no probabilities")
    if count == 1:  # an image of background alone
        return np.ones_like(probabilities)
    wrong = (1 - trust) / (count - 1)
    posterior = np.where(labels == classes[:, None, None], np.float32(trust), np.float32(wrong))  # (K, H, W)
    posterior[:, labels == IGNORE] = 1
    posterior *= probabilities
    total = posterior.sum(axis=0, keepdims=True)
    fused: np.ndarray = posterior / np.maximum(total, np.finfo(np.float32).tiny)
    return fused
