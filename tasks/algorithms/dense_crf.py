"""Dense conditional random field (Krähenbühl and Koltun, NIPS 2011) on the raw RGB image.

Mean-field inference with a smoothness kernel of positions and an appearance kernel of positions and colors, Potts
compatibility and symmetric normalization, as the authors' code (pydensecrf wraps it) and with its results: marginals
differ by rounding.  The time goes into filtering the marginals over all pixels, which is linear and done on the
permutohedral lattice.  What is done differently does not change the result:

- The marginals of a pixel sum to one, so those of the first class are not filtered: their filtered map is the filtered
  constant less the others.
- The smoothness kernel depends on the image's size alone and is kept for the next of the same size.

Two deviations from the published pipeline do.  Only classes that are present take part: mean field costs time in
proportion to the classes, and a class without evidence anywhere can win no pixel.  And the image enters as it is,
where the published code casts mean-subtracted colors to bytes, which wraps the negative ones.
"""

from functools import lru_cache

import numpy as np

from tag2mask.configs.schema import Refinement
from tag2mask.tasks.algorithms.permutohedral import Lattice, SpreadTooFar

MINIMUM_PROBABILITY = 1e-5
"""Probabilities are raised to this before the logarithm, since a hard zero would be an infinite energy."""
PUBLISHED = Refinement()
"""The settings' defaults."""


def refine(image: np.ndarray, probabilities: np.ndarray, config: Refinement = PUBLISHED) -> np.ndarray:
    """Mean-field marginals of an image's pixels.

    Args:
        image: (H, W, 3) uint8 RGB, as read: neither normalized nor mean-subtracted.  Any memory layout.
        probabilities: (K, H, W) float32 in [0, 1] of the classes present; values below 1e-5 count as 1e-5.  They need
            not sum to one: a common factor at a pixel changes nothing.
        config: steps and kernels; 0 iterations return the probabilities as they are, a kernel of weight 0 is left out.

    Returns:
        (K, H, W) float32, summing to one over the classes (0 iterations: as given).  With one class: ones, without any
        work.

    Raises:
        ValueError: a type or shape that does not fit, or probabilities outside [0, 1].
        SpreadTooFar: the appearance kernel is too narrow for the image.
    """
    _check(image, probabilities)
    if len(probabilities) == 1:
        return np.ones_like(probabilities)
    if config.iterations == 0:
        return probabilities.copy()
    size = image.shape[:2]
    kernels = []
    if config.gaussian_weight:
        kernels.append((np.float32(config.gaussian_weight), _smoothness(size, config.gaussian_xy)))
    if config.bilateral_weight:
        appearance = _appearance(image, config.bilateral_xy, config.bilateral_rgb)
        kernels.append((np.float32(config.bilateral_weight), appearance))
    evidence = np.log(np.maximum(probabilities, MINIMUM_PROBABILITY)).reshape(len(probabilities), -1)
    return _mean_field(evidence, kernels, config.iterations).reshape(probabilities.shape)


class _Kernel:
    """Filtering by one kernel, normalized symmetrically: a constant map comes back about constant."""

    def __init__(self, features: np.ndarray) -> None:
        self._lattice = Lattice(features)
        constant = self._lattice.filter(np.ones((1, features.shape[1]), np.float32))
        self._factor = 1 / np.sqrt(constant + np.float32(1e-20))

    def filter(self, planes: np.ndarray) -> np.ndarray:
        """(K, N) float32 -> (K, N) float32."""
        filtered = self._lattice.filter(planes * self._factor)
        filtered *= self._factor
        return filtered


@lru_cache(maxsize=2)
def _smoothness(size: tuple[int, int], xy: float) -> _Kernel:
    """The kernel of positions in an image of (height, width), `xy` pixels wide."""
    return _Kernel(_positions(size) / np.float32(xy))


def _appearance(image: np.ndarray, xy: float, rgb: float) -> _Kernel:
    """The kernel of positions and colors of an image (H, W, 3) uint8."""
    colors = image.reshape(-1, 3).T.astype(np.float32)  # (H, W, 3) -> (3, HW)
    features = np.concatenate([_positions(image.shape[:2]) / np.float32(xy), colors / np.float32(rgb)])
    try:
        return _Kernel(features)
    except SpreadTooFar as error:
        raise SpreadTooFar(f"{error}: raise bilateral_xy or bilateral_rgb of the dense CRF") from error


def _positions(size: tuple[int, int]) -> np.ndarray:
    """(2, HW) float32: x and y of each pixel."""
    rows, columns = np.indices(size, np.float32)
    return np.stack([columns.ravel(), rows.ravel()])


def _mean_field(evidence: np.ndarray, kernels: list[tuple[np.float32, _Kernel]], iterations: int) -> np.ndarray:
    """Marginals (K, N) of evidence (K, N), the logarithms of the classes' probabilities, under weighted kernels."""
    constant = np.zeros((1, evidence.shape[1]), np.float32)
    for weight, kernel in kernels:
        constant += weight * kernel.filter(np.ones_like(constant))
    marginals = _softmax(evidence.copy())
    for _ in range(iterations):
        support = np.zeros_like(evidence)
        for weight, kernel in kernels:
            support[1:] += weight * kernel.filter(marginals[1:])
        support[0] = constant[0] - support[1:].sum(axis=0)
        support += evidence
        marginals = _softmax(support)
    return marginals


def _softmax(scores: np.ndarray) -> np.ndarray:
    """Softmax over the first axis, in place."""
    scores -= scores.max(axis=0)
    np.exp(scores, out=scores)
    scores /= scores.sum(axis=0)
    return scores


def refine_labels(
    image: np.ndarray,
    probabilities: np.ndarray,
    classes: np.ndarray,
    config: Refinement = PUBLISHED,
) -> np.ndarray:
    """The class with the highest marginal at each pixel.

    Args:
        image: (H, W, 3) uint8 RGB.
        probabilities: (K, H, W) float32 of the classes present.
        classes: (K,) uint8, the class number of each plane.
        config: as for `refine`.

    Returns:
        (H, W) uint8 class numbers; a tie goes to the first plane.

    Raises:
        ValueError: as `refine`, or class numbers that are not one uint8 a plane.
    """
    if classes.shape != probabilities.shape[:1] or classes.dtype != np.uint8:
        raise ValueError(
            f"classes must be one uint8 number a plane, {probabilities.shape[:1]}, not {classes.shape} {classes.dtype}"
        )
    marginals = refine(image, probabilities, config)
    labels: np.ndarray = classes[marginals.argmax(axis=0)]  # (K, H, W) -> (H, W)
    return labels


def refine_present(image: np.ndarray, probabilities: np.ndarray, classes: np.ndarray, config: Refinement) -> np.ndarray:
    """`refine_labels` over the classes that exceed `minimum_probability` somewhere, and the background.

    Args:
        image: (H, W, 3) uint8 RGB.
        probabilities: (K, H, W) float32 in [0, 1].
        classes: (K,) uint8, the class number of each plane, the background (0) among them.
        config: constants of the CRF.

    Returns:
        (H, W) uint8 class numbers.
    """
    strong = probabilities.max(axis=(1, 2)) > config.minimum_probability  # (K, H, W) -> (K,)
    strong |= classes == 0
    return refine_labels(image, np.ascontiguousarray(probabilities[strong]), classes[strong], config)


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
