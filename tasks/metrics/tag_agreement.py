"""How far the classes that predictions show agree with the tags of their images: a measure that needs no masks.

The predictions must not be filtered by the tags, and their images must not have trained the network: a segmenter that
has memorized its labels shows the tags of its own training images whatever it has learned.
"""

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from tag2mask.configs.errors import UserError
from tag2mask.tasks.dataset.image_index import ImageIndex
from tag2mask.tasks.dataset.label_maps import read_labels


class NothingKeptAside(UserError, ValueError):
    """The validation split has no tagged image to compare the rounds on."""


def shown_classes(labels: np.ndarray, classes: int, minimum_share: float) -> np.ndarray:
    """Classes that a label map shows.

    Args:
        labels: (H, W) uint8, 0 background, 1..C class, 255 ignore.
        classes: C.
        minimum_share: in [0, 1]; a class is shown where it has more than this share of the pixels.

    Returns:
        (C,) bool.
    """
    shares = np.bincount(labels.ravel(), minlength=256)[1 : classes + 1] / labels.size
    shown: np.ndarray = shares > minimum_share
    return shown


def tag_agreement(shown: np.ndarray, tagged: np.ndarray) -> dict[str, float]:
    """Precision and recall of the classes shown against the tags.

    Args:
        shown: (N, C) bool, what the predictions show.
        tagged: (N, C) bool, what the tags say.

    Returns:
        `tag_precision`, `tag_recall` and `tag_f1`, 2 TP / (2 TP + FP + FN), over all pairs of image and class; each in
        [0, 1], and 0 where nothing is shown.  Not the mean of the classes' F1, which rare classes make uncertain.

    Raises:
        ValueError: shapes that differ, or no tag at all.
    """
    if shown.shape != tagged.shape or shown.ndim != 2:
        raise ValueError(f"shown has shape {shown.shape}, tagged {tagged.shape}; both must be (images, classes)")
    if not tagged.any():
        raise ValueError("no image has a tag to compare with")
    right, found, wanted = int((shown & tagged).sum()), int(shown.sum()), int(tagged.sum())
    return {
        "tag_precision": right / max(found, 1),
        "tag_recall": right / wanted,
        "tag_f1": 2 * right / (found + wanted),
    }


def measure_round(index: ImageIndex, shown: Path, minimum_share: float) -> Mapping[str, float]:
    """Tag agreement of a segmenter on the tagged images of the validation split.

    Args:
        index: all images.
        shown: `predict_masks` artifact of the split, whose labels no tags have filtered.
        minimum_share: see `shown_classes`.

    Raises:
        NothingKeptAside: none of them has a tag.
    """
    aside = index.split("val")
    tagged = [record for record in aside if record.tags]
    if not tagged:
        raise NothingKeptAside(
            f"{index.folder}: none of the {len(aside)} images of the validation split has a tag, so rounds cannot be "
            "compared: tag some, or set deliver: last"
        )
    labels = (read_labels(shown / "labels" / f"{record.image_id}.png") for record in tagged)
    found = np.stack([shown_classes(one, len(index.classes), minimum_share) for one in labels])
    return tag_agreement(found, index.only([record.image_id for record in tagged]).tag_matrix() > 0)


def best_round(scores: list[float], minimum_gain: float) -> int:
    """The round that is delivered: the first, unless a later one is better than the best before by more than a gain.

    Args:
        scores: of the rounds in order, higher is better.
        minimum_gain: 0 or more, in the scores' unit.
    """
    best = 0
    for number, score in enumerate(scores):
        if score > scores[best] + minimum_gain:
            best = number
    return best
