"""Small pictures for the report, as `data:` addresses: images, heat maps, gray maps, label maps."""

import base64
import io

import numpy as np
from PIL import Image

from tag2mask.tasks.dataset.images import resize
from tag2mask.tasks.dataset.label_maps import IGNORE, voc_palette

BACKGROUND_COLOR = (236, 236, 236)
"""Of background in label maps: light, because the colors of the first classes are dark."""
IGNORED_COLORS = ((255, 255, 255), (150, 150, 150))
"""Stripes of ignored pixels."""
_HEAT = np.array([[20, 20, 120], [0, 130, 200], [60, 190, 110], [250, 210, 50], [230, 40, 30]], np.float64)
"""Colors of heat at 0, 1/4, 1/2, 3/4 and 1."""


def thumbnail_size(size: tuple[int, int], side: int) -> tuple[int, int]:
    """(height, width) with the long side at `side` pixels and the sides in proportion; nothing is enlarged."""
    height, width = size
    factor = min(1.0, side / max(height, width))
    return max(1, round(height * factor)), max(1, round(width * factor))


def image_picture(pixels: np.ndarray) -> str:
    """A JPEG of (H, W, 3) uint8 RGB."""
    return _address(Image.fromarray(pixels), "JPEG")


def heat_picture(pixels: np.ndarray, heat: np.ndarray) -> str:
    """An image under a map of heat.

    Args:
        pixels: (H, W, 3) uint8 RGB.
        heat: (H, W) floating in [0, 1]; blue to red, the hotter the less of the image is seen.
    """
    level = np.clip(heat, 0, 1).astype(np.float64)
    stops = np.linspace(0, 1, len(_HEAT))
    color = np.stack([np.interp(level, stops, channel) for channel in _HEAT.T], axis=-1)  # (H, W) -> (H, W, 3)
    cover = (0.35 + 0.35 * level)[..., None]
    return _address(Image.fromarray(np.round(pixels * (1 - cover) + color * cover).astype(np.uint8)), "JPEG")


def gray_picture(gray: np.ndarray, size: tuple[int, int]) -> str:
    """A JPEG of an (H, W) uint8 map, at another size."""
    return _address(Image.fromarray(resize(gray, size)), "JPEG")


def label_picture(labels: np.ndarray, size: tuple[int, int]) -> str:
    """A PNG of an (H, W) uint8 label map at another size: classes in the colors of VOC, ignored pixels striped."""
    small = resize(labels, size, nearest=True)
    palette = voc_palette()
    palette[0] = BACKGROUND_COLOR
    pixels = palette[small]  # (H, W) -> (H, W, 3)
    row, column = np.indices(small.shape)
    stripes = np.array(IGNORED_COLORS, np.uint8)[((row + column) // 3) % 2]
    pixels = np.where((small == IGNORE)[..., None], stripes, pixels)
    return _address(Image.fromarray(pixels), "PNG")


def class_color(number: int) -> str:
    """CSS color of a class number."""
    red, green, blue = BACKGROUND_COLOR if number == 0 else voc_palette()[number].tolist()
    return f"#{red:02x}{green:02x}{blue:02x}"


def jpeg_address(pixels: np.ndarray, quality: int) -> str:
    """A JPEG of (H, W, 3) uint8 RGB at a quality of 1-95."""
    return _address(Image.fromarray(pixels), "JPEG", quality)


def picture_pixels(address: str) -> np.ndarray:
    """(H, W, 3) uint8 RGB of one of these pictures."""
    with Image.open(io.BytesIO(base64.b64decode(address.partition(",")[2]))) as image:
        return np.asarray(image.convert("RGB"))


def _address(image: Image.Image, kind: str, quality: int = 80) -> str:
    file = io.BytesIO()
    image.save(file, format=kind, **({"quality": quality} if kind == "JPEG" else {"optimize": True}))
    return f"data:image/{kind.lower()};base64,{base64.b64encode(file.getvalue()).decode('ascii')}"
