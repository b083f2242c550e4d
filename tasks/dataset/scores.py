"""Class scores on disk.

`<id>.npz` holds scores (K, h, w) float16, probabilities on the network's grid over the whole image, and numbers (K,)
uint8, the class numbers 0..C.
"""

import io
from pathlib import Path

import numpy as np
from PIL import Image

from tag2mask.tasks.store.files import write_file


def write_scores(path: Path, scores: np.ndarray, numbers: np.ndarray) -> Path:
    """Write scores (K, h, w) float16 and their class numbers (K,) uint8, atomically."""
    buffer = io.BytesIO()
    np.savez(buffer, scores=scores, numbers=numbers)
    write_file(path, lambda file: file.write(buffer.getbuffer()))
    return path


def read_scores(path: Path, size: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
    """Class scores of one image at its own size, bilinear.

    Returns:
        (K, H, W) float32 in [0, 1] and (K,) uint8 class numbers, the background (0) among them.
    """
    with np.load(path, allow_pickle=False) as archive:
        return enlarged(archive["scores"], size), archive["numbers"]


def enlarged(scores: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Scores (K, h, w) floating at an image's (height, width), bilinear: (K, H, W) float32 in [0, 1]."""
    found = scores.astype(np.float32)
    planes = [Image.fromarray(plane).resize(size[::-1], Image.Resampling.BILINEAR) for plane in found]
    return np.clip(np.stack([np.asarray(plane) for plane in planes]), 0, 1)
