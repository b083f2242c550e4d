"""Which images a dataset has, in which split and with which tags, before any image is opened."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import combinations
from pathlib import Path

from tag2mask.configs.sections.data import TagsFormat
from tag2mask.tasks.dataset.image_ids import read_ids
from tag2mask.tasks.dataset.images import ImageFiles
from tag2mask.tasks.dataset.ingest import BadDataset, look_alikes, named
from tag2mask.tasks.tags.formats import read_tags, recognize
from tag2mask.tasks.tags.readers.csv_table import suffixed_ids
from tag2mask.tasks.tags.readers.folders import given_images
from tag2mask.tasks.tags.readers.folders import read as read_folders
from tag2mask.tasks.tags.readers.source import TagList


@dataclass(frozen=True)
class Listing:
    """What is to be taken in, by id, before any image was opened."""

    images: ImageFiles
    splits: Mapping[str, str]
    """`train` or `val`."""
    tags: Mapping[str, tuple[str, ...]]
    untagged: Mapping[str, str] = field(default_factory=dict)
    """Id of an image that is set aside -> why: it has no tag."""
    notes: tuple[str, ...] = ()
    """What people should know of how the tags were read."""


@dataclass(frozen=True)
class Given:
    """Where a dataset lies."""

    images: Path | None = None
    """Folder of the images, or"""
    image_tree: Path | None = None
    """a tree of them, whose folders are the tags."""
    tags: Path | None = None
    """File or folder of tags."""
    tag_names: Path | None = None
    """Names of the classes, where the tags are numbers."""
    train_split: Path | None = None
    val_split: Path | None = None
    test_split: Path | None = None


def list_dataset(given: Given, tags_format: TagsFormat = "auto", *, skip: bool = False) -> Listing:
    """Match images, tags and splits; without tags every image has none.

    Args:
        given: where the dataset lies.
        tags_format: format of the tags.
        skip: set images without a tag aside instead of refusing them.

    Raises:
        BadTable: the tags or a split cannot be read.
        BadDataset: an id in two splits, an image or a tag missing, or nothing at all.
        FileNotFoundError: no folder of images.
    """
    images, found = given_images(given.images, given.image_tree, tags_format)
    val = read_ids(given.val_split, found) if given.val_split else ()
    wanted = read_ids(given.train_split, found) if given.train_split else None
    test = read_ids(given.test_split, found) if given.test_split else ()
    if given.val_split and not val:
        raise BadDataset(f"{given.val_split}: holds no id; list the validation images, or leave dataset.val_split out")
    _check_apart({given.train_split: wanted or (), given.val_split: val, given.test_split: test})
    asked = None if wanted is None else {*wanted, *val}
    read = _tags_of(given, tags_format, asked, found)
    # without a list every image and every tag counts, so both must be complete
    train = sorted({*found, *read.tags, *read.untagged} - {*val, *test}) if wanted is None else wanted
    splits = {**dict.fromkeys(train, "train"), **dict.fromkeys(val, "val")}
    place = given.tags or images
    untagged = {i: f"has no tag in {place.name}; give it one" for i in splits if i in found and i not in read.tags}
    if skip:
        splits = {image_id: split for image_id, split in splits.items() if image_id not in untagged}
    sources = {"train": given.train_split or place, "val": given.val_split or images}
    _check_complete(splits, found, read, images, place, sources)
    if "train" not in splits.values():
        what = given.train_split or given.tags or "the folder"
        raise BadDataset(f"{images}: the dataset is empty, there is no image to train on; check {what}")
    if val and "val" not in splits.values():
        raise BadDataset(
            f"{given.val_split}: none of its {len(val)} images has a tag in {place}; tag them, or leave out "
            "dataset.val_split"
        )
    ids = sorted(splits)
    aside = dict(sorted(untagged.items()))
    return Listing(found.only(ids), splits, {i: read.tags[i] for i in ids}, aside, read.notes)


def _tags_of(given: Given, tags_format: TagsFormat, asked: set[str] | None, found: Mapping[str, Path]) -> TagList:
    """The tags of the images asked for, or of all; where there are none to read, every image has no tag at all."""
    if given.image_tree is not None:
        return read_folders(given.image_tree, tags_format == "folder_paths")
    if given.tags is None:
        return TagList(dict.fromkeys(asked or found, ()))
    return read_tags(given.tags, tags_format, names=given.tag_names, only=asked)


def _check_apart(splits: Mapping[Path | None, Sequence[str]]) -> None:
    """Refuse ids that stand in two of the lists."""
    for (first, ids), (second, others) in combinations(splits.items(), 2):
        if both := sorted(set(ids) & set(others)):
            raise BadDataset(f"{second}: {len(both)} ids stand in {first}, too: {named(both)}; keep each in one")


def _check_complete(
    ids: Mapping[str, str],
    found: Mapping[str, Path],
    read: TagList,
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
    untagged = sorted(image_id for image_id in ids if image_id in found and image_id not in read.tags)
    if untagged:
        form = recognize(tags)
        hint = suffixed_ids(tags, untagged) if form is not None and form.name == "csv" else ""
        if places := [read.untagged[image_id] for image_id in untagged if image_id in read.untagged]:
            hint = f" (listed without one: {places[0]})"
        faults.append(
            f"{tags}: {len(untagged)} images have no tag{hint}: {named(untagged)}; tag them or remove them, or leave "
            "them out by dataset.on_bad_image: skip"
        )
    if faults:
        raise BadDataset("\n".join(faults))
