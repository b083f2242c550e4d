"""Pixels to normalized network input, and batches of images of one size."""

from collections.abc import Iterable, Iterator

import numpy as np
import torch
from torch import Tensor

from tag2mask.tasks.networks.factory import IMAGENET_MEAN, IMAGENET_STD

MEAN_COLOR = tuple(round(255 * value) for value in IMAGENET_MEAN)
"""RGB of a pixel that becomes zero: what lies outside of an image."""


def to_batch(images: Iterable[np.ndarray], device: str) -> Tensor:
    """Stack (H, W, 3) uint8 RGB images of one size.

    Returns:
        (N, 3, H, W) float32, ImageNet mean taken off and divided by its deviation, channels last.
    """
    stacked = torch.from_numpy(np.stack(list(images)))  # (N, H, W, 3)
    return normalize(stacked.to(device).permute(0, 3, 1, 2).float() / 255)  # (N, H, W, 3) -> (N, 3, H, W)


def normalize(images: Tensor) -> Tensor:
    """Take ImageNet's mean off (N, 3, H, W) RGB in [0, 1] and divide by its deviation; channels last."""
    mean = images.new_tensor(IMAGENET_MEAN).view(1, 3, 1, 1)
    deviation = images.new_tensor(IMAGENET_STD).view(1, 3, 1, 1)
    return ((images - mean) / deviation).contiguous(memory_format=torch.channels_last)


def batches(items: list[str], size: int) -> Iterator[list[str]]:
    """Split a list into consecutive parts of at most `size`."""
    for start in range(0, len(items), size):
        yield items[start : start + size]
