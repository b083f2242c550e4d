"""The page of a comparison: which images changed, in pictures, most changed first.  Self-contained, no script."""

import base64
import io
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from PIL import Image

from tag2mask.tasks.dataset.image_index import ImageIndex, ImageRecord
from tag2mask.tasks.dataset.images import resize
from tag2mask.tasks.dataset.label_maps import read_labels
from tag2mask.tasks.release.comparison import (
    GAINED,
    IGNORED,
    KINDS,
    LOST,
    OTHER_CLASS,
    Comparison,
    ImageChange,
    changed_kinds,
    common_classes,
)
from tag2mask.tasks.release.label_sets import LabelSet
from tag2mask.tasks.report.gallery import IMAGE, Picture, Row
from tag2mask.tasks.report.page import points, render
from tag2mask.tasks.report.pictures import image_picture, label_picture, thumbnail_size

KIND_COLORS = {GAINED: (31, 120, 200), LOST: (217, 95, 2), OTHER_CLASS: (140, 60, 170), IGNORED: (205, 165, 40)}
"""Colors of changed pixels, distinguished by readers who do not see red or green, too."""
UNCHANGED_WHITE = 0.72
"""Share of white over the gray image where nothing changed."""


def comparison_page(
    comparison: Comparison, before: LabelSet, after: LabelSet, *, threshold: float, pictures: int, side: int
) -> str:
    """The whole page.

    Args:
        comparison: what changed.
        before: the earlier set.
        after: the later set.
        threshold: share of changed pixels in [0, 1] above which an image counts as changed.
        pictures: largest number of images shown.
        side: long side of a picture, in pixels.
    """
    summary = comparison.summary(threshold)
    shown = comparison.changed(0.0)[:pictures]
    facts = {
        f"of {summary['compared']} images changed by more than {100 * threshold:g} %": str(summary["changed"]),
        "differ in at least one pixel": str(summary["touched"]),
        "of an image's pixels changed, in the mean": f"{points(summary['mean_changed_pixels'])} %",
        "images added": str(len(comparison.added)),
        "images removed": str(len(comparison.removed)),
    }
    return render(
        "comparison",
        title=f"{comparison.before} → {comparison.after}",
        facts=facts,
        about=f"The {len(shown)} most changed of {summary['touched']}." if len(shown) < summary["touched"] else "",
        kinds={name: KIND_COLORS[kind] for kind, name in KINDS.items()},
        classes=("background", *comparison.classes),
        rows=_rows(shown, before, after, side),
        side=side,
        class_rows=[row for row in comparison.class_rows() if row["before"] or row["after"]],
        added=comparison.added,
        removed=comparison.removed,
    )


def _rows(changes: Sequence[ImageChange], before: LabelSet, after: LabelSet, side: int) -> list[Row]:
    """One row an image: it, both label maps, and the changed pixels."""
    records = _records(before) | _records(after)
    _, table = common_classes(before, after)

    def draw(change: ImageChange) -> Row:
        old = table[read_labels(before.files[change.image_id])]
        new = read_labels(after.files[change.image_id])
        size = thumbnail_size((new.shape[0], new.shape[1]), side)
        index, record = records.get(change.image_id, (None, None))
        pixels = None if index is None or record is None else resize(index.pixels(record), size)
        if record is None:
            record = ImageRecord(change.image_id, "", "train", new.shape[1], new.shape[0], ())
        parts = [
            Picture(IMAGE, None if pixels is None else image_picture(pixels), None),
            Picture(before.title, label_picture(old, size), None),
            Picture(after.title, label_picture(new, size), None),
            Picture(
                _caption(change),
                None if change.resized else change_picture(changed_kinds(old, new), pixels, size),
                None,
            ),
        ]
        return Row(record, None, tuple(parts))

    with ThreadPoolExecutor(2) as pool:
        return list(pool.map(draw, changes))


def change_picture(kinds: np.ndarray, pixels: np.ndarray | None, size: tuple[int, int]) -> str:
    """The changed pixels in the colors of their kinds, over the paled image.

    Args:
        kinds: (H, W) uint8, see `changed_kinds`.
        pixels: (h, w, 3) uint8, the image at the size of the picture; None: white.
        size: (h, w) of the picture.
    """
    gray = np.full(size, 255.0) if pixels is None else pixels.mean(axis=2)
    pale = 255 * UNCHANGED_WHITE + gray * (1 - UNCHANGED_WHITE)
    picture = np.repeat(pale[..., None], 3, axis=2).astype(np.uint8)  # (h, w) -> (h, w, 3)
    small = resize(kinds, size, nearest=True)
    for kind, color in KIND_COLORS.items():
        region = small == kind
        cover = 0.5 if kind == IGNORED else 1.0  # often the whole picture: what it shows must stay to be seen
        picture[region] = (cover * np.array(color) + (1 - cover) * picture[region]).astype(np.uint8)
    file = io.BytesIO()
    Image.fromarray(picture).save(file, format="PNG", optimize=True)
    return f"data:image/png;base64,{base64.b64encode(file.getvalue()).decode('ascii')}"


def _caption(change: ImageChange) -> str:
    if change.resized:
        return "of another size"
    parts = [name for kind, name in KINDS.items() if change.pixels(kind)]
    return f"{100 * change.share:.1f} % changed: {', '.join(parts)}"


def _records(labels: LabelSet) -> dict[str, tuple[ImageIndex, ImageRecord]]:
    """Image id -> its image, where it is known."""
    index = None if labels.dataset is None else ImageIndex.read(labels.dataset)
    return {} if index is None else {record.image_id: (index, record) for record in index}
