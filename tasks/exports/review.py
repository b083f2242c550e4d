"""Images to correct, the least certain ones or random ones, exported with their masks as pre-labels.

what the format writes (Label Studio's predictions, CVAT's XML, or PNG files), and beside it
prelabels/<id>.png   the masks as they are
confidence.csv       why these images: the figures of `measure_confidence`, the least certain first
review.json          the run, its classes, and the digest of each image: what `tag2mask corrections` reads
corrected/           where the corrected masks are put
"""

import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from tag2mask.tasks.catalog.formats import CORRECTED, PRELABELS, REVIEW, ReviewChoice, ReviewFormat
from tag2mask.tasks.dataset.image_ids import checked_id
from tag2mask.tasks.dataset.images import image_digest
from tag2mask.tasks.dataset.tables import read_table, write_table
from tag2mask.tasks.dataset.whole_folder import made_whole
from tag2mask.tasks.exports.cvat import write_cvat
from tag2mask.tasks.exports.export_set import CannotExport, ExportSet
from tag2mask.tasks.exports.label_studio import write_label_studio
from tag2mask.tasks.exports.plain_folders import write_plain
from tag2mask.tasks.store.files import write_json

WRITERS = {"label_studio": write_label_studio, "cvat": write_cvat, "folder": write_plain}


def choose(
    confidence: Path, count: int, but: Sequence[str] = (), choice: ReviewChoice = "least-certain"
) -> tuple[list[str], list[dict[str, str]]]:
    """Images to review, and the rows of the table about them.

    Args:
        confidence: `confidence.csv` of `measure_confidence`, the least certain first.
        count: images at most.
        but: images that were corrected already.
        choice: least-certain: those whose least certain class is the least certain, worst first.  random: in an order
            that is the same for the same images, so that a second review goes on where the first one ended.
    """
    rows = read_table(confidence)
    images = list(dict.fromkeys(row["image_id"] for row in rows))
    if choice == "random":
        images = np.random.default_rng(0).permutation(sorted(images)).tolist()
    aside = set(but)
    chosen = [image_id for image_id in images if image_id not in aside][:count]
    shown = set(chosen)
    return chosen, [row for row in rows if row["image_id"] in shown]


def write_review(
    export_set: ExportSet, out: Path, form: ReviewFormat, rows: Sequence[Mapping[str, Any]], run: str
) -> None:
    """Write a folder to review.

    Args:
        export_set: the images that were chosen, with their labels.
        out: folder to write; it must not exist, or be empty.
        form: what the masks are corrected with.
        rows: of `choose`.
        run: name of the run.

    Raises:
        CannotExport: nothing was chosen.
        FolderInTheWay: `out` is not empty.
        NoRoomOnDisk: nothing was written.
    """
    if not len(export_set.index):
        raise CannotExport(f"{export_set.title}: no image is left to be reviewed; all are corrected already")
    with made_whole(out) as aside:
        WRITERS[form](export_set, aside)
        for name in (PRELABELS, CORRECTED):
            (aside / name).mkdir()
        images = {}
        for record in export_set.index:
            image_id = checked_id(record.image_id, str(out))
            shutil.copyfile(export_set.labels.files[image_id], aside / PRELABELS / f"{image_id}.png")
            digest = image_digest(export_set.index.folder / record.file)
            images[image_id] = {"sha256": digest, "width": record.width, "height": record.height}
        write_table(aside / "confidence.csv", [dict(row) for row in rows])
        about = {"run": run, "format": form, "classes": list(export_set.index.classes), "images": images}
        write_json(aside / REVIEW, {**about, "origin": dict(export_set.origin)})
