"""The dataset as all later stages see it: images as upright 8-bit RGB, their tags, their split; all checked first.

Writes  images/<id>.<suffix>   the image's own bytes if it is upright 8-bit RGB, else its pixels as PNG
        index.csv              image_id,file,split,width,height,labels,source,converted; one line an image, by id
        classes.json           names of the classes 1..C
        set_aside.csv          source,reason of the images that cannot be read
        items.json             id -> digest of image and tags, without the split
        metrics.json           counts
"""

import difflib
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path

from tag2mask.configs.schema import Dataset
from tag2mask.configs.sections.data import fault_of_class
from tag2mask.tasks.dataset.images import find_images, told_unread
from tag2mask.tasks.dataset.ingest import (
    BadDataset,
    IngestedImage,
    ingest_all,
    ingest_image,
    log,
    look_alikes,
    named,
    write_index,
    write_set_aside,
)
from tag2mask.tasks.dataset.tag_table import read_ids, read_tags, suffixed_tags
from tag2mask.tasks.store.files import write_json
from tag2mask.tasks.store.runtime import StageRuntime

MOST_CLASSES = 254
"""Labels are 8-bit, 0 is background and 255 is ignore."""


@dataclass(frozen=True)
class Listing:
    """What is to be taken in, by id, before any image was opened."""

    images: Mapping[str, Path]
    splits: Mapping[str, str]
    """`train` or `val`."""
    tags: Mapping[str, tuple[str, ...]]


def run(
    config: Dataset,
    out: Path,
    runtime: StageRuntime,
    *,
    images: Path,
    tags: Path | None = None,
    train_split: Path | None = None,
    val_split: Path | None = None,
    test_split: Path | None = None,
) -> None:
    """Index a dataset.

    Args:
        config: classes, their minimum of images, what a bad image does; its paths are not used.
        out: folder of the result.
        runtime: threads and shard.
        images: folder of the images.
        tags: table of tags, or folder of VOC annotations; without it the images are indexed without classes.
        train_split: ids to train on; without it all tagged images but those of the other splits.
        val_split: ids kept apart for evaluation; without it none.
        test_split: ids to leave out, whatever the tags say of them; `index_test` takes their images in.

    Raises:
        BadTable: the tags or a split cannot be read.
        BadDataset: images, tags, splits and classes do not fit together; before anything is copied.
        BadImage: images cannot be read and `on_bad_image` is `error`.
    """
    listing = list_dataset(images, tags, train_split, val_split, test_split)
    if unread := told_unread(images):
        log.warning("%s", unread)
    classes = class_names(listing.tags, config.classes, tags) if tags else ()
    check_classes(listing, classes, config.minimum_images, listing.tags, tags or images)

    def take(image_id: str) -> tuple[IngestedImage, list[Path]]:
        source = listing.images[image_id]
        record = ingest_image(image_id, source, out, maximum_megapixels=config.maximum_megapixels)
        return record, [out / record.file]

    records = ingest_all(listing.images, take, out, runtime, skip=config.on_bad_image == "skip")
    kept = [record for record in records if not record.reason]
    check_classes(listing, classes, config.minimum_images, [record.image_id for record in kept], images)
    write_index(out, kept, listing.splits, listing.tags, classes)
    write_set_aside(out, records)
    write_json(out / "metrics.json", _counts(records, listing, classes))


def list_dataset(
    images: Path,
    tags: Path | None,
    train_split: Path | None,
    val_split: Path | None,
    test_split: Path | None = None,
) -> Listing:
    """Match images, tags and splits; without a table of tags every image has none.

    Raises:
        BadTable: the tags or a split cannot be read.
        BadDataset: an id in two splits, an image or a tag missing, or nothing at all.
        FileNotFoundError: no folder of images.
    """
    found = find_images(images)
    val = read_ids(val_split, found) if val_split else ()
    wanted = read_ids(train_split, found) if train_split else None
    test = read_ids(test_split, found) if test_split else ()
    _check_apart({train_split: wanted or (), val_split: val, test_split: test})
    asked = None if wanted is None else {*wanted, *val}
    tagged = dict.fromkeys(asked or found, ()) if tags is None else read_tags(tags, only=asked)
    # without a list every image and every tag counts, so both must be complete
    train = sorted({*found, *tagged} - {*val, *test}) if wanted is None else wanted
    splits = {**dict.fromkeys(train, "train"), **dict.fromkeys(val, "val")}
    sources = {"train": train_split or tags or images, "val": val_split or images}
    _check_complete(splits, found, tagged, images, tags or images, sources)
    if not train:
        what = train_split or tags or "the folder"
        raise BadDataset(f"{images}: the dataset is empty, there is no image to train on; check {what}")
    ids = sorted(splits)
    return Listing({i: found[i] for i in ids}, splits, {i: tagged[i] for i in ids})


def _check_apart(splits: Mapping[Path | None, Sequence[str]]) -> None:
    """Refuse ids that stand in two of the lists."""
    for (first, ids), (second, others) in combinations(splits.items(), 2):
        if both := sorted(set(ids) & set(others)):
            raise BadDataset(f"{second}: {len(both)} ids stand in {first}, too: {named(both)}; keep each in one")


def _check_complete(
    ids: Mapping[str, str],
    found: Mapping[str, Path],
    tagged: Mapping[str, tuple[str, ...]],
    images: Path,
    tags: Path,
    sources: Mapping[str, Path],
) -> None:
    """Refuse ids without image, naming the file that lists them (`sources`, by split), and ids without tag."""
    faults = []
    missing = sorted(image_id for image_id in ids if image_id not in found)
    if missing:
        hint = look_alikes(images, missing, found.values())
        listed = " and ".join(sorted({str(sources[ids[image_id]]) for image_id in missing}))
        faults.append(
            f"{images}: {len(missing)} ids have no image{hint}: {named(missing)}; add them or drop the ids "
            f"from {listed}"
        )
    untagged = sorted(image_id for image_id in ids if image_id in found and image_id not in tagged)
    if untagged:
        hint = suffixed_tags(tags, untagged)
        faults.append(f"{tags}: {len(untagged)} images have no tag{hint}: {named(untagged)}; tag them or remove them")
    if faults:
        raise BadDataset("\n".join(faults))


def class_names(tags: Mapping[str, tuple[str, ...]], wanted: Sequence[str] | None, source: Path) -> tuple[str, ...]:
    """Names of the classes 1..C: those wanted, or those that occur, in alphabetical order.

    Raises:
        BadDataset: a tag that is not wanted (the nearest wanted name is given), a name that no class may have, or
            more than 254 classes.
    """
    occurring: dict[str, list[str]] = {}
    for image_id, names in tags.items():
        for name in names:
            occurring.setdefault(name, []).append(image_id)
    classes = tuple(sorted(occurring) if wanted is None else wanted)
    unfit = [fault for name in classes if (fault := fault_of_class(name))]  # the settings' own list is fit
    if unfit:
        raise BadDataset(f"{source}: {named(unfit)}; rename {'it' if len(unfit) == 1 else 'them'}")
    unknown = [
        f"{name!r} (nearest: {_nearest(name, classes)!r}; {len(ids)} images, first {ids[0]})"
        for name, ids in sorted(occurring.items())
        if name not in classes
    ]
    if unknown:
        raise BadDataset(
            f"{source}: {len(unknown)} tags are not in dataset.classes: {named(unknown)}; correct or add them"
        )
    if len(classes) > MOST_CLASSES:
        raise BadDataset(
            f"{source}: {len(classes)} classes, but an 8-bit label holds at most {MOST_CLASSES}; merge some"
        )
    return classes


def _nearest(name: str, names: Sequence[str]) -> str:
    return next(iter(difflib.get_close_matches(name, names, n=1, cutoff=0.0)), "")


def check_classes(
    listing: Listing, classes: Sequence[str], minimum: int, image_ids: Iterable[str], where: Path
) -> None:
    """Refuse classes that too few of these images show.

    Raises:
        BadDataset: names the classes, their training images and the remedy.
    """
    counts = _images_per_class(listing, classes, "train", image_ids)
    few = [f"{name!r} has {count}" for name, count in counts.items() if count < minimum]
    if few:
        raise BadDataset(
            f"{where}: {len(few)} classes have fewer readable training images than dataset.minimum_images "
            f"{minimum}: {named(few)}; add images, lower dataset.minimum_images, or drop the tag"
        )


def _images_per_class(listing: Listing, classes: Sequence[str], split: str, image_ids: Iterable[str]) -> dict[str, int]:
    """Class name -> images of a split that show it."""
    shown = Counter(name for i in image_ids if listing.splits[i] == split for name in listing.tags[i])
    return {name: shown[name] for name in classes}


def _counts(records: Sequence[IngestedImage], listing: Listing, classes: Sequence[str]) -> dict[str, object]:
    """The figures of `metrics.json`."""
    kept = [record.image_id for record in records if not record.reason]
    splits = Counter(listing.splits[image_id] for image_id in kept)
    return {
        "train": splits["train"],
        "val": splits["val"],
        "classes": len(classes),
        "set_aside": len(records) - len(kept),
        "converted": sum(bool(record.converted) for record in records),
        "images_per_class": {split: _images_per_class(listing, classes, split, kept) for split in ("train", "val")},
    }
