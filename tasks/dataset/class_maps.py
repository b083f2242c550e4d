"""The class maps of the tags of an image, as they are kept.

`<id>.npz` holds maps (K, h, w) uint8, 255 = strongest evidence of its class, on the network's grid over the whole
image, and numbers (K,) uint8, the class numbers 1..C.
"""

import io
from pathlib import Path

import numpy as np
import torch
from torch.nn import functional as F

from tag2mask.tasks.store.files import write_file


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
    buffer = io.BytesIO()
    np.savez(buffer, maps=chosen, numbers=numbers)
    write_file(path, lambda file: file.write(buffer.getbuffer()))
    return path


def read_class_maps(path: Path, size: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
    """Class maps of one image at its own size.

    Args:
        path: `<id>.npz`.
        size: (height, width) of the image, in pixels.

    Returns:
        Maps (K, H, W) float32 in [0, 1] (cubic interpolation of the 8-bit map, rounded to 8 bits as NSROM keeps it),
        and numbers (K,) uint8.
    """
    with np.load(path, allow_pickle=False) as archive:
        maps, numbers = archive["maps"], archive["numbers"]
    if not len(numbers):
        return np.zeros((0, *size), np.float32), numbers
    tensor = torch.from_numpy(maps)[None].float()  # (K, h, w) -> (1, K, h, w)
    large = F.interpolate(tensor, size=size, mode="bicubic", align_corners=False)[0]
    return (large.round().clamp(0, 255) / 255).numpy(), numbers
