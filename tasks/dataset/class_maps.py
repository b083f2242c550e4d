"""The class maps of the tags of an image, as they are kept.

`<id>.npz` holds maps (K, h, w) uint8, 255 = strongest evidence of its class, on the network's grid over the whole
image, and numbers (K,) uint8, the class numbers 1..C.
"""

from functools import lru_cache
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from tag2mask.tasks.dataset.arrays import read_arrays, write_arrays


def normalize_map(activation: np.ndarray) -> np.ndarray:
    """(K, h, w), 0 or more -> (K, h, w) uint8, each map over its own maximum, cut off as NSROM does (stage B).

    A map without positive evidence stays zero.
    """
    highest = activation.max(axis=(1, 2), keepdims=True, initial=0)
    return np.asarray(activation / (highest + 1e-8) * 255).astype(np.uint8)


def write_class_maps(path: Path, evidence: np.ndarray, tags: tuple[int, ...]) -> Path:
    """Write the maps of an image's tags.

    Args:
        path: `<id>.npz`.
        evidence: (C, h, w) evidence of all classes, 0 or more, of any scale.
        tags: class numbers 1..C of the image.

    Returns:
        The path.
    """
    numbers = np.array(tags, np.uint8)
    chosen = normalize_map(evidence[numbers.astype(int) - 1])
    return write_arrays(path, maps=chosen, numbers=numbers)


def read_class_maps(path: Path, size: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
    """Class maps of one image at its own size, as scores.

    Args:
        path: `<id>.npz`.
        size: (height, width) of the image, in pixels.

    Returns:
        Maps (K, H, W) float32 in [0, 1], the levels of `read_class_levels` over 255, and numbers (K,) uint8.
    """
    levels, numbers = read_class_levels(path, size)
    return levels / np.float32(255), numbers


def read_class_levels(path: Path, size: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
    """Class maps of one image at its own size, 8-bit as NSROM keeps them.

    The interpolation is torch's bicubic one, done as two matrix products, which take a third of its time; the rounding
    of their sums makes a few pixels in a million differ from it by one level.

    Args:
        path: `<id>.npz`.
        size: (height, width) of the image, in pixels.

    Returns:
        Maps (K, H, W) uint8 (cubic interpolation of the small 8-bit map, rounded), and numbers (K,) uint8.
    """
    found = read_arrays(path)
    maps, numbers = found["maps"], found["numbers"]
    if not len(numbers):
        return np.zeros((0, *size), np.uint8), numbers
    small = torch.from_numpy(maps).float()
    down, across = (_cubic_weights(*lengths) for lengths in zip(maps.shape[1:], size, strict=True))
    large = down.T @ (small @ across)  # (K, h, w) -> (K, h, W) -> (K, H, W)
    return large.round_().clamp_(0, 255).to(torch.uint8).numpy(), numbers


@lru_cache(maxsize=32)
def _cubic_weights(cells: int, pixels: int) -> Tensor:
    """(cells, pixels) float32: what each cell of a line weighs in each pixel of the longer line."""
    lines = torch.eye(cells)[None, None]  # interpolating a line per cell, which is one there and zero elsewhere
    return F.interpolate(lines, size=(cells, pixels), mode="bicubic", align_corners=False)[0, 0]
