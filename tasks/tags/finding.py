"""Where the tags of a folder of images lie, and in which format."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tag2mask.configs.sections.data import FOLDER_FORMATS, TagsFormat
from tag2mask.tasks.dataset.image_ids import BadTable
from tag2mask.tasks.tags.formats import BY_NAME, TagFormat, recognize
from tag2mask.tasks.tags.readers.class_names import CARD, NAME_FILES
from tag2mask.tasks.tags.readers.folders import clashes
from tag2mask.tasks.tags.readers.folders import read as read_folders
from tag2mask.tasks.tags.readers.source import TagList

USUAL = ("labels.csv", "tags.csv", "Annotations", "metadata.jsonl", "metadata.csv", "annotations.xml", "labels")
"""Files and folders that hold tags, in the order in which they are preferred; any other .json comes after them."""
LEVELS = 2
"""Folders above the labels in which names of classes are looked for."""


@dataclass(frozen=True)
class FoundTags:
    """Tags that were found and read."""

    path: Path
    format: TagsFormat
    names: Path | None
    """Names of the classes, where the tags are numbers."""
    read: TagList
    others: tuple[Path, ...]
    """What else there holds tags and was not read."""


def find_tags(images: Path, given: Path | None = None, names: Path | None = None) -> FoundTags | None:
    """The tags of a folder of images.

    Args:
        images: the folder.
        given: file or folder of the tags; None: what lies beside or in the folder is looked at.
        names: file with the names of the classes; None: looked for beside the tags.

    Returns:
        What was found; None where nothing there holds tags.

    Raises:
        BadTable: the tags cannot be read, or `given` holds none.
    """
    candidates = [given] if given is not None else list(dict.fromkeys(_candidates(images)))
    known = [(path, form) for path in candidates if (form := recognize(path)) is not None]
    if not known:
        if given is not None:
            raise BadTable(f"{given}: holds no tags in a format that is known ({', '.join(BY_NAME)})")
        return None
    form = known[0][1]
    if form.name in FOLDER_FORMATS:
        chosen: TagsFormat = "folder_paths" if clashes(images) else "folders"
        return FoundTags(images, chosen, None, read_folders(images, chosen == "folder_paths"), ())
    path, form, names, read = _first_readable(known, names)
    return FoundTags(path, form.name, names, read, tuple(other for other, _ in known if other != path))


def _first_readable(
    known: list[tuple[Path, TagFormat]], names: Path | None
) -> tuple[Path, TagFormat, Path | None, TagList]:
    """The first of what may hold tags that does, with the names of its classes and what was read.

    Raises:
        BadTable: none does, or what has a usual name cannot be read: it is meant, and has to be mended.
    """
    refusals: list[BadTable] = []
    for path, form in known:
        if form.name in FOLDER_FORMATS:
            continue
        own = names or _names(path, form.name)
        try:
            return path, form, own, form.read(path, own, None)
        except BadTable as error:
            if path.name in USUAL or len(known) == 1:
                raise
            refusals.append(error)
    raise BadTable(f"{refusals[0]}; if these are not the tags, name them with --tags") from refusals[0]


def _candidates(images: Path) -> Iterator[Path]:
    """What may hold the tags of a folder of images, the likeliest first."""
    root = images.parent
    for folder in (root, images):
        yield from (folder / name for name in USUAL if (folder / name).exists() and not _is_tree(folder / name))
    if images.parent.name == "images":  # images/train beside labels/train
        beside = images.parent.with_name("labels") / images.name
        yield from [beside] * beside.is_dir()
    for folder in (root, root / "annotations"):
        yield from sorted(
            (path for path in folder.glob("*.json") if not path.name.startswith(".")),
            key=lambda path: (images.name not in path.stem, path.name),  # instances_val2017.json beside val2017
        )
    if recognize(images) is not None:
        yield images


def _is_tree(folder: Path) -> bool:
    """Whether a folder holds images in folders, which is no place of tags for other images."""
    found = recognize(folder) if folder.is_dir() else None
    return found is not None and found.name in FOLDER_FORMATS


def _names(tags: Path, form: TagsFormat) -> Path | None:
    """Names of the classes outside of a folder of YOLO's labels, or the dataset card beside metadata."""
    if form == "yolo" and not any((tags / name).is_file() for name in NAME_FILES):
        folders = tags.parents[:LEVELS]
        return next((f / name for f in folders for name in NAME_FILES if (f / name).is_file()), None)
    if form == "hugging_face":
        card = (tags if tags.is_dir() else tags.parent) / CARD
        return card if card.is_file() and "class_label" in card.read_text(encoding="utf-8", errors="replace") else None
    return None
