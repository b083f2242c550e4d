"""The parts of a result: what belongs to one image, in the journal of an attempt and in the table of a complete result.

`parts.jsonl` of a result has a line for each image, by id, and at last one without id for the files of no image.  A
line is the JSON of a `Part`; it is read one by one, so that a result of a million images takes no more memory than one
of ten.
"""

import json
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple, Self

from tag2mask.tasks.store.digests import Signature

PARTS = "parts.jsonl"
Facts = Mapping[str, Any]
PASSING = "passing"
"""Name of a fact: if true, another attempt may make the part otherwise, and no later result takes it over."""
NOTHING: Facts = {}
_read = json.JSONDecoder().decode
_written = json.JSONEncoder(sort_keys=True, separators=(",", ":"), allow_nan=False).encode  # built once: it is slow


class Part(NamedTuple):
    """What a result holds for one image."""

    image_id: str
    """Empty for the files that belong to no image."""
    files: Mapping[str, str]
    """Name below the result's folder -> SHA-256."""
    facts: Facts = NOTHING
    """What the stage knows of the image and wants back when this part is taken over: JSON values."""
    key: str = ""
    """Digest of all that the part is made of; empty where images are not looked at one by one."""
    item: str = ""
    """Digest of what the part means to those who read it; empty where there is nothing to read."""
    signatures: Mapping[str, Signature] = NOTHING
    """Only in a journal: of those files of which a later change would show."""

    @classmethod
    def read(cls, line: bytes) -> Self:
        """The part of a line.

        Raises:
            ValueError: it is damaged.
        """
        try:
            fields = _read(line.decode())
            signatures = {name: Signature(*one) for name, one in fields.get("signatures", NOTHING).items()}
            rest = (fields.get("facts", NOTHING), fields.get("key", ""), fields.get("item", ""))
            return cls(fields.get("id", ""), dict(fields["files"]), *rest, signatures)
        except (KeyError, TypeError, AttributeError) as error:
            raise ValueError(f"no part of a result ({error})") from error

    def line(self) -> bytes:
        """The part as a line; what is empty is left out."""
        fields = {"id": self.image_id, "files": self.files, "facts": self.facts, "key": self.key, "item": self.item}
        fields["signatures"] = self.signatures
        return _written({name: value for name, value in fields.items() if value or name == "files"}).encode() + b"\n"


def read_parts(folder: Path) -> Iterator[Part]:
    """The parts of a complete result, one by one.

    Raises:
        ValueError: the table is damaged.
        FileNotFoundError: there is none.
    """
    return (Part.read(line) for _, line in lines_of(folder / PARTS))


def lines_of(path: Path) -> Iterator[tuple[int, bytes]]:
    """(where it begins, line) of a file."""
    with path.open("rb") as file:
        place = 0
        for line in file:
            yield place, line
            place += len(line)


def parts_at(path: Path, places: Iterable[int]) -> Iterator[Part]:
    """The parts whose lines begin at some places of a file."""
    with path.open("rb") as file:
        for place in places:
            file.seek(place)
            yield Part.read(file.readline())
