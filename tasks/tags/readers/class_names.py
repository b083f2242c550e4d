"""Names of classes that labels give by number: YOLO's `data.yaml` or `classes.txt`, a dataset card of Hugging Face."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tag2mask.configs.strict_yaml import NotStrictYaml, parse
from tag2mask.tasks.dataset.image_ids import BadTable
from tag2mask.tasks.tags.readers.source import text_of

NAME_FILES = ("classes.txt", "obj.names", "data.yaml", "dataset.yaml")
"""Where names stand in or beside a folder of YOLO's labels."""
CARD = "README.md"


def read_names(path: Path) -> tuple[str, ...]:
    """Names of the classes 0..C-1.

    Args:
        path: YAML with `names`, a list or number -> name; a dataset card (`.md`) whose header holds one list of
            `class_label` names; any other file is text, one name a line.

    Raises:
        BadTable: it cannot be read, or the numbers have gaps, with the place.
    """
    text = text_of(path)
    if path.suffix.lower() in (".yaml", ".yml"):
        return _numbered(_yaml(text, path).get("names"), f"{path}: names")
    if path.suffix.lower() == ".md":
        return _of_card(text, path)
    lines = text.rstrip().splitlines()
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            raise BadTable(f"{path}, line {number}: is blank between names; every class has a line")
    return tuple(line.strip() for line in lines)


def _yaml(text: str, path: Path) -> dict[str, Any]:
    try:
        content = parse(text)
    except NotStrictYaml as error:
        raise BadTable(f"{path}: {error}") from error
    if not isinstance(content, dict):
        raise BadTable(f"{path}: holds no keys such as 'names:'")
    return content


def _numbered(names: object, where: str) -> tuple[str, ...]:
    """Names given as a list, or by number from 0 on."""
    if isinstance(names, dict):
        try:
            numbers = {int(number): name for number, name in names.items()}
        except (TypeError, ValueError) as error:
            raise BadTable(f"{where}: the keys must be the numbers of the classes") from error
        if sorted(numbers) != list(range(len(numbers))):
            raise BadTable(f"{where}: the numbers of the classes must go from 0 to {len(numbers) - 1} without a gap")
        names = [numbers[number] for number in range(len(numbers))]
    if not isinstance(names, list) or not names:
        raise BadTable(f"{where}: must be a list of the classes' names, or number: name")
    for number, name in enumerate(names):
        if not isinstance(name, str) or not name.strip():
            raise BadTable(f"{where}: class {number} is {name!r:.80}, not a name; put it in quotes")
    return tuple(name.strip() for name in names)


def _of_card(text: str, path: Path) -> tuple[str, ...]:
    """Names of the one `class_label` of a dataset card, in its header between lines of `---`."""
    parts = text.replace("\r\n", "\n").split("---\n", 2)
    if parts[0].strip() or len(parts) < 3:
        raise BadTable(f"{path}: has no header between lines of ---, where dataset_info would name the classes")
    found = dict.fromkeys(_class_labels(_yaml(parts[1], path).get("dataset_info"), f"{path}: dataset_info"))
    if len(found) != 1:
        raise BadTable(
            f"{path}: dataset_info has {len(found)} lists of class_label names, not one; write a text file of them"
        )
    return next(iter(found))


def _class_labels(value: object, where: str) -> Iterator[tuple[str, ...]]:
    if isinstance(value, dict):
        for key, part in value.items():
            if key == "class_label" and isinstance(part, dict):
                yield _numbered(part.get("names"), f"{where}: class_label names")
            else:
                yield from _class_labels(part, where)
    elif isinstance(value, list):
        for part in value:
            yield from _class_labels(part, where)
