"""Labels from class activation maps weighted by saliency, with the dense CRF behind them.

Potential-object mining decides pixel by pixel which of attention and saliency is right, so that the errors of a weak
saliency become labels.  Here saliency only weakens class evidence, and the decision is left to the CRF, which sees the
image's edges: a saliency that is right in its inside and wrong at its borders, or misses a part, still helps.

CAM against a constant background with the CRF behind it is the custom of the field since AffinityNet (Ahn and Kwak,
CVPR 2018).  Evidence that is both salient and of the class is asked for as in Chaudhry et al. (BMVC 2017), there by the
harmonic mean, here by a product that is softened, so that no saliency can erase an object.
"""

from collections.abc import Sequence

import numpy as np

from tag2mask.configs.schema import Refinement
from tag2mask.tasks.algorithms.dense_crf import refine_labels


def geometric_mean(maps: Sequence[np.ndarray]) -> np.ndarray:
    """(K, H, W) float32 in [0, 1]: the n-th root of the product of n such maps of the same classes.

    Networks that learned differently err differently: what each of them sees counts.
    """
    if len(maps) == 1:
        return maps[0]
    product = np.prod([one.astype(np.float32) for one in maps], axis=0)
    mean: np.ndarray = np.power(product, np.float32(1 / len(maps)))
    return mean


def class_evidence(saliency: np.ndarray, cams: np.ndarray, *, power: float, saliency_weight: float) -> np.ndarray:
    """Evidence of each class at each pixel.

    Args:
        saliency: (H, W) uint8, 255 = surely foreground.
        cams: (K, H, W) floating in [0, 1].
        power: exponent of the class activation maps; above 1 it draws objects in.
        saliency_weight: share in [0, 1] of the evidence that saliency decides; 0 leaves it out, 1 is the plain product.

    Returns:
        (K, H, W) float32 in [0, 1].

    Raises:
        ValueError: sizes that differ, a saliency that is not uint8, or maps outside [0, 1].
    """
    if saliency.ndim != 2 or saliency.dtype != np.uint8 or cams.shape[1:] != saliency.shape:
        raise ValueError(
            f"saliency must be (H, W) uint8 and cams (K, H, W) of the same size, not {saliency.shape} {saliency.dtype} "
            f"and {cams.shape}"
        )
    if cams.size and not (cams.min() >= 0 and cams.max() <= 1):  # written so that NaN fails too
        raise ValueError(f"cams must lie in [0, 1], not in [{cams.min():g}, {cams.max():g}]")
    weight = 1 - saliency_weight + saliency_weight * (saliency.astype(np.float32) / 255)
    evidence: np.ndarray = np.power(cams.astype(np.float32), np.float32(power)) * weight.astype(np.float32)
    return evidence


def label_by_evidence(
    image: np.ndarray, evidence: np.ndarray, classes: np.ndarray, *, background: float, config: Refinement
) -> np.ndarray:
    """The class that the dense CRF finds from class evidence beside a constant background.

    Args:
        image: (H, W, 3) uint8 RGB.
        evidence: (K, H, W) float32 in [0, 1].
        classes: (K,) uint8 class numbers 1..254.
        background: evidence in [0, 1] of the background, the same at every pixel.
        config: constants of the CRF.

    Returns:
        (H, W) uint8: 0 background, 1..254 class; all background without a class.
    """
    planes = np.concatenate([np.full((1, *image.shape[:2]), background, np.float32), evidence])
    return refine_labels(image, planes, np.concatenate([np.zeros(1, np.uint8), classes]), config)
