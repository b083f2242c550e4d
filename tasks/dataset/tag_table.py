"""Read the tags of a dataset: a CSV of `image_id,labels`, or a folder of VOC XML annotations."""

import csv
import re
import xml.etree.ElementTree as ElementTree
from collections.abc import Collection, Iterable
from pathlib import Path

from tag2mask.configs.errors import UserError
from tag2mask.tasks.stage import IMAGE_SUFFIXES

COLUMNS = ("image_id", "labels")
SEPARATORS = frozenset(",;|")
"""What other tables put between labels; in a label it would make a class of several."""
VOC_MEMBERSHIP = re.compile(r"\s+(1|-1|0)$")
"""What VOC's lists per class write after an id: shows the class, does not, or only a difficult object of it."""


class BadTable(UserError, ValueError):
    """A table of tags or ids is wrong; the message names the file, the line and the remedy."""


def read_tags(path: Path, *, only: Collection[str] | None = None) -> dict[str, tuple[str, ...]]:
    """Image id -> its tags, each once, in alphabetical order.

    Args:
        path: table, or folder of VOC annotations.
        only: ids that matter; annotations of others are not opened, while a table is checked whole in any case.

    Raises:
        BadTable: missing file, unknown column, repeated id, an id that is a path, an image without a tag, labels
            with `,`, `;` or `|` between them, a class name with blanks in it.
    """
    if path.is_dir():
        return _read_annotations(path, only)
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            rows = list(csv.reader(file))
    except FileNotFoundError as error:
        raise BadTable(f"{path}: no such file; it must hold the columns image_id,labels") from error
    except (UnicodeDecodeError, csv.Error) as error:
        raise BadTable(f"{path}: is not a table in UTF-8 text ({error}); save it as CSV in UTF-8") from error
    return _read_rows(path, rows, only)


def _read_rows(path: Path, rows: list[list[str]], only: Collection[str] | None) -> dict[str, tuple[str, ...]]:
    """Tags from the lines of a table, the header first."""
    header = tuple(name.strip() for name in rows[0]) if rows else ()
    for name in header:
        if name not in COLUMNS:
            raise BadTable(f"{path}: unknown column {name!r}; the columns are image_id,labels")
    if sorted(header) != sorted(COLUMNS):
        raise BadTable(f"{path}: the first line must be image_id,labels, not {','.join(header)!r}")
    id_column, labels_column = header.index("image_id"), header.index("labels")
    tags: dict[str, tuple[str, ...]] = {}
    for number, row in enumerate(rows[1:], start=2):
        if not row:
            continue
        where = f"{path}, line {number}"
        if len(row) != len(COLUMNS):
            raise BadTable(f"{where}: has {len(row)} fields, not 2; separate several labels by blanks")
        image_id = checked_id(row[id_column].strip(), where)
        if image_id in tags:
            raise BadTable(f"{where}: id {image_id!r} stands there a second time; one line per image")
        tags[image_id] = _labels(row[labels_column].strip(), image_id, where)
    return tags if only is None else {image_id: tags[image_id] for image_id in tags if image_id in only}


def _labels(text: str, image_id: str, where: str) -> tuple[str, ...]:
    """The labels of one line, each once, in alphabetical order."""
    if not text:
        raise BadTable(f"{where}: image {image_id!r} has no tag; give it one or leave it out of the dataset")
    if SEPARATORS.intersection(text):
        raise BadTable(f"{where}: {text!r}: separate several labels by blanks")
    return tuple(sorted(set(text.split())))


def checked_id(image_id: str, where: str) -> str:
    """An image id, if it is a plain file name without suffix; ids become file names of every artifact.

    Raises:
        BadTable: empty, a path, hidden, or with control characters.
    """
    plain = image_id and image_id == Path(image_id).name and not image_id.startswith(".") and image_id.isprintable()
    if not plain or "\\" in image_id:
        raise BadTable(f"{where}: {image_id!r} is not an image id; write the file name without folder and suffix")
    return image_id


def read_ids(path: Path, known: Collection[str] = ()) -> tuple[str, ...]:
    """Ids of a split, one a line; blank lines do not count, nor the 1, -1 or 0 after an id in VOC's lists per class.

    Args:
        path: list of ids, which may have blanks in them.
        known: ids that are taken whole, even if they end as a line of VOC's lists does.

    Raises:
        BadTable: missing file, repeated id, an id that is a path.
    """
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except FileNotFoundError as error:
        raise BadTable(f"{path}: no such file; it must hold one image id a line") from error
    except UnicodeDecodeError as error:
        raise BadTable(f"{path}: is not UTF-8 text ({error}); save it as UTF-8") from error
    ids: dict[str, int] = {}
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        whole = line.strip()
        image_id = checked_id(whole if whole in known else VOC_MEMBERSHIP.sub("", whole), f"{path}, line {number}")
        if image_id in ids:
            raise BadTable(f"{path}, line {number}: id {image_id!r} already stands in line {ids[image_id]}")
        ids[image_id] = number
    return tuple(ids)


def _read_annotations(folder: Path, only: Collection[str] | None) -> dict[str, tuple[str, ...]]:
    """Tags from VOC annotations: the names of the objects that are not marked difficult (all, if every one is)."""
    paths = [path for path in sorted(folder.glob("*.xml")) if not path.name.startswith(".")]
    if not paths:
        raise BadTable(f"{folder}: holds no .xml annotation")
    tags = {}
    for path in paths:
        if only is not None and path.stem not in only:
            continue
        try:
            objects = ElementTree.parse(path).getroot().findall("object")
        except ElementTree.ParseError as error:
            raise BadTable(f"{path}: is not well-formed XML ({error})") from error
        easy = [entry for entry in objects if entry.findtext("difficult", "0").strip() != "1"]
        names = _names(easy) or _names(objects)
        if not names:
            raise BadTable(f"{path}: names no object, so the image would have no tag; add one or remove the file")
        for name in names:
            if len(name.split()) != 1:
                raise BadTable(f"{path}: class {name!r} has a blank in it; write {'-'.join(name.split())!r}")
        tags[checked_id(path.stem, str(path))] = names
    return tags


def _names(objects: Iterable[ElementTree.Element]) -> tuple[str, ...]:
    return tuple(sorted({(entry.findtext("name") or "").strip() for entry in objects} - {""}))


def suffixed_tags(path: Path, image_ids: Collection[str]) -> str:
    """A hint at a table whose ids carry a suffix, where images with these ids have no tag; or nothing."""
    if path.is_dir():
        return ""
    wanted = set(image_ids)
    for listed in read_tags(path):
        stem, dot, suffix = listed.rpartition(".")
        if stem in wanted and f"{dot}{suffix}".lower() in IMAGE_SUFFIXES:
            return f" (the table says {listed}; ids are names without suffix: {stem})"
    return ""
