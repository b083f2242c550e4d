"""Dense conditional random field (Krähenbühl and Koltun, NIPS 2011) on the raw RGB image, by pydensecrf.

Two deviations from the published pipeline.  Only classes that are present take part: mean field costs time in
proportion to the classes, and a class without evidence anywhere can win no pixel.  And the image enters as it is,
where the published code casts mean-subtracted colors to bytes, which wraps the negative ones.

pydensecrf holds Python's lock while it works: threads give nothing, use processes.
"""

import numpy as np
from pydensecrf.densecrf import DenseCRF2D

MINIMUM_PROBABILITY = 1e-5
"""Probabilities are raised to this before the logarithm, since a hard zero would be an infinite energy."""


def refine(
    image: np.ndarray,
    probabilities: np.ndarray,
    *,
    iterations: int = 10,
    gaussian_xy: float = 3.0,
    gaussian_weight: float = 3.0,
    bilateral_xy: float = 67.0,
    bilateral_rgb: float = 3.0,
    bilateral_weight: float = 4.0,
) -> np.ndarray:
    """Mean-field marginals of an image's pixels.

    Args:
        image: (H, W, 3) uint8 RGB, as read: neither normalized nor mean-subtracted.  Any memory layout.
        probabilities: (K, H, W) float32 in [0, 1] of the classes present; values below 1e-5 count as 1e-5.  They need
            not sum to one: a common factor at a pixel changes nothing.
        iterations: mean-field steps; 0 returns the probabilities as they are.
        gaussian_xy: standard deviation of the smoothness kernel, in pixels.
        gaussian_weight: weight of the smoothness kernel.
        bilateral_xy: spatial standard deviation of the appearance kernel, in pixels.
        bilateral_rgb: color standard deviation of the appearance kernel, in gray levels of 0-255.
        bilateral_weight: weight of the appearance kernel.

    Returns:
        (K, H, W) float32, summing to one over the classes.  With one class: ones, without any work.

    Raises:
        ValueError: a type or shape that does not fit, or probabilities outside [0, 1].
    """
    _check(image, probabilities)
    if len(probabilities) == 1:
        return np.ones_like(probabilities)
    if iterations == 0:
        return probabilities.copy()
    count, height, width = probabilities.shape
    field = DenseCRF2D(width, height, count)
    energy = -np.log(np.maximum(probabilities, MINIMUM_PROBABILITY))
    field.setUnaryEnergy(np.ascontiguousarray(energy.reshape(count, -1)))  # (K, H, W) -> (K, HW)
    field.addPairwiseGaussian(sxy=gaussian_xy, compat=gaussian_weight)
    colors = np.ascontiguousarray(image)
    field.addPairwiseBilateral(sxy=bilateral_xy, srgb=bilateral_rgb, rgbim=colors, compat=bilateral_weight)
    marginals = np.asarray(field.inference(iterations), dtype=np.float32)
    return marginals.reshape(count, height, width)  # (K, HW) -> (K, H, W)


def refine_labels(
    image: np.ndarray,
    probabilities: np.ndarray,
    classes: np.ndarray,
    *,
    iterations: int = 10,
    gaussian_xy: float = 3.0,
    gaussian_weight: float = 3.0,
    bilateral_xy: float = 67.0,
    bilateral_rgb: float = 3.0,
    bilateral_weight: float = 4.0,
) -> np.ndarray:
    """The class with the highest marginal at each pixel.

    Args:
        image: (H, W, 3) uint8 RGB.
        probabilities: (K, H, W) float32 of the classes present.
        classes: (K,) uint8, the class number of each plane.
        iterations: and the following, see `refine`.
        gaussian_xy: see `refine`.
        gaussian_weight: see `refine`.
        bilateral_xy: see `refine`.
        bilateral_rgb: see `refine`.
        bilateral_weight: see `refine`.

    Returns:
        (H, W) uint8 class numbers; a tie goes to the first plane.

    Raises:
        ValueError: as `refine`, or class numbers that are not one uint8 a plane.
    """
    if classes.shape != probabilities.shape[:1] or classes.dtype != np.uint8:
        raise ValueError(
            f"classes must be one uint8 number a plane, {probabilities.shape[:1]}, not {classes.shape} {classes.dtype}"
        )
    marginals = refine(
        image,
        probabilities,
        iterations=iterations,
        gaussian_xy=gaussian_xy,
        gaussian_weight=gaussian_weight,
        bilateral_xy=bilateral_xy,
        bilateral_rgb=bilateral_rgb,
        bilateral_weight=bilateral_weight,
    )
    labels: np.ndarray = classes[marginals.argmax(axis=0)]  # (K, H, W) -> (H, W)
    return labels


def present_classes(probabilities: np.ndarray, minimum: float) -> np.ndarray:
    """Numbers of the classes that exceed a probability anywhere in the image.

    Args:
        probabilities: (C + 1, H, W) floating, plane 0 the background.
        minimum: in [0, 1]; a class takes part where some pixel gives it more than this.

    Returns:
        (K,) uint8, rising; the background, 0, is always the first.
    """
    highest = probabilities.max(axis=(1, 2))  # (C + 1, H, W) -> (C + 1,)
    present = highest > minimum
    present[0] = True
    return np.flatnonzero(present).astype(np.uint8)


def _check(image: np.ndarray, probabilities: np.ndarray) -> None:
    if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8:
        raise ValueError(f"image must be (H, W, 3) uint8 RGB, not {image.shape} {image.dtype}")
    if probabilities.ndim != 3 or probabilities.dtype != np.float32 or probabilities.size == 0:
        raise ValueError(f"probabilities must be (K, H, W) float32, not {probabilities.shape} {probabilities.dtype}")
    if probabilities.shape[1:] != image.shape[:2]:
        raise ValueError(
            f"probabilities have shape {probabilities.shape} and the image {image.shape}; their sizes must be equal"
        )
    low, high = float(probabilities.min()), float(probabilities.max())
    if not (low >= 0 and high <= 1 + 1e-5):  # written so that NaN fails too; softmax may round just above one
        raise ValueError(f"probabilities must lie in [0, 1], not in [{low:g}, {high:g}]")
