"""Measures of saliency maps against masks of salient objects, gathered image by image.

Maps are measured as they are, never stretched to their own range: a correct map of low contrast is not a perfect one.
"""

from dataclasses import dataclass

import numpy as np


class SaliencyError:
    """Mean absolute error of soft saliency maps: the mean over images of the mean over pixels."""

    def __init__(self) -> None:
        """Start empty."""
        self.errors: list[float] = []

    def step(self, prediction: np.ndarray, target: np.ndarray) -> None:
        """Add one image.

        Args:
            prediction: (H, W) floating in [0, 1], or uint8 0-255; never stretched to its own range.
            target: (H, W) bool, or uint8 with 255 = salient.

        Raises:
            ValueError: shapes, types or values that do not fit; a 0/1 mask as uint8 among them.
        """
        soft, salient = _soft_map(prediction, target), _salient(target)
        self.errors.append(float(np.abs(soft - salient).mean()))

    def result(self) -> float:
        """The error so far, in [0, 1], lower is better.

        Raises:
            ValueError: no image yet.
        """
        if not self.errors:
            raise ValueError("there is no image to measure the saliency error of")
        return float(np.mean(self.errors))


@dataclass(frozen=True)
class FMeasureScores:
    """F-measure of saliency maps, in [0, 1], higher is better."""

    maximum: float
    """Maximum of the curve: one threshold for all images."""
    mean: float
    """Mean of the curve."""
    adaptive: float
    """Mean over images at twice each map's mean, at most 1."""
    curve: tuple[float, ...]
    """Mean over images at the thresholds 0 .. 255, rising."""
    images: int
    """Images measured."""
    empty_targets: int
    """Images without a salient pixel: their F-measure is 0, whatever the prediction."""


class SaliencyFMeasure:
    """F-measure (Achanta et al., CVPR 2009) at 256 thresholds and at the adaptive one, averaged over images.

    A pixel passes threshold t of 0 .. 255 where floor(255 p) >= t, and the adaptive one where p >= min(2 mean(p), 1).
    So threshold 0 passes every pixel.  Where nothing is hit the F-measure is 0.
    """

    def __init__(self, beta_squared: float = 0.3) -> None:
        """Start empty.

        Args:
            beta_squared: weight of precision against recall; 0.3 is the custom of the field.
        """
        self.beta_squared = beta_squared
        self.curve_sum = np.zeros(256)
        self.adaptive: list[float] = []
        self.empty_targets = 0

    def step(self, prediction: np.ndarray, target: np.ndarray) -> None:
        """Add one image; arguments and errors as in `SaliencyError.step`."""
        soft, salient = _soft_map(prediction, target), _salient(target)
        levels = (soft * 255).astype(np.uint8)
        pairs = np.bincount((salient.astype(np.uint16) << 8 | levels).ravel(), minlength=512).reshape(2, 256)
        false, hits = pairs[:, ::-1].cumsum(axis=1)[:, ::-1]  # (2, 256) by level -> (2, 256) at this level and above
        total = int(np.count_nonzero(salient))
        self.curve_sum += self._measure(hits, hits + false, total)
        passed = soft >= min(2 * soft.mean(), 1)
        hit = np.array([np.count_nonzero(passed & salient)])
        self.adaptive.append(float(self._measure(hit, np.array([np.count_nonzero(passed)]), total)[0]))
        self.empty_targets += int(total == 0)

    def _measure(self, hits: np.ndarray, passed: np.ndarray, total: int) -> np.ndarray:
        """F = (1 + b) P R / (b P + R) = (1 + b) hits / (b total + passed), which needs no division of zero by zero."""
        weighted = np.maximum(self.beta_squared * total + passed, 1)
        measure: np.ndarray = np.where(hits > 0, (1 + self.beta_squared) * hits / weighted, 0.0)
        return measure

    def result(self) -> FMeasureScores:
        """The figures so far.

        Raises:
            ValueError: no image yet.
        """
        images = len(self.adaptive)
        if images == 0:
            raise ValueError("there is no image to measure the F-measure of")
        curve = self.curve_sum / images
        return FMeasureScores(
            maximum=float(curve.max()),
            mean=float(curve.mean()),
            adaptive=float(np.mean(self.adaptive)),
            curve=tuple(curve.tolist()),
            images=images,
            empty_targets=self.empty_targets,
        )


def _soft_map(prediction: np.ndarray, target: np.ndarray) -> np.ndarray:
    """(H, W) floating in [0, 1] of a saliency map that fits its target."""
    if prediction.shape != target.shape or prediction.ndim != 2 or prediction.size == 0:
        raise ValueError(
            f"the saliency map has shape {prediction.shape}, the target {target.shape}; both must be the same (H, W)"
        )
    if prediction.dtype == np.uint8:
        return prediction / 255
    if prediction.dtype not in (np.float32, np.float64):
        raise ValueError(f"a saliency map must be float32 or float64 in [0, 1], or uint8, not {prediction.dtype}")
    low, high = float(prediction.min()), float(prediction.max())
    if not (low >= 0 and high <= 1):
        raise ValueError(f"a saliency map must lie in [0, 1], not in [{low:g}, {high:g}]")
    return prediction


def _salient(target: np.ndarray) -> np.ndarray:
    """(H, W) bool of a mask of salient objects; above 127 is salient."""
    if target.dtype == np.bool_:
        return target
    if target.dtype != np.uint8:
        raise ValueError(f"a mask of salient objects must be bool or uint8, not {target.dtype}")
    salient: np.ndarray = target > 127
    if target.any() and not salient.any():
        raise ValueError(
            f"a mask of salient objects as uint8 must be 0 and 255, but the largest value is {target.max()}; "
            "it would pass for an empty one"
        )
    return salient
