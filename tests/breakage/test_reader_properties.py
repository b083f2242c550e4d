"""Laws of the readers, tried on whatever hypothesis draws: what is written comes back, and nothing breaks a reader."""

import csv
import io
import json
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tag2mask.configs.load import ConfigError, load_config
from tag2mask.configs.strict_yaml import NotStrictYaml, parse
from tag2mask.tasks.dataset.image_ids import BadTable, checked_id, read_ids
from tag2mask.tasks.networks.checkpoints import DamagedFile, read_checked, write_checked
from tag2mask.tasks.store.files import read_json, write_json
from tag2mask.tasks.store.parts import Part
from tag2mask.tasks.tags.formats import read_tags

LAW = settings(max_examples=60, deadline=None, database=None, derandomize=True, suppress_health_check=list(HealthCheck))
WORDS = st.text(st.characters(exclude_categories=("C", "Z"), exclude_characters=",;|\"'\\/"), min_size=1, max_size=12)
IDS = WORDS.filter(lambda text: not text.startswith(".") and text.isprintable())
TABLES = st.dictionaries(IDS, st.sets(WORDS, min_size=1, max_size=3), min_size=1, max_size=6)
VALUES: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers(-(10**9), 10**9) | st.floats(allow_nan=False, allow_infinity=False) | WORDS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(WORDS, inner, max_size=4),
    max_leaves=12,
)
BEGINNINGS = st.sampled_from(
    [b"", b"image_id,labels\n", b"[", b"{", b"<annotations>", b"name: ", b"\xef\xbb\xbf", b"\xff\xfe"]
)


@contextmanager
def file_of(content: bytes, name: str) -> Iterator[Path]:
    """A file that lies there for a moment."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / name
        path.write_bytes(content)
        yield path


@LAW
@given(TABLES)
def test_a_table_that_is_written_is_read_back(table: dict[str, set[str]]) -> None:
    """Whatever ids and labels a table has, they come back, each label once and in order."""
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerows([("image_id", "labels"), *((image_id, " ".join(tags)) for image_id, tags in table.items())])
    with file_of(text.getvalue().encode(), "labels.csv") as path:
        assert read_tags(path, "csv").tags == {image_id: tuple(sorted(tags)) for image_id, tags in table.items()}


@LAW
@given(BEGINNINGS, st.binary(max_size=200), st.sampled_from(["tags.csv", "tags.json", "tags.xml", "tags.jsonl"]))
def test_no_bytes_break_a_reader_of_tags(begin: bytes, rest: bytes, name: str) -> None:
    """Any bytes are tags whose ids are file names, or refused by the error of tables with the file's name."""
    with file_of(begin + rest, name) as path:
        try:
            found = read_tags(path)
        except BadTable as error:
            assert name in str(error)
        else:
            assert all(checked_id(image_id, "") for image_id in found.tags)


@LAW
@given(st.text(max_size=80))
def test_no_text_breaks_a_list_of_ids(text: str) -> None:
    """Any text is a list of ids that are file names, each once, or refused."""
    with file_of(text.encode("utf-8", "surrogatepass"), "train.txt") as path:
        try:
            ids = read_ids(path)
        except BadTable:
            return
    assert len(set(ids)) == len(ids) and all(checked_id(image_id, "") == image_id for image_id in ids)


@LAW
@given(VALUES)
def test_yaml_that_is_written_is_read_back(value: Any) -> None:
    """Whatever values a settings file holds, strictly read they are what was written."""
    assert parse(yaml.safe_dump(value, allow_unicode=True)) == value


@LAW
@given(BEGINNINGS, st.binary(max_size=120), st.text(max_size=60))
def test_nothing_breaks_the_reader_of_settings(begin: bytes, rest: bytes, text: str) -> None:
    """Any bytes are refused in one line for each fault, and any text is a value or refused."""
    with file_of(begin + rest, "settings.yaml") as path, pytest.raises(ConfigError, match="settings.yaml: "):
        load_config(path)
    try:
        parse(text)
    except NotStrictYaml:
        pass


@LAW
@given(st.binary(max_size=300), st.integers(0, 10**6), st.integers(0, 7))
def test_a_checked_file_gives_back_what_was_written_or_nothing(content: bytes, place: int, bit: int) -> None:
    """Whatever was written comes back, and with any bit turned over nothing does."""
    with file_of(b"", "checkpoint") as path:
        write_checked(path, content)
        assert read_checked(path) == content
        written = bytearray(path.read_bytes())
        written[place % len(written)] ^= 1 << bit
        path.write_bytes(written)
        with pytest.raises(DamagedFile):
            read_checked(path)


@LAW
@given(st.dictionaries(WORDS, VALUES, max_size=4), st.dictionaries(WORDS, WORDS, max_size=4), st.binary(max_size=60))
def test_json_and_parts_come_back(value: dict[str, Any], files: dict[str, str], noise: bytes) -> None:
    """JSON and the parts of a result are read as they were written, and anything else is a `ValueError`."""
    with file_of(noise, "value.json") as path:
        try:
            read_json(path)
        except ValueError as error:
            assert "value.json" in str(error)
        write_json(path, value)
        assert read_json(path) == json.loads(json.dumps(value))
    part = Part("image", files, value)
    assert Part.read(part.line()) == part
    try:
        Part.read(noise)
    except ValueError:
        pass
