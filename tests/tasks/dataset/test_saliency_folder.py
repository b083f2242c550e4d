"""A folder of saliency maps for other programs."""

import csv
import os
from pathlib import Path

import numpy as np
import pytest

from tag2mask.tasks.dataset.label_maps import read_gray, write_gray
from tag2mask.tasks.dataset.saliency_folder import salient_share, write_saliency_folder
from tag2mask.tasks.dataset.whole_folder import FolderInTheWay


@pytest.fixture
def maps(tmp_path: Path) -> Path:
    """An artifact of three maps: a square, a speck below the smallest share, and nothing."""
    square, speck = np.zeros((40, 60), np.uint8), np.zeros((40, 60), np.uint8)
    square[10:20, 10:20], speck[0, :2] = 200, 255
    for name, saliency in (("b", square), ("a", speck), ("c", np.zeros((5, 7), np.uint8))):
        write_gray(tmp_path / "maps" / "saliency" / f"{name}.png", saliency)
    (tmp_path / "maps" / "provenance.json").write_text("{}")
    return tmp_path / "maps"


def test_maps_and_their_table_are_handed_over(maps: Path, tmp_path: Path) -> None:
    """The folder holds every map as it is, a row for each by id, and what is known of the model."""
    rows = write_saliency_folder(maps, tmp_path / "out")
    assert sorted(os.listdir(tmp_path / "out")) == ["a.png", "b.png", "c.png", "maps.csv", "provenance.json"]
    assert (read_gray(tmp_path / "out" / "b.png") == read_gray(maps / "saliency" / "b.png")).all()
    with (tmp_path / "out" / "maps.csv").open(newline="") as file:
        table = list(csv.DictReader(file))
    assert [row["image_id"] for row in table] == [row.image_id for row in rows] == ["a", "b", "c"]
    assert [row["nothing_salient"] for row in table] == ["True", "False", "True"]
    assert [row["maximum"] for row in table] == ["255", "200", "0"]


@pytest.mark.parametrize(("salient", "nothing"), [(0, True), (9, True), (10, False), (10_000, False)])
def test_nothing_is_salient_below_a_thousandth(salient: int, nothing: bool) -> None:
    """A map is flagged where less than 0.1 % of its pixels reach the middle of the scale."""
    saliency = np.full(10_000, 127, np.uint8)
    saliency[:salient] = 128
    assert salient_share("x", saliency.reshape(100, 100)).nothing_salient is nothing


def test_what_is_there_is_not_overwritten(maps: Path, tmp_path: Path) -> None:
    """A folder that holds anything, or a file, is refused and stays as it is; an empty folder is used."""
    for name in ("full", "empty"):
        (tmp_path / name).mkdir()
    (tmp_path / "full" / "own.txt").write_text("mine")
    (tmp_path / "file").write_text("mine")
    for name in ("full", "file"):
        with pytest.raises(FolderInTheWay, match="--out"):
            write_saliency_folder(maps, tmp_path / name)
    assert os.listdir(tmp_path / "full") == ["own.txt"]
    write_saliency_folder(maps, tmp_path / "empty")
    assert len(os.listdir(tmp_path / "empty")) == 5


def test_failure_leaves_nothing(maps: Path, tmp_path: Path) -> None:
    """A map that cannot be read ends it, and neither the folder nor a part of it is left."""
    (maps / "saliency" / "b.png").write_bytes(b"no picture")
    before = sorted(os.listdir(tmp_path))
    with pytest.raises(ValueError, match=r"b\.png"):
        write_saliency_folder(maps, tmp_path / "out")
    assert sorted(os.listdir(tmp_path)) == before
    (maps / "saliency" / "b.png").unlink()
    assert len(write_saliency_folder(maps, tmp_path / "out")) == 2
