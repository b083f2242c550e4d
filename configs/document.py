"""Write settings as YAML in which every field carries its own description as a comment."""

import os
import textwrap
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel

from tag2mask.configs.sections.section import path_mark

WIDTH = 110
"""Longest comment line, in characters."""


def commented_yaml(settings: BaseModel, folder: Path, *, only: Iterable[str] | None = None) -> str:
    """A settings file that loads back as the same settings.

    Args:
        settings: what to write.
        folder: where the file will lie; paths below it are written relative to it, as `load_config` reads them.
        only: fields of the first level to write; without it all.
    """
    chosen = set(type(settings).model_fields) if only is None else set(only)
    return "\n".join(_lines(settings, folder.absolute(), chosen)) + "\n"


def _lines(settings: BaseModel, folder: Path, chosen: set[str], depth: int = 0) -> Iterator[str]:
    margin = "  " * depth
    for name, field in type(settings).model_fields.items():
        if name not in chosen:
            continue
        value = getattr(settings, name)
        if isinstance(value, BaseModel):
            about = " ".join(filter(None, (field.description, type(value).__doc__)))
            yield from [""] * (depth == 0)
            yield from _comment(about, margin)
            yield f"{margin}{name}:"
            yield from _lines(value, folder, set(type(value).model_fields), depth + 1)
        elif isinstance(value, tuple) and value and all(isinstance(part, BaseModel) for part in value):
            yield from _comment(field.description or "", margin)
            for part, about in type(value[0]).model_fields.items():
                yield from _comment(f"{part}: {about.description}", margin)
            yield f"{margin}{name}:"
            yield from (f"{margin}- {_plain_yaml(part.model_dump(mode='json'), folder)}" for part in value)
        else:
            yield from _comment(field.description or "", margin)
            mark = path_mark(field)
            yield f"{margin}{name}: {_plain_yaml(value, None if mark is not None and mark.below else folder)}"


def _comment(text: str, margin: str) -> list[str]:
    plain = " ".join(text.replace("`", "").split())
    return textwrap.wrap(plain, WIDTH, initial_indent=f"{margin}# ", subsequent_indent=f"{margin}# ")


def _plain_yaml(value: Any, folder: Path | None) -> str:
    """A value on one line; paths relative to a folder, or as they are."""
    if isinstance(value, Path):
        value = str(value) if folder is None else relative(value, folder)
    elif folder is not None and isinstance(value, str) and os.path.isabs(value):  # the file of a backbone's weights
        value = relative(Path(value), folder)
    if isinstance(value, tuple):
        value = list(value)
    text = yaml.safe_dump(value, default_flow_style=True, width=10**6, allow_unicode=True)
    return text.removesuffix("\n").removesuffix("\n...")


def relative(path: Path, folder: Path) -> str:
    """A path relative to a folder where it lies in or right beside it, otherwise absolute."""
    path = path.absolute()
    return os.path.relpath(path, folder) if path.is_relative_to(folder.parent) else str(path)
