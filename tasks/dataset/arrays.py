"""Arrays on disk: read by several threads at once, and among them the class scores of an image.

`<id>.npz` of scores holds scores (K, h, w) float16, probabilities on the network's grid over the whole image, and
numbers (K,) uint8, the class numbers 0..C.
"""

import io
import threading
import zipfile
from pathlib import Path

import numpy as np
from PIL import Image

from tag2mask.tasks.store.files import write_file

_PARSING = threading.Lock()
"""Held while numpy parses a header: it asks Python's own parser, which in Python 3.11 miscounts when several threads
do so (CPython issue 106905), and ends with "AST constructor recursion depth mismatch"."""


def read_arrays(path: Path) -> dict[str, np.ndarray]:
    """The arrays of an `.npz` file, by name; several threads may read at once.

    Raises:
        BadZipFile, ValueError: it is none, or damaged.
        OSError: it cannot be read.
    """
    with zipfile.ZipFile(path) as archive:
        contents = {name.removesuffix(".npy"): archive.read(name) for name in archive.namelist()}
    with _PARSING:
        return {name: _array(content) for name, content in contents.items()}


def _array(content: bytes) -> np.ndarray:
    found: np.ndarray = np.lib.format.read_array(io.BytesIO(content), allow_pickle=False)  # type: ignore[no-untyped-call]
    return found


def write_arrays(path: Path, **arrays: np.ndarray) -> Path:
    """Write an `.npz` file, atomically."""
    buffer = io.BytesIO()
    np.savez(buffer, **arrays)  # type: ignore[arg-type]  # no array is named allow_pickle
    write_file(path, lambda file: file.write(buffer.getbuffer()))
    return path


def map_array(path: Path) -> np.ndarray:
    """An `.npy` file as an array whose bytes are read when they are used; several threads may do so at once."""
    with _PARSING:
        found: np.ndarray = np.load(path, mmap_mode="r", allow_pickle=False)
    return found


def write_scores(path: Path, scores: np.ndarray, numbers: np.ndarray) -> Path:
    """Write scores (K, h, w) float16 and their class numbers (K,) uint8, atomically."""
    return write_arrays(path, scores=scores, numbers=numbers)


def read_scores(path: Path, size: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
    """Class scores of one image at its own size, bilinear.

    Returns:
        (K, H, W) float32 in [0, 1] and (K,) uint8 class numbers, the background (0) among them.
    """
    found = read_arrays(path)
    return enlarged(found["scores"], size), found["numbers"]


def enlarged(scores: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Scores (K, h, w) floating at an image's (height, width), bilinear: (K, H, W) float32 in [0, 1]."""
    found = scores.astype(np.float32)
    planes = [Image.fromarray(plane).resize(size[::-1], Image.Resampling.BILINEAR) for plane in found]
    return np.clip(np.stack([np.asarray(plane) for plane in planes]), 0, 1)
