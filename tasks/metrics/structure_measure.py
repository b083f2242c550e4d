"""Structure measure of saliency maps (Fan et al., ICCV 2017)."""

import numpy as np

from tag2mask.tasks.metrics.saliency import MeanOfImages
from tag2mask.tasks.metrics.saliency_inputs import LEAST

OBJECT_SHARE = 0.5
"""Weight of the object-aware part against the region-aware one."""


class StructureMeasure(MeanOfImages):
    """S-measure: likeness of a soft map to its mask as an object and in the four quadrants about the object's center.

    Without a salient pixel it is 1 less the map's mean, with nothing else the map's mean.  A quadrant without a pixel
    counts nothing.
    """

    name = "S-measure"

    def measure(self, soft: np.ndarray, salient: np.ndarray) -> float:
        """The S-measure of one image."""
        return structure_measure(soft, salient)


def structure_measure(soft: np.ndarray, salient: np.ndarray) -> float:
    """S-measure of an (H, W) map in [0, 1] against an (H, W) bool mask."""
    share = salient.mean()
    if share in (0, 1):
        return float(soft.mean() if share else 1 - soft.mean())
    whole = share * _even(soft[salient]) + (1 - share) * _even((1 - soft)[~salient])
    return max(0.0, float(OBJECT_SHARE * whole + (1 - OBJECT_SHARE) * _quadrants(soft, salient)))


def _even(values: np.ndarray) -> float:
    """How high and how even the values (n,) of an object or a background are (eq. 4, with the weight 1)."""
    mean, spread = values.mean(), values.std(ddof=1) if values.size > 1 else 0.0
    return float(2 * mean / (mean**2 + 1 + spread + LEAST))


def _quadrants(soft: np.ndarray, salient: np.ndarray) -> float:
    """Similarity of the quadrants about the object's center, weighted by their areas (eq. 8)."""
    row, column = (int(center) + 1 for center in np.argwhere(salient).mean(axis=0).round())
    similarity = 0.0
    for rows in (slice(None, row), slice(row, None)):
        for columns in (slice(None, column), slice(column, None)):
            part = soft[rows, columns]
            if part.size:
                similarity += _similarity(part, salient[rows, columns]) * part.size / soft.size
    return similarity


def _similarity(soft: np.ndarray, salient: np.ndarray) -> float:
    """Structural similarity of two (h, w) parts, without the constants of its usual form (eq. 6).

    Where it has no value, two even parts are alike, and a part that is even or black is unlike one that is not.
    """
    mean, target_mean = soft.mean(), salient.mean()
    rest, target_rest = soft - mean, salient - target_mean
    samples = soft.size - 1 + LEAST
    variance, target_variance = (rest**2).sum() / samples, (target_rest**2).sum() / samples
    upper = 4 * mean * target_mean * ((rest * target_rest).sum() / samples)
    lower = (mean**2 + target_mean**2) * (variance + target_variance)
    if upper != 0:
        return float(upper / (lower + LEAST))
    return 1.0 if lower == 0 else 0.0
