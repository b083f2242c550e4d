"""How much of a label map is foreground, and the rule that drops maps with hardly any."""

import numpy as np

from tag2mask.tasks.dataset.label_maps import IGNORE


def foreground_share(labels: np.ndarray) -> float:
    """Share of the pixels of an (H, W) uint8 label map that carry a class, in [0, 1]; ignored pixels count as none."""
    # 0 wraps to 255 and IGNORE to 254, so one comparison finds 1..254.
    return float(np.count_nonzero(labels - np.uint8(1) < IGNORE - 1)) / labels.size


def drop_small_foreground(labels: np.ndarray, minimum: float) -> np.ndarray:
    """Ignore the whole map where less than `minimum` of it is foreground (the last line of both label rules of NSROM).

    Args:
        labels: (H, W) uint8, 0 background, 1..254 class, 255 ignore.
        minimum: share in [0, 1]; 0 turns the rule off.  A share equal to it passes.

    Returns:
        The map itself, or an (H, W) uint8 map of 255.
    """
    if foreground_share(labels) < minimum:
        return np.full_like(labels, IGNORE)
    return labels
