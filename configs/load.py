"""Read settings from YAML, with changes from the command line, and say what is wrong in one line per fault."""

import difflib
from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from tag2mask.configs.errors import UserError
from tag2mask.configs.home_folder import NoHomeFolder, expanded
from tag2mask.configs.schema import Config
from tag2mask.configs.sections.section import RETIRED, path_mark
from tag2mask.configs.strict_yaml import NotStrictYaml, parse, read_text

LONGEST_SHOWN = 80
"""Characters of a wrong value that a message shows."""
Kind = TypeVar("Kind", bound=BaseModel)


class ConfigError(UserError, ValueError):
    """The settings are wrong; the message names the file, the key, the value and the right one."""


def load_config(path: Path, changes: Sequence[str] = ()) -> Config:
    """Read a settings file.

    Args:
        path: YAML file; its relative paths start at its own folder.
        changes: `section.key=value`, the value in YAML; relative paths in them start at the current folder.

    Raises:
        ConfigError: unreadable file, unknown key (the nearest known one is named), or wrong value.
    """
    try:
        values = parse(read_text(path))
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read ({error.strerror})") from error
    except NotStrictYaml as error:
        raise ConfigError(f"{path}: {error}") from error
    if not isinstance(values, dict):
        raise ConfigError(f"{path}: must hold sections such as 'dataset:', not {type(values).__name__}")
    values = _unshared(values)
    _make_absolute(values, path.absolute().parent, f"{path}: ")
    for change in changes:
        _apply(values, change)
    _make_absolute(values, Path.cwd(), "--set ")
    return validated(Config, values, path)


def changed(values: dict[str, Any], changes: Sequence[str]) -> dict[str, Any]:
    """A copy of some sections of the settings, section -> its values, with changes `section.key=value`.

    Raises:
        ConfigError: an unknown key, a single value for a section, or a section that is not among them and would not be
            read.
    """
    values = _unshared(values)
    for change in changes:
        section = change.partition("=")[0].partition(".")[0]
        if section in Config.model_fields and section not in values:
            raise ConfigError(f"--set {change}: would not be read here; only {' and '.join(sorted(values))} are")
        _apply(values, change)
        if not isinstance(values[section], dict):
            raise ConfigError(f"--set {change}: {section} is a section; write {section}.key=value")
    return values


def validated(kind: type[Kind], values: dict[str, Any], path: Path) -> Kind:
    """Settings of a kind.

    Args:
        kind: class of the settings.
        values: as they stand in a file.
        path: the file, for the message.

    Raises:
        ConfigError: unknown key or wrong value; one line per fault, each with the file.
    """
    try:
        return kind.model_validate(values)
    except ValidationError as error:
        raise ConfigError("\n".join(f"{path}: {fault}" for fault in _faults(error))) from error


def _unshared(value: Any) -> Any:
    """A copy in which YAML's aliases are values of their own: changing one section must not change another."""
    if isinstance(value, dict):
        return {key: _unshared(part) for key, part in value.items()}
    return [_unshared(part) for part in value] if isinstance(value, list) else value


def _apply(values: dict[str, Any], change: str) -> None:
    """Write one `section.key=value` into the raw values."""
    name, equals, text = change.partition("=")
    if not equals:
        raise ConfigError(f"--set {change}: write section.key=value")
    *sections, key = name.split(".")
    model: Any = Config
    place = values
    for section in sections:
        model = _section_model(model, section, change)
        if not isinstance(place.get(section), dict):
            place[section] = {}
        place = place[section]
    if key not in model.model_fields:
        if key in RETIRED:
            raise ConfigError(f"--set {change}: {key!r} {RETIRED[key]}")
        raise ConfigError(f"--set {change}: unknown key {key!r}; {_meant(key, model)}")
    try:
        place[key] = parse(text)
    except NotStrictYaml as error:
        raise ConfigError(f"--set {change:.100}: {error}") from error


def _section_model(model: type[BaseModel], section: str, change: str) -> type[BaseModel]:
    field = model.model_fields.get(section)
    if field is None:
        raise ConfigError(f"--set {change}: unknown section {section!r}; the nearest is {_nearest(section, model)!r}")
    for kind in _models(field.annotation):
        return kind
    raise ConfigError(f"--set {change}: {section!r} is a single value; write {section}=value")


def _meant(key: str, model: type[BaseModel]) -> str:
    """What an unknown key may mean: that of a section, where only the section was left out, or else the nearest."""
    sections = Config.model_fields if model is Config else {}
    found = [n for n, field in sections.items() if any(key in kind.model_fields for kind in _models(field.annotation))]
    if found:
        return f"write {' or '.join(f'{name}.{key}' for name in found)}"
    return f"the nearest is {_nearest(key, model)!r}"


def _models(annotation: Any) -> list[type[BaseModel]]:
    """Kinds of section that a field may hold; none where it is a single value."""
    kinds = [annotation, *getattr(annotation, "__args__", ())]
    return [kind for kind in kinds if isinstance(kind, type) and issubclass(kind, BaseModel)]


def _nearest(name: str, model: type[BaseModel]) -> str:
    return difflib.get_close_matches(name, model.model_fields, n=1, cutoff=0.0)[0]


def _make_absolute(values: dict[str, Any], folder: Path, where: str, model: type[BaseModel] = Config) -> None:
    """Let relative paths start at a folder; those that are absolute already stay.

    Args:
        values: raw values of the model, changed in place.
        folder: where relative paths start.
        where: what stands before a key in a message: the file, and the sections that the values are in.
        model: kind of the values.

    Raises:
        ConfigError: a path starts at the home folder of a user who has none.
    """
    for name, field in model.model_fields.items():
        value, mark = values.get(name), path_mark(field)
        if isinstance(value, dict):
            for kind in _models(field.annotation):
                _make_absolute(value, folder, f"{where}{name}.", kind)
        elif isinstance(value, str) and mark is not None and not mark.below and value not in mark.words:
            try:
                values[name] = str((folder / expanded(value)).resolve())
            except NoHomeFolder as error:
                raise ConfigError(f"{where}{name}: {error}") from error


def _faults(error: ValidationError) -> list[str]:
    """One line per fault: where, what, and the value given."""
    lines = []
    for fault in error.errors():
        where = ".".join(str(part) for part in fault["loc"])
        message = "write a list, such as [1, 2]" if fault["type"] == "tuple_type" else fault["msg"]
        message = message.removeprefix("Value error, ")
        given = fault.get("input")
        shown = f" (given: {_short(given)})" if not isinstance(given, dict) and fault["type"] != "value_error" else ""
        lines.append(f"{where}: {message}{shown}" if where else f"{message}{shown}")
    return lines


def _short(value: Any) -> str:
    """A value as a message shows it: the one in question, and no whole file that somebody took for settings."""
    text = repr(value)
    return text if len(text) <= LONGEST_SHOWN else f"{text[:LONGEST_SHOWN]}…"
