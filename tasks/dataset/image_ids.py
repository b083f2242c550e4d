"""Image ids, and the lists of them that make a split."""

import re
import unicodedata
from collections.abc import Collection
from pathlib import Path

from tag2mask.configs.errors import UserError

VOC_MEMBERSHIP = re.compile(r"\s+(1|-1|0)$")
"""What VOC's lists per class write after an id: shows the class, does not, or only a difficult object of it."""

JOINERS = "\u200c\u200d"
"""Invisible, but part of how letters and signs are written."""


class BadTable(UserError, ValueError):
    """A table of tags or ids is wrong; the message names the file, the line and the remedy."""


def is_legible(name: str) -> bool:
    """Whether a table can hold a name, and a person see it: UTF-8 without control and invisible characters.

    Blanks of all scripts are legible, and so are what joins letters and signs (U+200C, U+200D).
    """
    unfit = ("Cc", "Cf", "Cs", "Zl", "Zp")
    return all(character in JOINERS or unicodedata.category(character) not in unfit for character in name)


def checked_id(image_id: str, where: str) -> str:
    """An image id, if it is a plain file name without suffix; ids become file names of every artifact.

    Raises:
        BadTable: empty, a path, hidden, or with control characters.
    """
    plain = image_id and image_id == Path(image_id).name and not image_id.startswith(".") and is_legible(image_id)
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
