"""Tables as CSV: what is written is read again, names that look like something else among them."""

import math
from pathlib import Path

import pytest

from tag2mask.tasks.dataset.tables import read_columns, read_table, write_table

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
