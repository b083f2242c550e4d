"""Label maps as COCO annotations: one mask (RLE) per image and class.

Every class of an image is one annotation (`iscrowd` 0: one mask for all its objects, as in COCO-Stuff).  Background has
none.  Ignored pixels (255) are an annotation of the category 255 `ignored` with `iscrowd` 1, COCO's mark of a region
that counts neither for nor against anybody; a reader that skips crowds would train them as background.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from pycocotools import mask as coco

from tag2mask.tasks.dataset.label_maps import IGNORE, ignored_name
from tag2mask.tasks.mask_codecs.runs import BadCode, mask_of

FARTHEST = 1e6
"""Pixels from the image's corner that a polygon's point may lie: pycocotools fills any amount of memory beyond."""


def categories(classes: Sequence[str]) -> list[dict[str, Any]]:
    """COCO's categories of the classes 1..C, and of ignored pixels."""
    named = [{"id": number, "name": name, "supercategory": "object"} for number, name in enumerate(classes, start=1)]
    return [*named, {"id": IGNORE, "name": ignored_name(classes), "supercategory": "void"}]


def annotations(labels: np.ndarray, image: int, first: int) -> list[dict[str, Any]]:
    """COCO's annotations of one label map, by rising class number.

    Args:
        labels: (H, W) uint8, 0 background, 1..254 class, 255 ignore.
        image: id of the image.
        first: id of the first annotation; the others follow.
    """
    found: list[dict[str, Any]] = []
    for number in np.unique(labels).tolist():
        if number == 0:
            continue
        encoded = coco.encode(np.asfortranarray(labels == number, dtype=np.uint8))
        found.append(
            {
                "id": first + len(found),
                "image_id": image,
                "category_id": number,
                "segmentation": {"size": list(encoded["size"]), "counts": encoded["counts"].decode("ascii")},
                "area": int(coco.area(encoded)),
                "bbox": [float(side) for side in coco.toBbox(encoded)],
                "iscrowd": int(number == IGNORE),
            }
        )
    return found


def box_of(mask: np.ndarray) -> tuple[int, int, int, int]:
    """Left, top, width and height of the box around an (H, W) bool mask that is not empty, in pixels."""
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    left, top = int(columns[0]), int(rows[0])
    return left, top, int(columns[-1]) - left + 1, int(rows[-1]) - top + 1


def decode(segmentation: object, size: tuple[int, int]) -> np.ndarray:
    """(H, W) bool of COCO's polygons, or of its run lengths, compressed or not.

    Raises:
        BadCode: it is none of these, of an image of another size, or does not say of every pixel what it is.
    """
    height, width = size
    try:
        if isinstance(segmentation, list):
            return _inside(segmentation, size)
        if isinstance(segmentation, dict) and list(segmentation["size"]) == [height, width]:
            counts = segmentation["counts"]
            lengths = list(counts) if isinstance(counts, list) else _unpacked(counts)
            return mask_of(lengths, (width, height)).T  # COCO's runs go down the columns
    except Exception as error:  # pycocotools raises bare ones
        raise error if isinstance(error, BadCode) else BadCode(f"cannot be read ({error})") from error
    raise BadCode(f"is no polygon and no mask of {width}x{height} pixels")


def _inside(polygons: list[Any], size: tuple[int, int]) -> np.ndarray:
    """(H, W) bool of polygons [x, y, x, y, …]."""
    if not polygons:
        return np.zeros(size, bool)
    for polygon in polygons:
        if not (np.abs(np.asarray(polygon, float)) <= FARTHEST).all():  # written so that NaN fails too
            raise BadCode(f"has a point more than {FARTHEST:.0f} pixels away")
    return np.asarray(coco.decode(coco.merge(coco.frPyObjects(polygons, *size))), bool)


def _unpacked(code: str) -> list[int]:
    """Run lengths of COCO's compressed code.

    A length takes five bits a character, the lowest first; from the fourth length on the code holds the difference from
    the last but one.

    Raises:
        BadCode: it ends in the middle of a number, or has other characters.
    """
    lengths: list[int] = []
    number = shift = 0
    for character in code:
        bits = ord(character) - 48
        if not 0 <= bits < 64:
            raise BadCode(f"has a character {character!r}, which is none of its code")
        number |= (bits & 31) << shift
        shift += 5
        if bits & 32:
            continue
        if bits & 16:
            number -= 1 << shift
        lengths.append(number + (lengths[-2] if len(lengths) > 2 else 0))
        number = shift = 0
    if shift:
        raise BadCode("ends in the middle of a number")
    return lengths
