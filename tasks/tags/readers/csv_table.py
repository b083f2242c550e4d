"""Tags from a table `image_id,labels`, several labels separated by blanks.

The lines are split by the csv module, since a person wrote them: pandas fills up what is missing in a line and takes
the first of too many fields for an index, where a message has to name the line.
"""

import csv
from collections.abc import Collection
from pathlib import Path

from tag2mask.tasks.catalog import IMAGE_SUFFIXES
from tag2mask.tasks.dataset.image_ids import BadTable, checked_id
from tag2mask.tasks.tags.readers.source import TagList

COLUMNS = ("image_id", "labels")
SEPARATORS = frozenset(",;|")
"""What other tables put between labels; in a label it would make a class of several."""


def read(path: Path, names: Path | None = None, only: Collection[str] | None = None) -> TagList:
    """Tags of a table, which is checked whole whatever matters of it.

    Raises:
        BadTable: missing file, unknown column, repeated id, an id that is a path, labels with
            `,`, `;` or `|` between them.
    """
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            rows = list(csv.reader(file, strict=True))  # else a quote that stays open swallows lines
    except FileNotFoundError as error:
        raise BadTable(f"{path}: no such file; it must hold the columns image_id,labels") from error
    except (UnicodeDecodeError, csv.Error) as error:
        raise BadTable(f"{path}: is not a table in UTF-8 text ({error}); save it as CSV in UTF-8") from error
    return _tags(path, rows)


def _tags(path: Path, rows: list[list[str]]) -> TagList:
    """Tags from the lines of a table, the header first."""
    header = tuple(name.strip() for name in rows[0]) if rows else ()
    for name in header:
        if name not in COLUMNS:
            raise BadTable(f"{path}: unknown column {name!r:.80}; the columns are image_id,labels (comma between)")
    if sorted(header) != sorted(COLUMNS):
        raise BadTable(f"{path}: the first line must be image_id,labels, not {','.join(header)!r}")
    id_column, labels_column = header.index("image_id"), header.index("labels")
    tags: dict[str, tuple[str, ...]] = {}
    untagged: dict[str, str] = {}
    for number, row in enumerate(rows[1:], start=2):
        if not row:
            continue
        where = f"{path}, line {number}"
        if len(row) != len(COLUMNS):
            raise BadTable(f"{where}: has {len(row)} fields, not 2; separate several labels by blanks")
        image_id = checked_id(row[id_column].strip(), where)
        if image_id in tags or image_id in untagged:
            raise BadTable(f"{where}: id {image_id!r} stands there a second time; one line per image")
        if labels := _labels(row[labels_column], where):
            tags[image_id] = labels
        else:
            untagged[image_id] = where
    return TagList(tags, untagged)


def _labels(text: str, where: str) -> tuple[str, ...]:
    """The labels of one line, each once, in alphabetical order."""
    if SEPARATORS.intersection(text):
        raise BadTable(f"{where}: {text!r}: separate several labels by blanks")
    return tuple(sorted(set(text.split())))


def suffixed_ids(path: Path, image_ids: Collection[str]) -> str:
    """A hint at a table whose ids carry a suffix, where images with these ids have no tag; or nothing."""
    wanted = set(image_ids)
    for listed in read(path).tags:
        stem, dot, suffix = listed.rpartition(".")
        if stem in wanted and f"{dot}{suffix}".lower() in IMAGE_SUFFIXES:
            return f" (the table says {listed}; ids are names without suffix: {stem})"
    return ""
