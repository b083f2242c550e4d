"""Tags from a folder of VOC's XML annotations: the names of their objects."""

import xml.etree.ElementTree as ElementTree
from collections.abc import Collection, Iterable
from pathlib import Path

from tag2mask.tasks.dataset.image_ids import BadTable, checked_id
from tag2mask.tasks.tags.readers.source import TagList, files_in, read_xml


def read(path: Path, names: Path | None = None, only: Collection[str] | None = None) -> TagList:
    """Names of the objects that are not marked difficult (of all, if every one is).

    Raises:
        BadTable: no annotation at all, one that is not well-formed or names no object, a class name with blanks in it.
    """
    tags = {}
    for file in files_in(path, ".xml", only):
        objects = read_xml(file).findall("object")
        easy = [entry for entry in objects if entry.findtext("difficult", "0").strip() != "1"]
        found = _names(easy) or _names(objects)
        if not found:
            raise BadTable(f"{file}: names no object, so the image would have no tag; add one or remove the file")
        for name in found:
            if len(name.split()) != 1:
                raise BadTable(f"{file}: class {name!r} has a blank in it; write {'-'.join(name.split())!r}")
        tags[checked_id(file.stem, str(file))] = found
    return TagList(tags)


def _names(objects: Iterable[ElementTree.Element]) -> tuple[str, ...]:
    return tuple(sorted({(entry.findtext("name") or "").strip() for entry in objects} - {""}))
