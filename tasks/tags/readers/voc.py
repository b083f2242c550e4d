"""Tags from a folder of VOC's XML annotations: the names of their objects."""

import xml.etree.ElementTree as ElementTree
from collections.abc import Collection, Iterable
from pathlib import Path

from tag2mask.tasks.tags.readers.source import Gathered, TagList, files_in, read_xml


def read(path: Path, names: Path | None = None, only: Collection[str] | None = None) -> TagList:
    """Names of the objects that are not marked difficult (of all, if every one is).

    Raises:
        BadTable: no annotation at all, or one that is not well-formed.
    """
    gathered = Gathered()
    for file in files_in(path, ".xml", only):
        objects = read_xml(file).findall("object")
        easy = [entry for entry in objects if entry.findtext("difficult", "0").strip() != "1"]
        image_id = gathered.image(f"{file.stem}.jpg", str(file))  # else an id such as `a.jpg` would lose its end
        for name in _names(easy) or _names(objects):
            gathered.tag(image_id, name, str(file))
    return gathered.finish()


def _names(objects: Iterable[ElementTree.Element]) -> tuple[str, ...]:
    return tuple(sorted({(entry.findtext("name") or "").strip() for entry in objects} - {""}))
