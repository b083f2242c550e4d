"""Label sets with faults that no stage makes: ids that shifted, objects too small or too large, classes lost."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image
from scipy import ndimage

from tag2mask.tasks.dataset.class_maps import read_class_maps
from tag2mask.tasks.dataset.image_index import ImageIndex
from tag2mask.tasks.dataset.label_maps import IGNORE, read_labels, write_labels
from tests.benchmarks.gate_sets import Evidence, LabelSet, made

MASKS = "the masks themselves"
"""Not a set that a run could make: what the best one would look like to the gate."""
Paint = Callable[[str, tuple[int, int]], np.ndarray]
"""Labels by a rule: (id, (height, width)) -> (H, W) uint8."""


def painted(given: Evidence, paint: Paint) -> Callable[[Path], None]:
    """A folder of labels by a rule."""

    def make(out: Path) -> None:
        for record in ImageIndex.read(given.dataset).split("train"):
            write_labels(out / f"{record.image_id}.png", paint(record.image_id, record.size))

    return make


def of_another(given: Evidence) -> Paint:
    """The labels of the next image, stretched: what a set looks like whose ids have shifted."""
    ids = ImageIndex.read(given.dataset).split("train").ids
    following = dict(zip(ids, (*ids[1:], ids[0]), strict=True))

    def paint(image_id: str, size: tuple[int, int]) -> np.ndarray:
        with Image.open(given.labels / f"{following[image_id]}.png") as image:
            return np.asarray(image.resize(size[::-1], Image.Resampling.NEAREST)).astype(np.uint8)

    return paint


def mixed(given: Evidence, other: Path, share: float) -> Paint:
    """The run's labels, a share of the images with those of another set."""
    ids = ImageIndex.read(given.dataset).split("train").ids
    old = set(np.random.default_rng(0).permutation(ids)[: round(share * len(ids))].tolist())
    return lambda image_id, _: read_labels((other if image_id in old else given.labels) / f"{image_id}.png")


def by_maps(maps: Path, above: float) -> Paint:
    """The strongest class map above a threshold, and nothing else: agrees with the maps because it is the maps."""

    def paint(image_id: str, size: tuple[int, int]) -> np.ndarray:
        found, numbers = read_class_maps(maps / f"{image_id}.npz", size)
        labels = np.concatenate([[0], numbers]).astype(np.uint8)
        chosen = labels[np.concatenate([np.full((1, *size), above, np.float32), found]).argmax(0)]
        return np.asarray(chosen)

    return paint


def grown(given: Evidence, pixels: int) -> Paint:
    """Objects that grew by so many pixels, or shrank where it is negative; ignored pixels are left out of it."""

    def paint(image_id: str, size: tuple[int, int]) -> np.ndarray:
        labels = read_labels(given.labels / f"{image_id}.png")
        classes = np.where(labels == IGNORE, 0, labels)
        distance, nearest = ndimage.distance_transform_edt(classes == 0, return_indices=True)
        if pixels > 0:
            return np.where(distance <= pixels, classes[tuple(nearest)], 0).astype(np.uint8)
        inside = ndimage.distance_transform_edt(classes != 0)
        return np.where(inside > -pixels, classes, 0).astype(np.uint8)

    return paint


def moved(given: Evidence, pixels: int) -> Paint:
    """Labels that lie so many pixels further right and down; what comes in from outside is background."""

    def paint(image_id: str, size: tuple[int, int]) -> np.ndarray:
        labels = read_labels(given.labels / f"{image_id}.png")
        shifted = np.zeros_like(labels)
        shifted[pixels:, pixels:] = labels[:-pixels, :-pixels]
        return shifted

    return paint


def without_classes(given: Evidence, lost: tuple[int, ...]) -> Paint:
    """Classes that have become background."""

    def paint(image_id: str, _: tuple[int, int]) -> np.ndarray:
        labels = read_labels(given.labels / f"{image_id}.png")
        return np.where(np.isin(labels, lost), 0, labels).astype(np.uint8)

    return paint


def as_one_class(given: Evidence) -> Paint:
    """All objects of an image under the first of its tags."""
    tags = {record.image_id: record.tags for record in ImageIndex.read(given.dataset).split("train")}

    def paint(image_id: str, _: tuple[int, int]) -> np.ndarray:
        labels = read_labels(given.labels / f"{image_id}.png")
        return np.where((labels != 0) & (labels != IGNORE), tags[image_id][0], labels).astype(np.uint8)

    return paint


def damaged_sets(given: Evidence, sets: dict[str, LabelSet]) -> dict[str, LabelSet]:
    """Name -> the run's labels with a fault, and the masks; those of which thresholds know nothing are held out.

    Args:
        given: the run's artifacts.
        sets: those of the stages, two of which are mixed in.
    """
    chosen: dict[str, Paint] = {
        "all background": lambda _, size: np.zeros(size, np.uint8),
        "CAM above 0.3": by_maps(given.cams, 0.3),
        "40 % of the images from background 0.5": mixed(given, sets["labels 0, background 0.5"].labels, 0.4),
        "objects 12 pixels smaller": grown(given, -12),
        "objects 24 pixels larger": grown(given, 24),
        "five classes lost": without_classes(given, (1, 5, 9, 13, 17)),
    }
    held_out: dict[str, Paint] = {
        "labels of the next image": of_another(given),
        "OA-CAM above 0.5": by_maps(given.attention, 0.5),
        "40 % of the images from a segmenter after 1 step": mixed(given, sets["segmenter after 1 steps"].labels, 0.4),
        "objects 20 pixels smaller": grown(given, -20),
        "objects 40 pixels larger": grown(given, 40),
        "labels 40 pixels away": moved(given, 40),
        "persons lost": without_classes(given, (15,)),
        "one class an image": as_one_class(given),
    }
    found = {MASKS: LabelSet(given.masks / "masks", given)}
    for number, (name, paint) in enumerate((chosen | held_out).items()):
        folder = made(f"damaged_{number}", painted(given, paint))
        found[name] = LabelSet(folder, given, held_out=name in held_out)
    return found
