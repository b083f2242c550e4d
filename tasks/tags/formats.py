"""The formats of tags, one record each: how each is recognized, and what reads it."""

import json
from collections.abc import Callable, Collection
from dataclasses import dataclass
from pathlib import Path

from tag2mask.configs.sections.data import FOLDER_FORMATS, TagsFormat
from tag2mask.tasks.dataset.image_ids import BadTable
from tag2mask.tasks.tags.readers import coco, csv_table, cvat, folders, hugging_face, label_studio, labelme, voc, yolo
from tag2mask.tasks.tags.readers.class_names import NAME_FILES
from tag2mask.tasks.tags.readers.source import TagList

Reader = Callable[[Path, Path | None, Collection[str] | None], TagList]
"""Reads the tags of (file or folder, names of the classes, ids that matter); None: no such file, all ids."""
LOOKED_AT = 4096
"""Bytes of a file by which it is recognized."""


@dataclass(frozen=True)
class TagFormat:
    """One format of tags."""

    name: TagsFormat
    """As the setting has it."""
    title: str
    """For people."""
    where: str
    """What lies where, for people."""
    recognizes: Callable[[Path], bool]
    """Whether a file or folder is of this format, by a short look."""
    read: Reader
    """Reads its tags."""


def _begins(path: Path, *marks: str) -> bool:
    """Whether the text of a file begins with one of some marks, blanks apart."""
    if not path.is_file():
        return False
    with path.open("rb") as file:
        text = file.read(LOOKED_AT).decode("utf-8-sig", "replace")
    return text.lstrip().startswith(marks)


def _first(folder: Path, suffix: str) -> Path | None:
    """The first visible file of a suffix right in a folder."""
    if not folder.is_dir():
        return None
    paths = (
        path for path in folder.glob(f"*{suffix}") if not path.name.startswith(".") and path.name not in NAME_FILES
    )
    return min(paths, default=None)


def _is_xml_of(path: Path, element: str) -> bool:
    if path.suffix.lower() != ".xml" or not path.is_file():
        return False
    with path.open("rb") as file:
        return f"<{element}".encode() in file.read(LOOKED_AT)


def _is_metadata(path: Path) -> bool:
    if path.is_dir():
        return any((path / name).is_file() for name in hugging_face.METADATA)
    if path.suffix.lower() == ".jsonl":
        return path.is_file()
    if path.suffix.lower() != ".csv" or not path.is_file():
        return False
    with path.open("rb") as file:
        return hugging_face.FILE.encode() in file.readline(LOOKED_AT)


def _is_labelme(path: Path) -> bool:
    """Whether the first JSON file of a folder is one of LabelMe's, or none that can be read."""
    first = _first(path, ".json")
    try:
        content = None if first is None else json.loads(first.read_bytes())
    except (ValueError, RecursionError):
        return True  # reading it will say what is wrong
    return isinstance(content, dict) and "shapes" in content


def _of_folders(by_path: bool) -> Reader:
    """The reader of folders; `by_path`: ids are paths below the folder, for names that are not unique."""
    return lambda path, names, only: folders.read(path, by_path)


FORMATS = (
    TagFormat(
        "hugging_face", "Hugging Face image folder", "metadata.jsonl or metadata.csv", _is_metadata, hugging_face.read
    ),
    TagFormat("cvat", "CVAT for images", "a file .xml", lambda p: _is_xml_of(p, "annotations"), cvat.read),
    TagFormat(
        "label_studio",
        "Label Studio JSON",
        "a file .json that begins with [",
        lambda p: p.suffix.lower() == ".json" and _begins(p, "["),
        label_studio.read,
    ),
    TagFormat(
        "coco",
        "COCO JSON",
        "a file .json that begins with {",
        lambda p: p.suffix.lower() == ".json" and _begins(p, "{"),
        coco.read,
    ),
    TagFormat("voc", "VOC XML", "a folder of <id>.xml", lambda p: _first(p, ".xml") is not None, voc.read),
    TagFormat("labelme", "LabelMe", "a folder of <id>.json", _is_labelme, labelme.read),
    TagFormat("yolo", "YOLO labels", "a folder of <id>.txt", lambda p: _first(p, ".txt") is not None, yolo.read),
    TagFormat(
        "folders",
        "a folder per class",
        "<class>/<id>.jpg",
        lambda p: p.is_dir() and folders.has_tree(p),
        _of_folders(False),
    ),
    TagFormat(
        "folder_paths",
        "a folder per class, ids with the folder",
        "<class>/<name>.jpg",
        lambda p: p.is_dir() and folders.has_tree(p),
        _of_folders(True),
    ),
    TagFormat(
        "csv",
        "table of image_id,labels",
        "a text file",
        lambda p: p.suffix.lower() not in (".json", ".xml", ".jsonl") and p.is_file(),
        csv_table.read,
    ),
)
"""In the order in which they are tried."""
BY_NAME = {one.name: one for one in FORMATS}


def recognize(path: Path) -> TagFormat | None:
    """The format of a file or folder, by a short look; None for none that is known."""
    return next((one for one in FORMATS if one.recognizes(path)), None)


def format_of(path: Path, wanted: TagsFormat = "auto") -> TagFormat:
    """The format to read a file or folder by.

    Raises:
        BadTable: it is of no format that is known, or not of the one that is wanted; the message says what it looks
            like, and what to write.
    """
    if not path.exists():
        raise BadTable(f"{path}: no such file; it must hold the columns image_id,labels, or tags in another format")
    found = recognize(path)
    if wanted == "auto":
        if found is None:
            known = "; ".join(f"{one.name}: {one.where}" for one in FORMATS)
            raise BadTable(f"{path}: holds no tags in a format that is known ({known})")
        if found.name in FOLDER_FORMATS:
            raise BadTable(
                f"{path}: holds images in folders; for tags of their names write dataset.tags_format: folders"
            )
        return found
    if not BY_NAME[wanted].recognizes(path):
        looks = "" if found is None else f"; it looks like {found.title}: write dataset.tags_format: {found.name}"
        raise BadTable(f"{path}: is not {BY_NAME[wanted].title} ({BY_NAME[wanted].where}){looks}")
    return BY_NAME[wanted]


def read_tags(
    path: Path, wanted: TagsFormat = "auto", *, names: Path | None = None, only: Collection[str] | None = None
) -> TagList:
    """Tags of images.

    Args:
        path: file or folder.
        wanted: its format; `auto` recognizes it.
        names: names of the classes, for formats that give them by number.
        only: ids that matter; what a folder holds of others is not opened, while a file is checked whole in any case.

    Raises:
        BadTable: it is not of the format, or wrong; the message names file, place and remedy.
    """
    found = format_of(path, wanted).read(path, names, only)
    if only is None:
        return found
    wanted_ids = set(only)
    tags = {i: tags for i, tags in found.tags.items() if i in wanted_ids}
    return TagList(tags, {i: w for i, w in found.untagged.items() if i in wanted_ids}, found.notes)
