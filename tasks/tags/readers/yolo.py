"""Tags from YOLO's labels: the classes of a text file's lines, boxes and polygons alike."""

import math
from collections.abc import Collection
from pathlib import Path

from tag2mask.tasks.dataset.image_ids import BadTable
from tag2mask.tasks.tags.readers.class_names import NAME_FILES, read_names
from tag2mask.tasks.tags.readers.source import Gathered, TagList, files_in

FEWEST_NUMBERS = 4
"""After a line's class: of a box; a polygon has six or more."""


def read(path: Path, names: Path | None = None, only: Collection[str] | None = None) -> TagList:
    """Classes of each `<id>.txt`; a file without a line is an image without a tag.

    Args:
        path: folder of the label files.
        names: names of the classes; None: `classes.txt`, `obj.names` or `data.yaml` in the folder.
        only: ids that matter; other files are not opened.

    Raises:
        BadTable: no names, no label file, a line that is none of YOLO's, a number without a class; with its place.
    """
    names = names or next((path / name for name in NAME_FILES if (path / name).is_file()), None)
    if names is None:
        raise BadTable(
            f"{path}: its labels are numbers, and no {' or '.join(NAME_FILES)} lies there; name the file with the "
            "classes by dataset.tag_names, e.g. data.yaml"
        )
    classes, gathered = read_names(names), Gathered()
    for file in files_in(path, ".txt", only):
        if file.name in NAME_FILES:
            continue
        image_id = gathered.image(f"{file.stem}.png", str(file))
        for number in sorted(_numbers(file, len(classes), names)):
            gathered.tag(image_id, classes[number], str(file))
    return gathered.finish("boxes and polygons are not read: the classes of an image's lines are its tags")


def _numbers(file: Path, count: int, names: Path) -> set[int]:
    """Numbers of the classes that a label file names."""
    found = set()
    try:
        lines = file.read_text(encoding="utf-8-sig").splitlines()
    except UnicodeDecodeError as error:
        raise BadTable(f"{file}: is not UTF-8 text ({error}); save it as UTF-8") from error
    for position, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        where = f"{file}, line {position}"
        first, *rest = line.split()
        if not first.isascii() or not first.isdigit() or len(rest) < FEWEST_NUMBERS or not all(map(_is_number, rest)):
            raise BadTable(
                f"{where}: {line!r:.60} is not a line of YOLO's labels, the number of a class and its box or polygon; "
                "it may be cut short: export it again"
            )
        if len(first) > 9 or int(first) >= count:
            raise BadTable(f"{where}: class {first:.20} is not in {names}, which names 0 to {count - 1}; correct one")
        found.add(int(first))
    return found


def _is_number(text: str) -> bool:
    try:
        return math.isfinite(float(text))
    except ValueError:
        return False
