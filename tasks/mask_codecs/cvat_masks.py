"""Masks as CVAT's XML has them: run lengths by rows of the box around a mask, the first outside of it."""

from collections.abc import Mapping

import numpy as np

from tag2mask.tasks.mask_codecs.runs import BadCode, mask_of, runs_of


def encode(mask: np.ndarray) -> dict[str, str]:
    """Attributes of a `<mask>` element for an (H, W) bool mask that is not empty."""
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    top, left = int(rows[0]), int(columns[0])
    box = mask[top : int(rows[-1]) + 1, left : int(columns[-1]) + 1]
    lengths = runs_of(box.ravel())[0].tolist()
    runs = [0, *lengths] if box[0, 0] else lengths
    height, width = box.shape
    place = {"left": left, "top": top, "width": width, "height": height}
    return {"rle": ", ".join(map(str, runs)), **{name: str(value) for name, value in place.items()}}


def decode(attributes: Mapping[str, str], size: tuple[int, int]) -> np.ndarray:
    """(H, W) bool of the attributes of a `<mask>` element.

    Args:
        attributes: `rle`, `left`, `top`, `width`, `height`.
        size: (height, width) of the image, in pixels.

    Raises:
        BadCode: attributes that are missing or no numbers, runs that do not fill the box, a box outside of the image.
    """
    try:
        left, top, width, height = (int(attributes[name]) for name in ("left", "top", "width", "height"))
        lengths = [int(length) for length in attributes["rle"].split(",")]
    except (KeyError, ValueError) as error:
        raise BadCode(f"lacks a number ({error})") from error
    if min(left, top, width, height) < 0 or top + height > size[0] or left + width > size[1]:
        raise BadCode(f"lies at {left},{top} with {width}x{height} pixels, outside of an image of {size[1]}x{size[0]}")
    mask = np.zeros(size, bool)
    mask[top : top + height, left : left + width] = mask_of(lengths, (height, width))
    return mask
