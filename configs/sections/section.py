"""The base of every section of the settings: frozen, documented, strict about unknown keys, without inf and nan.

A section knows its recipe, the part of it that can change a result.  That is every field whose annotation does not say
otherwise, by one of three marks: `ByContent`, `Unhashed`, `ReadBy`.  A fourth, `ShapesWeights`, says which fields a
trained network cannot change.
"""

import difflib
from dataclasses import dataclass
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, model_validator
from pydantic.fields import FieldInfo

from tag2mask.configs.sections.bounds import too_large

Share = Annotated[float, Field(ge=0, le=1)]
Scales = Annotated[tuple[Annotated[float, Field(gt=0)], ...], Field(min_length=1)]
Optimizer = Literal["sgd", "adamw"]
RETIRED = {
    "precision": "is chosen by the machine, no longer by the settings: delete it; to choose by hand, run with "
    "--precision float32 or --precision bfloat16",
}
"""Keys of earlier versions' settings -> what has become of them, as the rest of a sentence."""


@dataclass(frozen=True)
class ByContent:
    """Mark of a path: what lies there enters a key as an input of the stage, the path itself does not."""

    words: tuple[str, ...] = ()
    """Values that are no path, and enter the key as they are; a path enters as the word `file` then."""
    below: str = ""
    """Field with the folder at which a relative path starts; "": the folder of the settings file."""


@dataclass(frozen=True)
class Unhashed:
    """Mark of a field that cannot change the result of the stage that reads the section."""

    reason: str
    """Why it cannot."""


@dataclass(frozen=True)
class ReadBy:
    """Mark of a field that is read only where another one has certain values."""

    field: str
    """The other one, of the same section."""
    values: tuple[str, ...]
    """Its values with which this one is read."""


@dataclass(frozen=True)
class ShapesWeights:
    """Mark of a field that says what the weights of a network mean; a training that starts from a model keeps it."""


_ANYTHING: TypeAdapter[Any] = TypeAdapter(Any)


def as_json(value: Any) -> Any:
    """A value as JSON has it: settings by their recipe, tuples as lists, paths as text."""
    if isinstance(value, Section):
        return value.recipe()
    if isinstance(value, dict):
        return {key: as_json(part) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return [as_json(part) for part in value]
    return _ANYTHING.dump_python(value, mode="json")


def path_mark(field: FieldInfo) -> ByContent | None:
    """The mark of a field that enters by content; None for any other."""
    return next((mark for mark in field.metadata if isinstance(mark, ByContent)), None)


class Section(BaseModel):
    """One group of settings.  The docstring below each field says its unit and what it does."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False, use_attribute_docstrings=True)

    @model_validator(mode="before")
    @classmethod
    def _name_the_nearest_key(cls, values: Any) -> Any:
        if not isinstance(values, dict):
            return values
        for key in values:
            if key not in cls.model_fields:
                if key in RETIRED:
                    raise ValueError(f"{key!r} {RETIRED[key]}")
                near = difflib.get_close_matches(str(key), cls.model_fields, n=1, cutoff=0.0)
                raise ValueError(f"unknown key {key!r:.60}; the nearest known one is {near[0]!r}")
        return values

    @model_validator(mode="after")
    def _within_bounds(self) -> Self:
        if fault := too_large(type(self).__mro__, dict(self)):
            raise ValueError(fault)
        return self

    def recipe(self) -> dict[str, Any]:
        """What of these settings can change a result, as JSON values.

        A new field is in it unless its annotation says that it cannot change the result or enters by content.
        """
        found = {}
        for name, field in type(self).model_fields.items():
            if name not in self.left_out:
                value, mark = getattr(self, name), path_mark(field)
                found[name] = as_json(value) if mark is None or value in mark.words else "file"
        return found

    def architecture(self) -> dict[str, Any]:
        """Dotted name -> value of the settings that say what a network's weights mean (`ShapesWeights`)."""
        found = {}
        for name, field in type(self).model_fields.items():
            value = getattr(self, name)
            if name in self.left_out:
                continue
            if isinstance(value, Section):
                found.update({f"{name}.{inner}": part for inner, part in value.architecture().items()})
            elif any(isinstance(mark, ShapesWeights) for mark in field.metadata):
                found[name] = value
        return found

    @property
    def left_out(self) -> frozenset[str]:
        """Fields that do not belong to the recipe."""
        return frozenset(name for name, field in type(self).model_fields.items() if self._is_left_out(field))

    def _is_left_out(self, field: FieldInfo) -> bool:
        for mark in field.metadata:
            if isinstance(mark, Unhashed) or (isinstance(mark, ByContent) and not mark.words):
                return True
            if isinstance(mark, ReadBy) and getattr(self, mark.field) not in mark.values:
                return True
        return False

    def replaced(self, **changes: Any) -> Self:
        """A validated copy with some fields changed."""
        return type(self).model_validate({**self.model_dump(), **changes})
