"""The images of the test split, which have neither tags nor masks: taken in, to be predicted and nothing else.

Reads   dataset               the index, for its classes
Writes  images/<id>.<suffix>  the image's own bytes if it is upright 8-bit RGB, else its pixels as PNG
        index.csv             as `index_dataset` writes it, with the split `test` and no labels
        classes.json          names of the classes 1..C, those of the dataset
        set_aside.csv         source,reason of the images that cannot be read
        items.json            id -> digest of the image
        metrics.json          counts

It is an artifact apart from the dataset's index, so that no training ever reads it and a new test image changes none.
"""

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Literal

from tag2mask.configs.sections.data import TagsFormat
from tag2mask.configs.sections.section import Section
from tag2mask.tasks.dataset.image_ids import read_ids
from tag2mask.tasks.dataset.image_index import ImageIndex
from tag2mask.tasks.dataset.ingest import (
    BadDataset,
    ingest_all,
    look_alikes,
    named,
    take_image,
    write_index,
    write_set_aside,
)
from tag2mask.tasks.store.files import write_json
from tag2mask.tasks.store.runtime import StageRuntime
from tag2mask.tasks.tags.readers.folders import given_images


def run(
    config: Section,
    out: Path,
    runtime: StageRuntime,
    *,
    on_bad_image: Literal["error", "skip"],
    maximum_megapixels: float,
    tags_format: TagsFormat = "auto",
    dataset: Path,
    test_split: Path,
    images: Path | None = None,
    image_tree: Path | None = None,
) -> None:
    """Index the test split.

    Args:
        config: not used.
        out: folder of the result.
        runtime: threads and shard.
        on_bad_image: as in `Dataset`.
        maximum_megapixels: as in `Dataset`.
        tags_format: as in `Dataset`; matters for a tree alone.
        dataset: `index_dataset` artifact.
        test_split: their ids.
        images: folder of the images; or
        image_tree: a tree of them, where the folders' names are tags.

    Raises:
        BadTable: the list cannot be read.
        BadDataset: an id is trained or measured on, has no image, or there is none.
        BadImage: images cannot be read and `on_bad_image` is `error`.
    """
    index, (folder, found) = ImageIndex.read(dataset), given_images(images, image_tree, tags_format)
    ids = sorted(read_ids(test_split, found))
    _check(ids, index, found, folder, test_split)

    take = partial(take_image, maximum_megapixels=maximum_megapixels)
    records = ingest_all(found.only(ids), take, out, runtime, skip=on_bad_image == "skip")
    write_index(out, records, dict.fromkeys(ids, "test"), {}, index.classes)
    write_set_aside(out, records.aside)
    aside = len(records.aside)
    counts = {"test": records.count - aside, "set_aside": aside, "converted": records.converted}
    write_json(out / "metrics.json", counts)


def _check(ids: list[str], index: ImageIndex, found: Mapping[str, Path], images: Path, test_split: Path) -> None:
    """Refuse a list that does not fit the images, or shares some with the dataset."""
    if not ids:
        raise BadDataset(f"{test_split}: holds no id; list the test images, or leave dataset.test_split out")
    if known := sorted(set(ids) & set(index.ids)):
        raise BadDataset(
            f"{test_split}: {len(known)} ids are trained or measured on: {named(known)}; keep each in one split"
        )
    if missing := [image_id for image_id in ids if image_id not in found]:
        hint = look_alikes(images, missing, found.values())
        raise BadDataset(
            f"{images}: {len(missing)} ids of {test_split} have no image{hint}: {named(missing)}; add them or drop the "
            "ids"
        )
