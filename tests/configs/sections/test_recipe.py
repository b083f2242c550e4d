"""What of a section enters a key: every field, unless its annotation says otherwise."""

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, get_args

import pytest
from pydantic import BaseModel

from tag2mask.configs.schema import Config
from tag2mask.configs.sections.section import ByContent, ReadBy, Section, Unhashed


class Inner(Section):
    """A part of a section."""

    width: int = 3
    shown: Annotated[bool, Unhashed("it is drawn and not computed")] = False


class Outer(Section):
    """A section with each kind of field."""

    kind: str = "round"
    plain: tuple[float, ...] = (1.0, 0.5)
    folder: Annotated[Path | None, ByContent()] = Path("somewhere")
    weights: Annotated[str, ByContent(words=("none",))] = "none"
    radius: Annotated[int, ReadBy("kind", ("round",))] = 1
    inner: Inner = Inner()
    parts: tuple[Inner, ...] = (Inner(width=4, shown=True),)


def fields(model: type[BaseModel]) -> Iterator[tuple[str, Any]]:
    """Name and description of every field of a section and of the sections in it."""
    for name, field in model.model_fields.items():
        yield f"{model.__name__}.{name}", field
        for kind in (field.annotation, *get_args(field.annotation)):
            if isinstance(kind, type) and issubclass(kind, BaseModel):
                yield from fields(kind)


def test_a_recipe_holds_all_but_what_is_marked() -> None:
    """Fields enter as JSON, nested ones too; paths, what is not read and what changes nothing stay outside."""
    inner = {"width": 3}
    assert Outer().recipe() == {
        "kind": "round",
        "plain": [1.0, 0.5],
        "weights": "none",
        "radius": 1,
        "inner": inner,
        "parts": [{"width": 4}],
    }
    assert Outer(kind="square").recipe() == {k: v for k, v in Outer(kind="square").recipe().items() if k != "radius"}
    assert Outer(weights="net.pth").recipe()["weights"] == "file"


def test_a_new_field_is_hashed() -> None:
    """A field that nobody has thought of enters the recipe."""

    class Later(Outer):
        added: int = 7

    assert Later().recipe() == Outer().recipe() | {"added": 7}


def test_all_paths_of_the_settings_enter_by_content() -> None:
    """No setting that is a path enters a key as its name."""
    paths = {name for name, field in fields(Config) if Path in (field.annotation, *get_args(field.annotation))}
    marked = {name for name, field in fields(Config) if any(isinstance(mark, ByContent) for mark in field.metadata)}
    assert len(paths) >= 7 and paths <= marked


@pytest.mark.parametrize("mark", [ByContent, Unhashed, ReadBy])
def test_marks_stand_at_the_field_itself(mark: type) -> None:
    """A mark inside of a union would be overlooked, and a condition names a field of the same section."""
    for name, field in fields(Config):
        inner = [note for kind in get_args(field.annotation) for note in getattr(kind, "__metadata__", ())]
        assert not [note for note in inner if isinstance(note, mark)], name
    for model in {Config.model_fields[name].annotation for name in ("saliency", "cosaliency")}:
        for field in model.model_fields.values():  # type: ignore[union-attr]
            assert all(m.field in model.model_fields for m in field.metadata if isinstance(m, ReadBy))  # type: ignore
