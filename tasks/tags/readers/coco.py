"""Tags from COCO's JSON: the categories of an image's annotations, of things or of a panoptic file's segments."""

from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any

from tag2mask.tasks.dataset.image_ids import BadTable
from tag2mask.tasks.tags.readers.source import Gathered, TagList, entries, member, read_json

VOID = "void"
"""Supercategory of what is no class, such as the ignored pixels of `tag2mask export --format coco`."""
BACKGROUND = "background"
"""Name and supercategory of the background in its panoptic files."""


def read(path: Path, names: Path | None = None, only: Collection[str] | None = None) -> TagList:
    """Categories of the annotations of each image; crowds count, boxes and masks are not read.

    Raises:
        BadTable: not COCO's layout, an annotation of an image or a category that is not listed, a name that leaves the
            folder; with the place, e.g. `annotations[3]`.
    """
    content = read_json(path)
    categories = _categories(content, path)
    gathered = Gathered()
    images: dict[object, str] = {}
    for where, entry in entries(content, "images", str(path)):
        number = member(entry, "id", (int, str), where)  # type: ignore[arg-type]
        if number in images:
            raise BadTable(f"{where}: id {number!r} stands there a second time; give every image an id of its own")
        images[number] = gathered.image(member(entry, "file_name", str, where), where)
    for where, entry in entries(content, "annotations", str(path)):
        number = entry.get("image_id") if isinstance(entry, dict) else None
        if not isinstance(number, int | str) or number not in images:
            raise BadTable(f"{where}: image_id {number!r:.80} is not the id of an image of this file")
        for place, category in _category_ids(entry, where):
            if not isinstance(category, int | str) or category not in categories:
                raise BadTable(f"{place}: category_id {category!r:.80} is not the id of a category of this file")
            name = categories[category]
            if name is not None:
                gathered.tag(images[number], name, place)
    return gathered.finish("boxes and masks are not read: the categories of an image's annotations are its tags")


def _categories(content: Any, path: Path) -> dict[object, str | None]:
    """Id -> name of the categories; None for what is no class."""
    found: dict[object, str | None] = {}
    for where, entry in entries(content, "categories", str(path)):
        number = member(entry, "id", (int, str), where)  # type: ignore[arg-type]
        if number in found:
            raise BadTable(f"{where}: id {number!r} stands there a second time; give every category an id of its own")
        kind = entry.get("supercategory")
        is_class = kind != VOID and not kind == entry.get("name") == BACKGROUND
        found[number] = member(entry, "name", str, where) if is_class else None
    return found


def _category_ids(entry: dict[str, Any], where: str) -> Iterator[tuple[str, object]]:
    """(place, category) of an annotation, or of the segments of a panoptic one."""
    if "segments_info" in entry:
        for place, segment in entries(entry, "segments_info", where):
            yield place, segment.get("category_id") if isinstance(segment, dict) else None
    else:
        yield where, entry.get("category_id")
