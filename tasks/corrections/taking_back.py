"""Corrected masks from a folder of `tag2mask review` into the folder of corrections."""

import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from tag2mask.tasks.catalog.formats import CORRECTED, PRELABELS, REVIEW
from tag2mask.tasks.corrections.folder import BadCorrection, Correction, CorrectionFolder
from tag2mask.tasks.corrections.reading import Reviewed, read_corrected
from tag2mask.tasks.dataset.image_ids import checked_id
from tag2mask.tasks.store.files import read_json
from tag2mask.tasks.store.locks import hold, read_only_as_error

LOCK = ".lock"
"""Of a folder of corrections, to which one command writes at a time."""


@dataclass(frozen=True)
class TakenBack:
    """What became of a review."""

    source: str
    """The program or format that the masks came from."""
    taken: tuple[str, ...]
    """Ids of the images whose masks are corrections now."""
    as_they_were: int
    """Images that came back unchanged from a program that does not say whether somebody looked at them."""
    replaced: int
    """Of those taken, images that had a correction, which is gone."""


def read_review(folder: Path) -> dict[str, Any]:
    """`review.json` of a folder.

    Raises:
        BadCorrection: there is none, or it is not what `tag2mask review` writes.
    """
    path = folder / REVIEW
    try:
        content = read_json(path)
        for image_id, image in content["images"].items():
            checked_id(image_id, str(path))
            int(image["width"]), int(image["height"]), str(image["sha256"])
        if not isinstance(content["run"], str) or not all(isinstance(name, str) for name in content["classes"]):
            raise TypeError("run and classes must be names")
    except FileNotFoundError as error:
        raise BadCorrection(f"{path}: no such file; give a folder that `tag2mask review` wrote") from error
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise BadCorrection(f"{path}: is not what `tag2mask review` writes ({error}); copy it again") from error
    return dict(content)


def take_back(folder: Path, target: Path) -> TakenBack:
    """Take the masks in `corrected/` of a review into a folder of corrections.

    Args:
        folder: the review.
        target: the folder of corrections; made if need be.

    Raises:
        BadCorrection, BadTable: the review, what came back, or the folder of corrections cannot be read; nothing is
            written.
        StoreNotWritable: nothing can be written to the folder of corrections.
    """
    review = read_review(folder)
    images: Mapping[str, Mapping[str, Any]] = review["images"]
    sizes = {image_id: (int(image["height"]), int(image["width"])) for image_id, image in images.items()}
    classes = tuple(review["classes"])
    given = Reviewed(sizes, classes, folder / PRELABELS)
    found = read_corrected(folder / CORRECTED, given)
    masks = {
        image_id: mask
        for image_id, mask in found.masks.items()
        if found.all_seen or not np.array_equal(mask, given.before(image_id))
    }
    now = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    about = {i: Correction(i, str(images[i]["sha256"]), found.source, now) for i in masks}
    with read_only_as_error(target, "folder of corrections", "--into"):
        target.mkdir(parents=True, exist_ok=True)
        (target / LOCK).touch()
    with hold(target / LOCK):
        there = CorrectionFolder.read(target, coming=masks)
        there.add(masks, classes, about)
    replaced = len(there.corrections.keys() & masks.keys())
    return TakenBack(found.source, tuple(sorted(masks)), len(found.masks) - len(masks), replaced)
