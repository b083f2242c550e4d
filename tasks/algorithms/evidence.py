"""A class's 8-bit map, and what its 256 levels are worth."""

from dataclasses import dataclass

import numpy as np
from PIL import Image

from tag2mask.tasks.dataset.label_maps import as_bytes

EPSILON = 1e-8
"""Keeps the scaling of a constant map from dividing by zero."""

LEVELS = 256
"""Of a map."""


@dataclass(frozen=True)
class Evidence:
    """A map of one class."""

    levels: np.ndarray
    """(H, W) uint8."""
    worth: np.ndarray
    """(256,) float64, rising: the evidence that each level stands for, in [0, 1] for the levels that occur."""

    @classmethod
    def scaled(cls, levels: np.ndarray) -> "Evidence":
        """A map by its own range: its minimum is 0 and its maximum 1; a constant map has no evidence."""
        low, high = int(levels.min()), int(levels.max())
        return cls(levels, np.maximum(np.arange(LEVELS) - low, 0) / (high - low + EPSILON))

    def times(self, share: np.ndarray) -> "Evidence":
        """The evidence times a map (H, W) uint8, 255 = one, rounded to 8 bits as every map is."""
        product = np.take(self.worth.astype(np.float32), self.levels) * share
        return Evidence(np.rint(np.minimum(product, 255)).astype(np.uint8), np.arange(LEVELS) / 255)

    def competing(self, foreground: float) -> np.ndarray:
        """(256,) float32: the worth of each level against other planes; what lies below `foreground` counts as zero."""
        return without_weak(self.worth.astype(np.float32), foreground)

    def least_above(self, threshold: float) -> int:
        """The lowest level worth more than a threshold; 256 where none is."""
        return int(np.searchsorted(self.worth, threshold, side="right"))

    def histogram(self, where: np.ndarray | None = None) -> np.ndarray:
        """(256,) int64 number of pixels at each level; of those that an (H, W) bool `where` chooses."""
        if where is None:
            return _histogram(self.levels)
        counts = _histogram(self.levels & as_bytes(where))
        counts[0] -= where.size - np.count_nonzero(where)
        return counts


def median(counts: np.ndarray, worth: np.ndarray) -> float | None:
    """Median worth of the pixels that a histogram counts, of two middle ones their mean; None without any."""
    total = int(counts.sum())
    if not total:
        return None
    running = np.cumsum(counts)
    lower, upper = np.searchsorted(running, [(total - 1) // 2, total // 2], side="right")
    return float((worth[lower] + worth[upper]) / 2)


def _histogram(levels: np.ndarray) -> np.ndarray:
    """(256,) int64 number of pixels at each level; Pillow counts bytes several times faster than numpy."""
    return np.array(Image.fromarray(np.ascontiguousarray(levels)).histogram(), np.int64)


def without_weak(worth: np.ndarray, foreground: float) -> np.ndarray:
    """(256,) worth of each level, in place: what lies below `foreground` becomes zero."""
    worth[worth < foreground] = 0
    return worth
