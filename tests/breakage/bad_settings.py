"""Broken settings files, drawn from a seed: broken as YAML, and with one wrong value in any field of any section."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from tag2mask.configs.schema import Config
from tag2mask.configs.strict_yaml import MAXIMUM_BYTES
from tests.breakage.cases import Case

DEMO = Path(__file__).parents[2] / "configs" / "demo.yaml"
VALUES = 60
"""Wrong values that are drawn."""
FILE = "settings.yaml"


def bad_settings(seed: int) -> list[Case]:
    """The cases; which fields are wrong, and how, depends on the seed."""
    rng = np.random.default_rng(seed)
    wrong = list(_wrong_values())
    drawn = [wrong[int(place)] for place in rng.choice(len(wrong), VALUES, replace=False)]
    return [*_documents(rng), *drawn]


def ladder(first: str, form: str) -> str:
    """Nine anchors, each of which repeats the one before nine times."""
    repeats = (form.format(i, ", ".join([f"*a{i - 1}"] * 9)) for i in range(1, 9))
    return "\n".join([first, *repeats])


def _documents(rng: np.random.Generator) -> Iterator[Case]:
    text = DEMO.read_text()
    lines = [line for line in text.splitlines() if line and not line.startswith((" ", "#", "-"))]
    twice = str(rng.choice(lines)).partition(":")[0]
    documents: dict[str, tuple[str | bytes, str]] = {
        "nothing": ("", "must hold sections"),
        "a list": ("- dataset", "must hold sections"),
        "a word": ("dataset", "must hold sections"),
        "noise": (b"\x80" + rng.bytes(200), "is not UTF-8"),
        "in Latin-1": ("name: übung\n".encode("latin-1"), "is not UTF-8"),
        "in UTF-16": (text.encode("utf-16"), "is written in UTF-16"),
        "in UTF-32": (text.encode("utf-32"), "is written in UTF-16"),
        "a zero byte": ("name: a\0b", r"U\+0000 is not allowed"),
        "a section twice": (f"{text}\n{twice}: {{}}\n", f"'{twice}' stands in line .* already"),
        "anchors without bound": (ladder("a0: &a0 [x, x]", "a{0}: &a{0} [{1}]"), "holds more than"),
        "merges without bound": (ladder("a0: &a0 {k: 1}", "a{0}: &a{0} {{<<: [{1}]}}"), "holds more than"),
        "an anchor inside of itself": ("a: &a [1, *a]", "used inside of itself"),
        "brackets without end": ("[" * 5000, "nested more than"),
        "braces without end": ("{a: " * 5000, "nested more than"),
        "an object of Python": ("a: !!python/object/apply:os.system ['true']", "line 1"),
        "two documents": (f"{text}\n---\n{text}", "line"),
        "megabytes": (f"a: {'x' * MAXIMUM_BYTES}", "is larger than"),
        "a section that does not exist": (f"{text}\nmineing: {{}}\n", "mineing"),
    }
    for name, (content, reported) in documents.items():
        yield Case(name, content if isinstance(content, bytes) else content.encode(), reported, FILE)


def _wrong_values() -> Iterator[Case]:
    """A wrong value of every kind for every field of the settings."""
    schema = Config.model_json_schema()
    for section, field in schema["properties"].items():
        for key, one in _fields(field, schema["$defs"]).items():
            for what, value in _wrong(one):
                yield _with(section, key, value, what, rf"{section}(\.\S+)*[.: ].*{key}|{section}\.{key}")
            yield _with(section, f"{key}x", 1, "misspelled", f"{section}.*{key}x")


def _fields(field: dict[str, Any], definitions: dict[str, Any]) -> dict[str, Any]:
    """The fields of a section; none of a single value."""
    kinds = [field, *field.get("anyOf", ())]
    names = [kind["$ref"].rpartition("/")[2] for kind in kinds if "$ref" in kind]
    return dict(definitions[names[0]]["properties"]) if names else {}


def _wrong(schema: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    kind = schema.get("type")
    if "enum" in schema or kind in ("integer", "number", "boolean"):
        yield "a word", "neither"
        yield "a list", [1, 2]
    if kind == "array":
        yield "a word", "neither"
        yield "a table", {"a": 1}
    if kind in ("integer", "number") and "enum" not in schema:
        yield "not a number", float("nan")
        yield "infinite", float("inf")
        if "minimum" in schema or "exclusiveMinimum" in schema:
            yield "too small", schema.get("minimum", schema.get("exclusiveMinimum")) - 1
        if "maximum" in schema or "exclusiveMaximum" in schema:
            yield "too large", schema.get("maximum", schema.get("exclusiveMaximum")) + 1


def _with(section: str, key: str, value: Any, what: str, reported: str) -> Case:
    values = yaml.safe_load(DEMO.read_text())
    values[section] = {**(values.get(section) or {}), key: value}
    return Case(f"{section}.{key}, {what}", yaml.safe_dump(values).encode(), reported, FILE)
