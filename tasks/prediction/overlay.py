"""Label maps laid over their images, to look at."""

import numpy as np

from tag2mask.tasks.dataset.label_maps import voc_palette

COVER = 0.55
"""Share of the class's color where there is a class; the rest is the image."""


def overlay(pixels: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """An image under the colors of its classes; the background shows the image as it is.

    Args:
        pixels: (H, W, 3) uint8 RGB.
        labels: (H, W) uint8, 0 background.

    Returns:
        (H, W, 3) uint8 RGB.
    """
    colors = voc_palette()[labels]  # (H, W) -> (H, W, 3)
    mixed = np.round(pixels * (1 - COVER) + colors * COVER).astype(np.uint8)
    return np.where((labels > 0)[..., None], mixed, pixels)
