"""Tags from an image folder of Hugging Face: `metadata.jsonl` or `metadata.csv`, one line an image.

The csv module splits the lines, so that a message can name the one with too few or too many fields (pandas fills up).
"""

import csv
import io
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Any

from tag2mask.tasks.dataset.image_ids import BadTable
from tag2mask.tasks.tags.readers.class_names import read_names
from tag2mask.tasks.tags.readers.csv_table import SEPARATORS
from tag2mask.tasks.tags.readers.source import Gathered, TagList, parsed, text_of

FILE = "file_name"
COLUMNS = ("tags", "labels", "label", "categories", "category", "objects")
"""Where tags stand; the first of them that a file has is read.  `objects` holds one of the others in turn."""
METADATA = ("metadata.jsonl", "metadata.csv")


def read(path: Path, names: Path | None = None, only: Collection[str] | None = None) -> TagList:
    """Tags of the lines: a name, a list of names, or numbers of classes that `names` holds.

    Raises:
        BadTable: no `file_name`, none of the columns above, numbers without names, several labels in one field of a
            CSV, a number that no class has; with file and line.
    """
    if path.is_dir():
        path = next((path / name for name in METADATA if (path / name).is_file()), path / METADATA[0])
    classes = read_names(names) if names is not None else None
    rows = _json_lines(path) if path.suffix.lower() == ".jsonl" else _csv_lines(path)
    gathered, column = Gathered(), ""
    for where, row in rows:
        if not isinstance(row, dict) or FILE not in row:
            raise BadTable(f"{where}: has no {FILE!r}; every line of a metadata file names its image")
        column = column or next((name for name in COLUMNS if name in row), "")
        if not column:
            raise BadTable(f"{where}: has none of the columns {', '.join(COLUMNS)}; name the one with the tags so")
        image_id = gathered.image(row[FILE], where)
        for value in _values(row.get(column), path.suffix.lower() == ".csv", where):
            gathered.tag(image_id, _name(value, classes, where), where)
    return gathered.finish(f"the tags are those of the column {column!r}; other columns are not read")


def _json_lines(path: Path) -> Iterator[tuple[str, Any]]:
    for number, line in enumerate(text_of(path).split("\n"), start=1):
        if line.strip():
            where = f"{path}, line {number}"
            yield where, parsed(line, where)


def _csv_lines(path: Path) -> Iterator[tuple[str, Mapping[str, str]]]:
    rows = csv.reader(io.StringIO(text_of(path), newline=""))
    try:
        header = [name.strip() for name in next(rows)]
        for row in rows:
            where = f"{path}, line {rows.line_num}"
            if row and len(row) != len(header):
                raise BadTable(f"{where}: has {len(row)} fields, not {len(header)} as the first line")
            if row:
                yield where, dict(zip(header, row, strict=True))
    except csv.Error as error:
        raise BadTable(f"{path}, line {rows.line_num}: is not CSV ({error})") from error


def _values(value: object, is_text: bool, where: str) -> list[object]:
    """The labels of one field, names or numbers; none for an empty one."""
    if isinstance(value, dict):
        column = next((name for name in COLUMNS if name in value), None)
        if column is None:
            raise BadTable(f"{where}: its objects have none of the columns {', '.join(COLUMNS)}")
        return _values(value[column], is_text, where)
    if isinstance(value, list):
        return [
            label for part in value for label in (_values(part, is_text, where) if isinstance(part, dict) else [part])
        ]
    if value is None or value == "":
        return []
    if is_text and isinstance(value, str):
        if value.lstrip().startswith(("[", "{")):
            return _values(parsed(value, where), False, where)
        if SEPARATORS.intersection(value):
            raise BadTable(f"{where}: {value!r:.80}: a CSV holds one label a line; write metadata.jsonl with lists")
        return [int(value) if value.strip().isascii() and value.strip().isdigit() and len(value) < 10 else value]
    return [value]


def _name(value: object, classes: tuple[str, ...] | None, where: str) -> object:
    """The name that a label means."""
    if not isinstance(value, int) or isinstance(value, bool):
        return value
    if classes is None:
        raise BadTable(
            f"{where}: its labels are numbers; name the file with the classes by dataset.tag_names: the dataset's "
            "README.md, or a text file of one name a line"
        )
    if not 0 <= value < len(classes):
        raise BadTable(f"{where}: class {value} has no name: there are names for 0 to {len(classes) - 1}")
    return classes[value]
