"""Measures of saliency maps against masks of salient objects, gathered image by image.

Every accumulator has three verbs: `step` takes one image, `merge` takes over the images of another accumulator, and
`result` gives the figures of all images so far.  Maps are measured as they are unless `stretch` is asked for: a correct
map of low contrast is not a perfect one.  The figures equal those of pysodmetrics in either convention.

Structure has `structure_measure`, alignment `enhanced_alignment`, the weighted F-measure `weighted_f_measure`, and
groups of images `cosaliency_protocol`.
"""

from dataclasses import dataclass
from typing import Self

import numpy as np

from tag2mask.tasks.metrics.saliency_inputs import (
    adaptive_counts,
    counts_at_thresholds,
    eight_bit_levels,
    salient_mask,
    soft_map,
)


class MeanOfImages:
    """A measure that gives one figure an image and the mean over images."""

    name = ""
    """What messages call it."""

    def __init__(self, *, stretch: bool = False) -> None:
        """Start empty.

        Args:
            stretch: bring each map to its own range 0 .. 1 first, as pysodmetrics does by default.
        """
        self.stretch = stretch
        self.values: list[float] = []

    def step(self, prediction: np.ndarray, target: np.ndarray) -> None:
        """Add one image.

        Args:
            prediction: (H, W) floating in [0, 1], or uint8 0-255.
            target: (H, W) bool, or uint8 with 255 = salient.

        Raises:
            ValueError: shapes, types or values that do not fit; a 0/1 mask as uint8 among them.
        """
        soft, salient = soft_map(prediction, target, stretch=self.stretch), salient_mask(target)
        self.values.append(self.measure(soft, salient))

    def measure(self, soft: np.ndarray, salient: np.ndarray) -> float:
        """The figure of one image.

        Args:
            soft: (H, W) floating in [0, 1].
            salient: (H, W) bool.
        """
        raise NotImplementedError

    def merge(self, other: Self) -> None:
        """Take over the images of another accumulator, behind one's own."""
        self.values += other.values

    def result(self) -> float:
        """The mean over the images so far.

        Raises:
            ValueError: no image yet.
        """
        if not self.values:
            raise ValueError(f"there is no image to measure the {self.name} of")
        return float(np.mean(self.values))


class MAE(MeanOfImages):
    """Mean absolute error: the mean over images of the mean over pixels, in [0, 1], lower is better."""

    name = "saliency error"

    def measure(self, soft: np.ndarray, salient: np.ndarray) -> float:
        """The mean over the pixels of one image."""
        return float(np.abs(soft - salient).mean())


@dataclass(frozen=True)
class CurveScores:
    """A measure of binary maps, taken at many thresholds of soft ones, in [0, 1], higher is better."""

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
    """Images without a salient pixel."""


class CurveOfImages:
    """A measure of binary maps at 256 thresholds and at the adaptive one, averaged over images.

    A pixel passes threshold t of 0 .. 255 where floor(255 p) >= t, and the adaptive one where p >= min(2 mean(p), 1).
    So threshold 0 passes every pixel.
    """

    name = ""
    """What messages call it."""

    def __init__(self, *, stretch: bool = False) -> None:
        """Start empty.

        Args:
            stretch: bring each map to its own range 0 .. 1 first, as pysodmetrics does by default.
        """
        self.stretch = stretch
        self.curve_sum = np.zeros(256)
        self.adaptive: list[float] = []
        self.empty_targets = 0

    def step(self, prediction: np.ndarray, target: np.ndarray) -> None:
        """Add one image; arguments and errors as in `MeanOfImages.step`."""
        soft, salient = soft_map(prediction, target, stretch=self.stretch), salient_mask(target)
        total = int(np.count_nonzero(salient))
        hits, false = counts_at_thresholds(eight_bit_levels(soft), salient, 256)
        self.curve_sum += self.measure(hits, false, total, salient.size)
        self.adaptive.append(float(self.measure(*adaptive_counts(soft, salient), total, salient.size)[0]))
        self.empty_targets += int(total == 0)

    def measure(self, hits: np.ndarray, false: np.ndarray, total: int, size: int) -> np.ndarray:
        """The figure (T,) of one image at T thresholds.

        Args:
            hits: (T,) salient pixels that pass.
            false: (T,) other pixels that pass.
            total: salient pixels.
            size: all pixels.
        """
        raise NotImplementedError

    def merge(self, other: Self) -> None:
        """Take over the images of another accumulator, behind one's own."""
        self.curve_sum += other.curve_sum
        self.adaptive += other.adaptive
        self.empty_targets += other.empty_targets

    def result(self) -> CurveScores:
        """The figures so far.

        Raises:
            ValueError: no image yet.
        """
        images = len(self.adaptive)
        if images == 0:
            raise ValueError(f"there is no image to measure the {self.name} of")
        curve = self.curve_sum / images
        return CurveScores(
            maximum=float(curve.max()),
            mean=float(curve.mean()),
            adaptive=float(np.mean(self.adaptive)),
            curve=tuple(curve.tolist()),
            images=images,
            empty_targets=self.empty_targets,
        )


class SaliencyFMeasure(CurveOfImages):
    """F-measure (Achanta et al., CVPR 2009).  Where nothing is hit it is 0, and so it is for an empty target."""

    name = "F-measure"

    def __init__(self, beta_squared: float = 0.3, *, stretch: bool = False) -> None:
        """Start empty.

        Args:
            beta_squared: weight of precision against recall; 0.3 is the custom of the field.
            stretch: see `CurveOfImages`.
        """
        super().__init__(stretch=stretch)
        self.beta_squared = beta_squared

    def measure(self, hits: np.ndarray, false: np.ndarray, total: int, size: int) -> np.ndarray:
        """F = (1 + b) P R / (b P + R) at T thresholds."""
        return f_measure(hits, false, total, self.beta_squared)


def f_measure(hits: np.ndarray, false: np.ndarray, total: int, beta_squared: float) -> np.ndarray:
    """F = (1 + b) P R / (b P + R) = (1 + b) hits / (b total + passed), which needs no division of zero by zero."""
    weighted = np.maximum(beta_squared * total + hits + false, 1)
    measure: np.ndarray = np.where(hits > 0, (1 + beta_squared) * hits / weighted, 0.0)
    return measure
