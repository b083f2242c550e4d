"""Pixels to network input, and batches of images of one size."""

from collections.abc import Iterable, Iterator, Sequence

import numpy as np
import torch
from torch import Tensor

from tag2mask.models.backbones import IMAGENET_MEAN

MEAN_COLOR = tuple(round(255 * value) for value in IMAGENET_MEAN)
"""ImageNet's mean RGB: what lies outside of an image."""


def to_batch(images: Iterable[np.ndarray], device: str) -> Tensor:
    """Stack (H, W, 3) uint8 RGB images of one size.

    Returns:
        (N, 3, H, W) float32 in [0, 1], channels last; a backbone normalizes it as it was trained.
    """
    stacked = torch.from_numpy(np.stack(list(images)))  # (N, H, W, 3)
    scaled = stacked.to(device).permute(0, 3, 1, 2).float() / 255  # (N, H, W, 3) -> (N, 3, H, W)
    return scaled.contiguous(memory_format=torch.channels_last)


def batches(items: Sequence[str], size: int) -> Iterator[list[str]]:
    """Split a list into consecutive parts of at most `size`."""
    for start in range(0, len(items), size):
        yield list(items[start : start + size])


def images_at_once(batch_size: int, device: str) -> int:
    """Images that a worker infers in one go: a batch on a GPU, one on a CPU.

    A batch gains nothing on a CPU, and how many images it holds may decide the last digits of their results, which are
    to depend on the image alone: not on what else is left to do, or done by another worker.
    """
    return batch_size if device == "cuda" else 1
