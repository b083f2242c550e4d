"""Two label sets, image by image: which images changed, by how much, and from which class to which."""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np

from tag2mask.tasks.dataset.label_maps import IGNORE, read_labels
from tag2mask.tasks.release.label_sets import LabelSet

GAINED, LOST, OTHER_CLASS, IGNORED = 1, 2, 3, 4
"""Kinds of a changed pixel: an object is new there, gone, of another class; or only background and ignored changed."""
KINDS = {GAINED: "object gained", LOST: "object lost", OTHER_CLASS: "other class", IGNORED: "background ↔ ignored"}


@dataclass(frozen=True)
class ImageChange:
    """One image that both sets hold."""

    image_id: str
    share: float
    """Share of its pixels that have another label, in [0, 1]; 1 where the sizes differ."""
    moved: Mapping[tuple[int, int], int]
    """(label before, label after) -> pixels, of all pairs that occur."""
    resized: bool = False
    """The two maps have different sizes, so that no pixel can be compared."""

    def pixels(self, kind: int) -> int:
        """Changed pixels of a kind."""
        return sum(count for (before, after), count in self.moved.items() if kind_of(before, after) == kind)


@dataclass(frozen=True)
class Comparison:
    """Two label sets."""

    before: str
    after: str
    classes: tuple[str, ...]
    """Names of the classes that the numbers in `images` mean."""
    images: tuple[ImageChange, ...]
    """The images that both hold, in order of their ids."""
    added: tuple[str, ...]
    """Images that the later set alone holds."""
    removed: tuple[str, ...]
    """Images that the earlier set alone holds."""

    def changed(self, threshold: float) -> list[ImageChange]:
        """Images of which more than a share of pixels changed, most changed first."""
        found = [image for image in self.images if image.share > threshold]
        return sorted(found, key=lambda image: (-image.share, image.image_id))

    def changed_share(self, threshold: float) -> float | None:
        """Share of changed images among those that both hold; None where they share none."""
        return len(self.changed(threshold)) / len(self.images) if self.images else None

    def summary(self, threshold: float) -> dict[str, Any]:
        """The figures as JSON."""
        shares = [image.share for image in self.images]
        return {
            "before": self.before,
            "after": self.after,
            "compared": len(self.images),
            "changed_pixels_above": threshold,
            "changed": len(self.changed(threshold)),
            "changed_share": self.changed_share(threshold),
            "touched": sum(share > 0 for share in shares),
            "resized": [image.image_id for image in self.images if image.resized],
            "mean_changed_pixels": sum(shares) / len(shares) if shares else None,
            "added": list(self.added),
            "removed": list(self.removed),
        }

    def image_rows(self) -> list[dict[str, Any]]:
        """One row an image, most changed first; then the added and the removed."""
        rows = []
        for image in self.changed(-1.0):
            state = "resized" if image.resized else "changed" if image.share > 0 else "same"
            kinds = {name: image.pixels(kind) for kind, name in zip(KINDS, COLUMNS, strict=True)}
            rows.append({"image_id": image.image_id, "state": state, "changed_share": image.share, **kinds})
        for state, ids in (("added", self.added), ("removed", self.removed)):
            rows += [{"image_id": image_id, "state": state, "changed_share": None} for image_id in ids]
        return rows

    def class_rows(self) -> list[dict[str, Any]]:
        """One row a label value: its pixels before and after, and how many are the same ones."""
        moved: Counter[tuple[int, int]] = Counter()
        for image in self.images:
            moved.update(image.moved)
        rows = []
        for number, name in [*enumerate(("background", *self.classes)), (IGNORE, "ignored")]:
            before = sum(count for (b, _), count in moved.items() if b == number)
            after = sum(count for (_, a), count in moved.items() if a == number)
            kept = moved[number, number]
            union = before + after - kept
            change = (after - before) / before if before else None
            iou = kept / union if union else None
            rows.append(
                {"class": name, "before": before, "after": after, "kept": kept, "iou": iou, "relative_change": change}
            )
        return rows


COLUMNS = ("object_gained", "object_lost", "other_class", "background_ignored")
"""Names of the kinds of change in tables, in the order of `KINDS`."""


def kind_of(before: int, after: int) -> int:
    """Kind of a pixel's change; 0 for none."""
    if before == after:
        return 0
    was, is_now = 0 < before < IGNORE, 0 < after < IGNORE
    return OTHER_CLASS if was and is_now else GAINED if is_now else LOST if was else IGNORED


def changed_kinds(before: np.ndarray, after: np.ndarray) -> np.ndarray:
    """(H, W) uint8 kinds of change of two label maps of one size, 0 where nothing changed."""
    was, is_now = (before - np.uint8(1) < IGNORE - 1), (after - np.uint8(1) < IGNORE - 1)
    kinds = np.select([was & is_now, is_now, was], [OTHER_CLASS, GAINED, LOST], IGNORED)
    return np.where(before == after, 0, kinds).astype(np.uint8)


def common_classes(before: LabelSet, after: LabelSet) -> tuple[tuple[str, ...], np.ndarray]:
    """Class names for both sets, and (256,) uint8 that brings the earlier set's numbers to them, by name.

    The later set's numbers stay.  A set that does not say its classes is taken to have the other's numbers.

    Raises:
        ValueError: together they have more than 254 classes.
    """
    table = np.arange(256, dtype=np.uint8)
    if before.classes is None or after.classes is None:
        return after.classes or before.classes or (), table
    names = (*after.classes, *(name for name in before.classes if name not in after.classes))
    if len(names) >= IGNORE:
        raise ValueError(f"{before.title} and {after.title} have {len(names)} classes together; 254 at most")
    for number, name in enumerate(before.classes, start=1):
        table[number] = names.index(name) + 1
    return names, table


def compare(
    before: LabelSet, after: LabelSet, *, threads: int = 1, progress: Callable[[int, int], None] = lambda *_: None
) -> Comparison:
    """Compare two label sets.

    Args:
        before: the earlier one.
        after: the later one.
        threads: images compared at once.
        progress: called with how many are done, and how many there are.

    Raises:
        ValueError: a label map that cannot be read; the message names it.
    """
    classes, table = common_classes(before, after)
    both = sorted(before.files.keys() & after.files.keys())

    def one(image_id: str) -> ImageChange:
        new, digest = read_labels(after.files[image_id]), after.digests.get(image_id)
        same = digest is not None and digest == before.digests.get(image_id)
        old = new if same else read_labels(before.files[image_id])
        return compare_maps(image_id, table[old], new)

    images = []
    with ThreadPoolExecutor(max(1, threads)) as pool:
        for change in pool.map(one, both):
            images.append(change)
            progress(len(images), len(both))
    added, removed = (sorted(a.files.keys() - b.files.keys()) for a, b in ((after, before), (before, after)))
    used = max((number for image in images for pair in image.moved for number in pair if number != IGNORE), default=0)
    return Comparison(before.title, after.title, _named(classes, used), tuple(images), tuple(added), tuple(removed))


def compare_maps(image_id: str, before: np.ndarray, after: np.ndarray) -> ImageChange:
    """Compare two (H, W) uint8 label maps of one image, with the same class numbers."""
    if before.shape != after.shape:
        return ImageChange(image_id, 1.0, {}, resized=True)
    pairs, counts = np.unique(before.astype(np.uint16) << 8 | after, return_counts=True)  # (H, W) -> (pairs,)
    moved = {(int(pair) >> 8, int(pair) & 255): int(count) for pair, count in zip(pairs, counts, strict=True)}
    same = sum(count for (b, a), count in moved.items() if b == a)
    return ImageChange(image_id, (before.size - same) / before.size, moved)


def _named(classes: Sequence[str], largest: int) -> tuple[str, ...]:
    """Class names, made up for numbers beyond those that are known."""
    return (*classes, *(f"class {number}" for number in range(len(classes) + 1, largest + 1)))
