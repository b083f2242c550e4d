"""Class scores on disk, as `predict_masks` writes them.

`<id>.npz` holds scores (K, h, w) float16, probabilities on the network's grid over the whole image, and numbers (K,)
uint8, the class numbers 0..C.
"""

from pathlib import Path

import numpy as np
from PIL import Image


def read_scores(path: Path, size: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
    """Class scores of one image at its own size, bilinear.

    Returns:
        (K, H, W) float32 in [0, 1] and (K,) uint8 class numbers, the background (0) among them.
    """
    with np.load(path, allow_pickle=False) as archive:
        scores, numbers = archive["scores"].astype(np.float32), archive["numbers"]
    large = [Image.fromarray(plane).resize(size[::-1], Image.Resampling.BILINEAR) for plane in scores]
    return np.clip(np.stack([np.asarray(plane) for plane in large]), 0, 1), numbers
