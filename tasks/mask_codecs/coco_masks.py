"""Label maps as COCO annotations: one mask (RLE) per image and class.

Every class of an image is one annotation (`iscrowd` 0: one mask for all its objects, as in COCO-Stuff).  Background has
none.  Ignored pixels (255) are an annotation of the category 255 `ignored` with `iscrowd` 1, COCO's mark of a region
that counts neither for nor against anybody; a reader that skips crowds would train them as background.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from pycocotools import mask as coco

from tag2mask.tasks.dataset.label_maps import IGNORE
from tag2mask.tasks.mask_codecs.runs import BadCode


def categories(classes: Sequence[str]) -> list[dict[str, Any]]:
    """COCO's categories of the classes 1..C, and of ignored pixels."""
    named = [{"id": number, "name": name, "supercategory": "object"} for number, name in enumerate(classes, start=1)]
    return [*named, {"id": IGNORE, "name": "ignored", "supercategory": "void"}]


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
        BadCode: it is none of these, or of an image of another size.
    """
    height, width = size
    try:
        if isinstance(segmentation, list):
            coded = coco.merge(coco.frPyObjects(segmentation, height, width)) if segmentation else None
        elif isinstance(segmentation, dict) and list(segmentation["size"]) == [height, width]:
            counts = segmentation["counts"]
            coded = coco.frPyObjects(segmentation, height, width) if isinstance(counts, list) else dict(segmentation)
            if isinstance(counts, str):
                coded["counts"] = counts.encode("ascii")
        else:
            raise BadCode(f"is no polygon and no mask of {width}x{height} pixels")
        return np.zeros(size, bool) if coded is None else np.asarray(coco.decode(coded), bool)
    except Exception as error:  # pycocotools raises bare ones
        raise error if isinstance(error, BadCode) else BadCode(f"cannot be read ({error})") from error
