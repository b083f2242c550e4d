"""Enhanced-alignment measure of saliency maps (Fan et al., IJCAI 2018)."""

import numpy as np

from tag2mask.tasks.metrics.saliency import CurveOfImages
from tag2mask.tasks.metrics.saliency_inputs import LEAST


class EnhancedAlignment(CurveOfImages):
    """E-measure: how well a binary map and its mask deviate from their means together.

    Without a salient pixel it is the share of the pixels that do not pass, with nothing else the share of those that
    do.  As is the custom, the sum over pixels is divided by one pixel less, so a perfect map of a tiny image may
    exceed 1; an image of one pixel is divided by one.
    """

    name = "E-measure"

    def measure(self, hits: np.ndarray, false: np.ndarray, total: int, size: int) -> np.ndarray:
        """The E-measure (T,) of one image at T thresholds."""
        return enhanced_alignment(hits, false, total, size)


def enhanced_alignment(hits: np.ndarray, false: np.ndarray, total: int, size: int) -> np.ndarray:
    """Sum over pixels of (1 + 2ab / (a^2 + b^2))^2 / 4, with a and b the map and the mask less their means.

    A binary pair has four kinds of pixels, so that counts are enough (eq. 2-5).

    Args:
        hits: (T,) salient pixels that pass each of T thresholds.
        false: (T,) other pixels that pass.
        total: salient pixels.
        size: all pixels.
    """
    passed = hits + false
    divisor = max(size - 1, 1)
    if total in (0, size):
        measure: np.ndarray = (size - passed if total == 0 else passed) / divisor
        return measure
    counts = np.stack([hits, false, total - hits, size - total - false])
    one = passed / size
    prediction = np.stack([1 - one, 1 - one, -one, -one])
    target = np.array([1, 0, 1, 0])[:, None] - total / size  # (4, 1)
    alignment = 2 * prediction * target / (prediction**2 + target**2 + LEAST)
    summed: np.ndarray = (counts * (alignment + 1) ** 2 / 4).sum(0)
    return summed / divisor
