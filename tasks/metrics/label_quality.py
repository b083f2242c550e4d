"""Signals of a label set's quality that need no masks, image by image and in sum."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np

from tag2mask.tasks.dataset.label_maps import IGNORE


@dataclass(frozen=True)
class ImageSignals:
    """The figures of one label map."""

    image_id: str
    tags: tuple[int, ...]
    pixels: np.ndarray
    """(256,) int, pixels of each label value."""
    agreement: Mapping[str, float | None]
    """`<one>_<other>` -> IoU of the two foregrounds in [0, 1]; None where neither has any, or nothing is labeled."""

    @property
    def missing(self) -> tuple[int, ...]:
        """Tags that no pixel carries."""
        return tuple(number for number in self.tags if self.pixels[number] == 0)

    @property
    def foreground(self) -> int:
        """Pixels that carry a class."""
        return int(self.pixels[1:IGNORE].sum())

    @property
    def untagged(self) -> int:
        """Pixels that carry a class which is not among the tags."""
        return self.foreground - int(self.pixels[list(self.tags)].sum())

    @property
    def ignored_share(self) -> float:
        """Share of the pixels that train nothing."""
        return float(self.pixels[IGNORE] / self.pixels.sum())


def measure_image(
    image_id: str, labels: np.ndarray, tags: Sequence[int], foregrounds: Mapping[str, np.ndarray]
) -> ImageSignals:
    """Measure one label map.

    Args:
        image_id: its image.
        labels: (H, W) uint8, 0 background, 1..254 class, 255 ignore.
        tags: class numbers of the image.
        foregrounds: name -> (H, W) bool, what the other evidences take for an object.

    Raises:
        ValueError: a foreground of another shape.
    """
    for name, region in foregrounds.items():
        if region.shape != labels.shape:
            raise ValueError(f"{name} has shape {region.shape}, the labels {labels.shape}; they must be equal")
    labeled = labels != IGNORE
    of_labels = labeled & (labels != 0)
    agreement = {f"labels_{name}": foreground_iou(of_labels, f & labeled) for name, f in foregrounds.items()}
    if not labeled.any():
        agreement = dict.fromkeys(agreement)
    for one, other in combinations(foregrounds, 2):
        agreement[f"{one}_{other}"] = foreground_iou(foregrounds[one], foregrounds[other])
    return ImageSignals(image_id, tuple(tags), np.bincount(labels.ravel(), minlength=256), agreement)


def foreground_iou(one: np.ndarray, other: np.ndarray) -> float | None:
    """IoU in [0, 1] of two (H, W) bool regions; None where both are empty: they agree on nothing."""
    union = np.count_nonzero(one | other)
    return np.count_nonzero(one & other) / union if union else None


def summarize(images: Sequence[ImageSignals], classes: Sequence[str]) -> dict[str, float | None]:
    """The signals of a label set; all but `class_ratio` are shares in [0, 1].

    `class_ratio` is the smallest p / t over the classes that are tagged, where p is the class's share of the foreground
    pixels and t its share of the (image, tag) pairs: 0 where a class got no pixel at all.  `class_divergence` is the
    sum of max(0, t - p): the share of the foreground that would have to change class.  The first sees one class vanish,
    however rare it is; the second sees a few classes swallow the others.  The ratio of the largest class to the
    smallest and the entropy would blame a set for the balance of its tags and for the size of its objects alone.
    """
    rows = class_rows(images, classes)
    pixels = sum((image.pixels for image in images), np.zeros(256, np.int64))
    pairs = sum(len(image.tags) for image in images)
    foreground = int(pixels[1:IGNORE].sum())
    tagged = [row for row in rows if row["images"]]
    names = list(dict.fromkeys(name for image in images for name in image.agreement))
    return {
        "missing_tags": _ratio(sum(len(image.missing) for image in images), pairs),
        "untagged": _ratio(sum(image.untagged for image in images), foreground),
        "ignored_share": _ratio(int(pixels[IGNORE]), int(pixels.sum())),
        "wholly_ignored": _ratio(sum(image.ignored_share == 1 for image in images), len(images)),
        "without_foreground": _ratio(sum(image.foreground == 0 for image in images), len(images)),
        "class_ratio": min((row["ratio"] for row in tagged), default=None),
        "class_divergence": sum(max(0.0, row["tag_share"] - row["pixel_share"]) for row in tagged) if tagged else None,
        **{f"agreement_{name}": _mean([image.agreement.get(name) for image in images]) for name in names},
    }


def class_rows(images: Sequence[ImageSignals], classes: Sequence[str]) -> list[dict[str, Any]]:
    """One row a class: images tagged with it, those without a pixel of it, its pixels, and its shares of both."""
    pixels = sum((image.pixels for image in images), np.zeros(256, np.int64))
    foreground = max(1, int(pixels[1:IGNORE].sum()))
    pairs = max(1, sum(len(image.tags) for image in images))
    rows = []
    for number, name in enumerate(classes, start=1):
        tagged = sum(number in image.tags for image in images)
        tag_share, pixel_share = tagged / pairs, int(pixels[number]) / foreground
        row: dict[str, Any] = {"class": name, "images": tagged}
        row["images_without_pixel"] = sum(number in image.missing for image in images)
        row |= {"pixels": int(pixels[number]), "tag_share": tag_share, "pixel_share": pixel_share}
        rows.append(row | {"ratio": pixel_share / tag_share if tagged else None})
    return rows


def image_rows(images: Sequence[ImageSignals], classes: Sequence[str]) -> list[dict[str, Any]]:
    """One row an image; missing tags by name, separated by blanks."""
    return [
        {
            "image_id": image.image_id,
            "tags": len(image.tags),
            "missing_tags": " ".join(classes[number - 1] for number in image.missing),
            "ignored_share": image.ignored_share,
            "foreground_share": image.foreground / int(image.pixels.sum()),
            "untagged": _ratio(image.untagged, image.foreground),
            **{f"agreement_{name}": value for name, value in image.agreement.items()},
        }
        for image in images
    ]


def _ratio(part: int, whole: int) -> float | None:
    return part / whole if whole else None


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known else None
