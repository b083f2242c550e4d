"""The dataset as all later stages see it: images as upright 8-bit RGB, their tags, their split; all checked first.

Writes  images/<id>.<suffix>   the image's own bytes if it is upright 8-bit RGB, else its pixels as PNG
        index.csv              image_id,file,split,width,height,labels,source,converted; one line an image, by id
        classes.json           names of the classes 1..C
        set_aside.csv          source,reason of the images that cannot be read, or have no tag
        items.json             id -> digest of image and tags, without the split
        metrics.json           counts
"""

import difflib
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path

from tag2mask.configs.schema import Dataset
from tag2mask.configs.sections.data import fault_of_class
from tag2mask.tasks.dataset.images import unread_files
from tag2mask.tasks.dataset.ingest import (
    BadDataset,
    IngestedImage,
    ingest_all,
    log,
    named,
    take_image,
    write_index,
    write_set_aside,
)
from tag2mask.tasks.store.files import write_json
from tag2mask.tasks.store.runtime import StageRuntime
from tag2mask.tasks.tags.listing import Given, Listing, list_dataset

MOST_CLASSES = 254
"""Labels are 8-bit, 0 is background and 255 is ignore."""


def run(
    config: Dataset,
    out: Path,
    runtime: StageRuntime,
    *,
    images: Path | None = None,
    image_tree: Path | None = None,
    tags: Path | None = None,
    tag_names: Path | None = None,
    train_split: Path | None = None,
    val_split: Path | None = None,
    test_split: Path | None = None,
) -> None:
    """Index a dataset.

    Args:
        config: classes, their minimum of images, what a bad image does; its paths are not used.
        out: folder of the result.
        runtime: threads and shard.
        images: folder of the images; or
        image_tree: a tree of them, where the folders' names are tags.
        tags: tags in the format of the settings; without them, and without a tree, there are no classes.
        tag_names: names of the classes, where the tags are numbers.
        train_split: ids to train on; without it all tagged images but those of the other splits.
        val_split: ids kept apart for evaluation; without it none.
        test_split: ids to leave out, whatever the tags say of them; `index_test` takes their images in.

    Raises:
        BadTable: the tags or a split cannot be read.
        BadDataset: images, tags, splits and classes do not fit together; before anything is copied.
        BadImage: images cannot be read and `on_bad_image` is `error`.
    """
    given = Given(images, image_tree, tags, tag_names, train_split, val_split, test_split)
    skip = config.on_bad_image == "skip"
    listing = list_dataset(given, config.tags_format, skip=skip)
    for note in listing.notes:
        log.info("%s: %s", tags or image_tree, note)
    if images is not None and (unread := unread_files(images)):
        log.warning("%s", unread)
    source = tags or image_tree or images or out
    classes = class_names(listing.tags, config.classes, source) if tags or image_tree else ()
    check_classes(listing, classes, config.minimum_images, listing.tags, source)

    take = partial(take_image, maximum_megapixels=config.maximum_megapixels)
    records = ingest_all(listing.images, take, out, runtime, skip=skip)
    aside = {record.image_id for record in records.aside}
    kept = [image_id for image_id in listing.images if image_id not in aside]
    check_classes(listing, classes, config.minimum_images, kept, source)
    if val_split is not None:
        _check_val(val_split, listing, kept, records.aside)
    write_index(out, records, listing.splits, listing.tags, classes)
    untagged = [IngestedImage(image_id, image_id, reason=why) for image_id, why in listing.untagged.items()]
    if untagged:
        log.warning("%d images without a tag are set aside: %s", len(untagged), named(list(listing.untagged)))
    write_set_aside(out, [*records.aside, *untagged])
    counts = {"set_aside": len(records.aside) + len(untagged), "converted": records.converted}
    write_json(out / "metrics.json", _counts(kept, listing, classes) | counts)


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
    known = set(classes)
    unknown = [
        f"{name!r} (nearest: {_nearest(name, classes)!r}; {len(ids)} images, first {ids[0]})"
        for name, ids in sorted(occurring.items())
        if name not in known
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


def _check_val(val_split: Path, listing: Listing, kept: Iterable[str], aside: Sequence[IngestedImage]) -> None:
    """Refuse a validation split of which no image is left."""
    if any(listing.splits[image_id] == "val" for image_id in kept):
        return
    bad = [f"{record.source} {record.reason}" for record in aside if listing.splits[record.image_id] == "val"]
    raise BadDataset(
        f"{val_split}: none of its images can be read: {named(bad, between='; ')}; mend one, or leave out "
        "dataset.val_split"
    )


def _images_per_class(listing: Listing, classes: Sequence[str], split: str, image_ids: Iterable[str]) -> dict[str, int]:
    """Class name -> images of a split that show it."""
    shown = Counter(name for i in image_ids if listing.splits[i] == split for name in listing.tags[i])
    return {name: shown[name] for name in classes}


def _counts(kept: Sequence[str], listing: Listing, classes: Sequence[str]) -> dict[str, object]:
    """Figures of `metrics.json`: of the images that could be read."""
    splits = Counter(listing.splits[image_id] for image_id in kept)
    return {
        "train": splits["train"],
        "val": splits["val"],
        "classes": len(classes),
        "images_per_class": {split: _images_per_class(listing, classes, split, kept) for split in ("train", "val")},
    }
