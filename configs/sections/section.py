"""The base of every section of the settings: frozen, documented, strict about unknown keys, without inf and nan."""

import difflib
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from tag2mask.configs.sections.bounds import too_large

Share = Annotated[float, Field(ge=0, le=1)]
Scales = Annotated[tuple[Annotated[float, Field(gt=0)], ...], Field(min_length=1)]
Optimizer = Literal["sgd", "adamw"]
RETIRED = {
    "precision": "is chosen by the machine, no longer by the settings: delete it; to choose by hand, run with "
    "--precision float32 or --precision bfloat16",
}
"""Keys of earlier versions' settings -> what has become of them, as the rest of a sentence."""


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

    def replaced(self, **changes: Any) -> Self:
        """A validated copy with some fields changed."""
        return type(self).model_validate({**self.model_dump(), **changes})
