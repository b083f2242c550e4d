"""What readers of tags share: text, JSON and XML with errors that name the place, and the tags as they are gathered."""

import json
import xml.etree.ElementTree as ElementTree
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

from tag2mask.tasks.catalog import IMAGE_SUFFIXES
from tag2mask.tasks.dataset.image_ids import BadTable, checked_id

SHOWN = 5
"""Renamed classes that a note names."""
AGAIN = "it may be cut short: export it again"


@dataclass(frozen=True)
class TagList:
    """The tags of a dataset as a reader found them."""

    tags: Mapping[str, tuple[str, ...]]
    """Image id -> its tags, each once, in alphabetical order; of the images that have one."""
    untagged: Mapping[str, str] = field(default_factory=dict)
    """Id of an image that is listed without a tag -> where it is listed."""
    notes: tuple[str, ...] = ()
    """What people should know of the reading, a sentence each."""


class Gathered:
    """Images and their tags while a file is read."""

    def __init__(self) -> None:
        self._tags: dict[str, set[str]] = {}
        self._names: dict[str, str] = {}
        self._places: dict[str, str] = {}
        self._classes: dict[str, str] = {}

    def image(self, name: object, where: str) -> str:
        """List an image by the name of its file; its id.

        Raises:
            BadTable: no name, one that leaves the folder of images, or the id of another image's name.
        """
        image_id = id_of(name, where)
        if image_id in self._names:
            raise BadTable(
                f"{where}: {name!r} has the id {image_id!r}, and so has {self._names[image_id]!r} before it; an id is "
                "a name without folder and suffix: rename one, and list every image once"
            )
        self._names[image_id], self._places[image_id] = str(name), where
        self._tags[image_id] = set()
        return image_id

    def tag(self, image_id: str, name: object, where: str) -> None:
        """Give an image a tag; a name of several words gets hyphens, since names of classes are one word.

        Raises:
            BadTable: it is no name, or two names become the same by their hyphens.
        """
        if not isinstance(name, str) or not name.strip():
            raise BadTable(f"{where}: {name!r:.80} is not the name of a class; write its name")
        word = "-".join(name.split())
        if self._classes.setdefault(word, name.strip()) != name.strip():
            raise BadTable(
                f"{where}: the classes {name!r} and {self._classes[word]!r} are both {word!r} as one word; rename one"
            )
        self._tags[image_id].add(word)

    def finish(self, *notes: str) -> TagList:
        """What was gathered, with notes on the reading."""
        renamed = [f"{name!r} as {word!r}" for word, name in sorted(self._classes.items()) if word != name]
        if renamed:
            more = f", and {len(renamed) - SHOWN} more" if len(renamed) > SHOWN else ""
            notes = (*notes, f"classes are one word: read {', '.join(renamed[:SHOWN])}{more}")
        tags = {image_id: tuple(sorted(names)) for image_id, names in self._tags.items() if names}
        untagged = {image_id: self._places[image_id] for image_id, names in self._tags.items() if not names}
        return TagList(tags, untagged, notes)


def id_of(name: object, where: str) -> str:
    """Image id of a file's name, which may have folders before it: the name without folder and suffix.

    Raises:
        BadTable: no name, an absolute one, or one that leaves the folder by `..`.
    """
    if not isinstance(name, str) or not name.strip():
        raise BadTable(f"{where}: {name!r:.80} is not the name of an image's file")
    path = PurePosixPath(name.replace("\\", "/"))
    if path.is_absolute() or ".." in path.parts or (path.parts and path.parts[0].endswith(":")):
        raise BadTable(f"{where}: {name!r} leaves the folder of the images; write the name from that folder on")
    image_id = path.stem if path.suffix.lower() in IMAGE_SUFFIXES else path.name
    return checked_id(image_id, where)


def text_of(path: Path) -> str:
    """Text of a file, without a byte-order mark.

    Raises:
        BadTable: missing, a folder, empty, or not UTF-8, with the line.
    """
    try:
        data = path.read_bytes()
    except FileNotFoundError as error:
        raise BadTable(f"{path}: no such file") from error
    except OSError as error:
        raise BadTable(f"{path}: cannot be read ({error.strerror})") from error
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise BadTable(f"{path}, line {line}: is not UTF-8 text; save it as UTF-8") from error
    if not text.strip():
        raise BadTable(f"{path}: is empty; export it again")
    return text


def parsed(text: str, where: str) -> Any:
    """The value of a JSON text.

    Raises:
        BadTable: it is not JSON, with line and column.
    """
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        raise BadTable(
            f"{where}, line {error.lineno}, column {error.colno}: is not JSON ({error.msg}); {AGAIN}"
        ) from error
    except RecursionError as error:
        raise BadTable(f"{where}: is nested too deeply for a list of tags") from error
    except ValueError as error:  # an integer of thousands of digits
        raise BadTable(f"{where}: is not JSON that can be read ({error})") from error


def read_json(path: Path) -> Any:
    """The value in a JSON file; errors as of `text_of` and `parsed`."""
    return parsed(text_of(path), str(path))


def read_xml(path: Path) -> ElementTree.Element:
    """The root of an XML file.

    Raises:
        BadTable: missing, empty, or not well-formed, with line and column.
    """
    try:
        return ElementTree.parse(path).getroot()
    except FileNotFoundError as error:
        raise BadTable(f"{path}: no such file") from error
    except OSError as error:
        raise BadTable(f"{path}: cannot be read ({error.strerror})") from error
    except (ElementTree.ParseError, ValueError, LookupError) as error:  # the last two: an encoding that is none
        raise BadTable(f"{path}: is not well-formed XML ({error}); {AGAIN}") from error


def member(value: object, key: str, kind: type, where: str) -> Any:
    """What a JSON object holds under a key.

    Raises:
        BadTable: it is no object, lacks the key, or has something else there.
    """
    if not isinstance(value, dict):
        raise BadTable(f"{where}: is {type(value).__name__}, not an object with {key!r}")
    if not isinstance(value.get(key), kind):
        found = "is missing" if key not in value else f"is {type(value[key]).__name__}"
        raise BadTable(f"{where}: {key!r} {found}, not {kind.__name__}")
    return value[key]


def entries(value: object, key: str, where: str) -> Iterator[tuple[str, Any]]:
    """(place, entry) of a list in a JSON object, the place being e.g. `instances.json: images[3]`."""
    for number, entry in enumerate(member(value, key, list, where)):
        yield f"{where}: {key}[{number}]", entry


def files_in(folder: Path, suffix: str, only: Collection[str] | None) -> list[Path]:
    """The files of a suffix right in a folder, by name, hidden ones and other images' left out.

    Raises:
        BadTable: there is none at all.
    """
    paths = [path for path in sorted(folder.glob(f"*{suffix}")) if not path.name.startswith(".")]
    if not paths:
        raise BadTable(f"{folder}: holds no {suffix} file")
    return [path for path in paths if only is None or path.stem in only]
