"""Tables as CSV: what is written is read again, names that look like something else among them."""

import math
from pathlib import Path

import pytest

from tag2mask.tasks.dataset import tables
from tag2mask.tasks.dataset.tables import read_columns, read_table, write_table, write_text_pairs
from tag2mask.tasks.store.files import write_json

ROWS = [
    {"image_id": "007", "class": "null", "pixels": 3, "cam": None},
    {"image_id": "NA", "class": "a, b", "pixels": 40_000_000, "cam": 0.1},
    {"image_id": "1e3", "class": "nan", "pixels": 0, "cam": 1 / 3},
]


@pytest.fixture
def table(tmp_path: Path) -> Path:
    """The rows as a file."""
    write_table(tmp_path / "table.csv", ROWS)
    return tmp_path / "table.csv"


def test_figures_come_back_and_names_stay_text(table: Path) -> None:
    """Names that look like numbers or like nothing stay text, numbers are equal to the bit, a blank is NaN."""
    columns = read_columns(table, text=("image_id", "class"))
    assert list(columns) == list(ROWS[0])
    assert columns["image_id"].tolist() == ["007", "NA", "1e3"]
    assert columns["class"].tolist() == ["null", "a, b", "nan"]
    assert columns["pixels"].tolist() == [3, 40_000_000, 0] and columns["pixels"].dtype.kind == "i"
    assert math.isnan(columns["cam"][0]) and columns["cam"][1:].tolist() == [0.1, 1 / 3]


def test_the_first_rows_alone_can_be_read(table: Path) -> None:
    """Where so many rows are asked for, no more are read."""
    assert read_columns(table, rows=2)["image_id"].tolist() == ["007", "NA"]


def test_rows_come_back_as_text(table: Path) -> None:
    """Every value is the text that stands in the file, a blank is empty."""
    assert read_table(table)[0] == {"image_id": "007", "class": "null", "pixels": "3", "cam": ""}
    assert [row["pixels"] for row in read_table(table)] == ["3", "40000000", "0"]


@pytest.mark.parametrize("count", [0, 1, 2, 3, 7])
def test_rows_written_a_few_at_a_time_are_the_same_bytes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, count: int
) -> None:
    """A table does not show how many of its rows were held at once."""
    rows = [(f"i{number}", number, None if number % 2 else 0.5) for number in range(count)]
    written = []
    for at_once in (1, 2, 4096):
        monkeypatch.setattr(tables, "ROWS_AT_ONCE", at_once)
        write_table(tmp_path / "table.csv", iter(rows), ("image_id", "number", "share"))
        written.append((tmp_path / "table.csv").read_text())
    assert set(written) == {"image_id,number,share\n" + "".join(f"{i},{n},{s or ''}\n" for i, n, s in rows)}


@pytest.mark.parametrize("names", [[], ["a"], ["a", 'a"b', "ä", "\u2028"]])
def test_an_object_written_pair_by_pair_is_what_is_written_at_once(tmp_path: Path, names: list[str]) -> None:
    """Pairs by name give the bytes of `write_json`, whatever the names hold."""
    pairs = {name: name[::-1] for name in sorted(names)}
    write_text_pairs(tmp_path / "pairs.json", iter(pairs.items()))
    write_json(tmp_path / "object.json", pairs)
    assert (tmp_path / "pairs.json").read_bytes() == (tmp_path / "object.json").read_bytes()
