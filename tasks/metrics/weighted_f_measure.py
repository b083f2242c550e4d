"""Weighted F-measure of saliency maps (Margolin et al., CVPR 2014)."""

import numpy as np
from scipy.ndimage import correlate1d, distance_transform_edt

from tag2mask.tasks.metrics.saliency import MeanOfImages
from tag2mask.tasks.metrics.saliency_inputs import LEAST

REACH = 3
"""Half the side of the window over which errors on the object are evened out, in pixels."""
DEVIATION = 5.0
"""Standard deviation of that window's Gaussian, in pixels."""
HALF_LIFE = 5.0
"""Distance from the object at which a false pixel has lost half of its leniency, in pixels."""


class WeightedFMeasure(MeanOfImages):
    """F-measure whose errors count less where the map is right nearby, and more the farther from the object.

    Without a salient pixel it is 0.
    """

    name = "weighted F-measure"

    def measure(self, soft: np.ndarray, salient: np.ndarray) -> float:
        """The weighted F-measure of one image."""
        return weighted_f_measure(soft, salient) if salient.any() else 0.0


def weighted_f_measure(soft: np.ndarray, salient: np.ndarray) -> float:
    """F-measure with equal weight of weighted precision and recall; the (H, W) bool mask has a salient pixel."""
    error = np.abs(soft - salient)
    distance, nearest = distance_transform_edt(~salient, return_indices=True)
    carried = error[nearest[0], nearest[1]]  # outside of the object: the error of its nearest pixel
    smooth = _smoothed(carried.astype(np.float64))
    on_object = np.minimum(error, smooth)[salient]
    beside = (error * (2 - np.exp(np.log(0.5) / HALF_LIFE * distance)))[~salient]
    right = salient.sum() - on_object.sum()
    precision = right / (right + beside.sum() + LEAST)
    recall = 1 - on_object.mean()
    return float(2 * recall * precision / (recall + precision + LEAST))


def _smoothed(values: np.ndarray) -> np.ndarray:
    """(H, W) Gaussian mean over the window; what lies outside of the image counts as 0."""
    places = np.arange(-REACH, REACH + 1)
    weights = np.exp(-(places**2) / (2 * DEVIATION**2))
    weights /= weights.sum()
    once = correlate1d(values, weights, axis=0, mode="constant")
    smooth: np.ndarray = correlate1d(once, weights, axis=1, mode="constant")
    return smooth
