"""YAML of settings, read strictly: no key twice, no depth or size without bound, and errors that quote nothing.

An error names the line, never what stands there: whoever may name a settings file in a form must not read others with
it.
"""

import json
import re
import stat
from collections.abc import Hashable
from pathlib import Path
from typing import Any

import yaml

MAXIMUM_BYTES = 2**20
"""Largest settings file; the longest that ships has 16 kB."""
MAXIMUM_DEPTH = 20
"""Deepest nesting; the schema has 4 levels."""
MAXIMUM_VALUES = 20_000
"""Most values, those that anchors repeat counted as often as they stand there."""
MARKS = {b"\xff\xfe": "UTF-16", b"\xfe\xff": "UTF-16", b"\x00\x00\xfe\xff": "UTF-32"}
"""First bytes of a file -> its encoding."""


class NotStrictYaml(ValueError):
    """A text that is not YAML as settings have it; the message says where and why, without quoting it."""


def read_text(path: Path) -> str:
    """Text of a settings file.

    Raises:
        OSError: it cannot be read.
        NotStrictYaml: it is no regular file, is too large, or is not UTF-8.
    """
    if not stat.S_ISREG(path.stat().st_mode):
        raise NotStrictYaml("is a folder" if path.is_dir() else "is no regular file")
    with path.open("rb") as file:
        data = file.read(MAXIMUM_BYTES + 1)
    if len(data) > MAXIMUM_BYTES:
        raise NotStrictYaml(f"is larger than {MAXIMUM_BYTES} bytes, so it holds no settings")
    kind = next((kind for mark, kind in MARKS.items() if data.startswith(mark)), None)
    if kind is not None:
        raise NotStrictYaml(f"is written in {kind}; save it as UTF-8")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise NotStrictYaml(f"line {line}: byte 0x{data[error.start]:02x} is not UTF-8; save it as UTF-8") from None


def parse(text: str) -> Any:
    """The value that a YAML text stands for.

    Raises:
        NotStrictYaml: it is not YAML, names a key twice, is nested too deeply, or has too many values.
    """
    try:
        return yaml.load(text, Loader=_StrictLoader)
    except yaml.MarkedYAMLError as error:
        raise NotStrictYaml(f"{_place(error)}is not YAML ({_unquoted(error.problem or '')})") from None
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        raise NotStrictYaml(f"line {line}: the character U+{int(error.character):04X} is not allowed") from None
    except ValueError as error:
        if isinstance(error, NotStrictYaml):
            raise
        raise NotStrictYaml("holds a number or a date that cannot be read") from None


def yaml_value(value: object) -> str:
    """A value in a line of YAML, as for `--set`: JSON, but without escapes in pairs, which YAML does not join.

    Names that are no UTF-8, of which Python has lone surrogates, stay escaped.
    """
    return json.dumps(value, ensure_ascii=False).encode(errors="backslashreplace").decode()


def _place(error: yaml.MarkedYAMLError) -> str:
    mark = error.problem_mark or error.context_mark
    return "" if mark is None else f"line {mark.line + 1}, column {mark.column + 1}: "


def _unquoted(problem: str) -> str:
    """A complaint of the parser without what it quotes of the text; single characters and its own tokens stay."""
    quoted = re.compile(r"""'([^']*)'|"([^"]*)\"""")
    return quoted.sub(lambda found: found[0] if _HARMLESS.fullmatch(found[1] or found[2] or "") else "'…'", problem)


_HARMLESS = re.compile(r"\\?.|<[a-z ]+>", re.DOTALL)


class _StrictLoader(yaml.SafeLoader):  # makes plain values alone
    """Refuses what a person cannot have meant."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.depth = 0
        self.sizes: dict[int, int] = {}
        """Node -> its values, aliases counted in full."""

    def compose_node(self, parent: Any, index: Any) -> Any:
        """Compose a node, and count what it holds."""
        event: Any = self.peek_event()  # type: ignore[no-untyped-call]
        mark = event.start_mark
        if self.depth >= MAXIMUM_DEPTH:
            raise NotStrictYaml(f"line {mark.line + 1}: is nested more than {MAXIMUM_DEPTH} levels deep")
        self.depth += 1
        node = super().compose_node(parent, index)
        self.depth -= 1
        if not isinstance(event, yaml.AliasEvent):
            self._count(node, mark.line + 1)
        elif id(node) not in self.sizes:  # its anchor is not at its end yet
            raise NotStrictYaml(f"line {mark.line + 1}: an anchor is used inside of itself")
        return node

    def _count(self, node: Any, line: int) -> None:
        parts = [] if isinstance(node, yaml.ScalarNode) else node.value
        if isinstance(node, yaml.MappingNode):
            parts = [part for pair in parts for part in pair]
        size = 1 + sum(self.sizes[id(part)] for part in parts)
        if size > MAXIMUM_VALUES:
            raise NotStrictYaml(
                f"line {line}: holds more than {MAXIMUM_VALUES} values, those that anchors repeat included"
            )
        self.sizes[id(node)] = size

    def construct_mapping(self, node: Any, deep: bool = False) -> dict[Hashable, Any]:
        """A mapping whose keys differ; those that `<<` brings may be written over, as YAML has it."""
        lines: dict[Any, int] = {}
        for key, _ in node.value:
            if not isinstance(key, yaml.ScalarNode) or key.tag == "tag:yaml.org,2002:merge":
                continue
            name, line = self.construct_object(key), key.start_mark.line + 1
            if name in lines:
                raise NotStrictYaml(
                    f"line {line}: {key.value!r:.60} stands in line {lines[name]} already; write it once"
                )
            lines[name] = line
        return super().construct_mapping(node, deep)
