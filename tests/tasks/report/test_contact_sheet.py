"""Contact sheets: small, complete, and the same images every time."""

from pathlib import Path

import numpy as np
import pytest

from tag2mask.configs.schema import NodeFacts
from tag2mask.tasks.report.contact_sheet import LARGEST, contact_sheet
from tag2mask.tasks.report.pictures import jpeg_address, picture_pixels
from tests.tasks.drawn_run import blocks, write_dataset, write_label_maps, write_saliency, write_training

CLASSES = ("cat", "dog", "cow")


@pytest.fixture
def dataset(tmp_path: Path) -> Path:
    """Fourteen drawn images, two of them for validation."""
    return write_dataset(tmp_path / "data", CLASSES, blocks(1, 14, 3), val=("p00", "p01"))


def test_pictures_stand_beside_their_images(dataset: Path, tmp_path: Path) -> None:
    """Twelve pairs stand in three rows of four, each image left of its label map, within the size allowed."""
    labels = write_label_maps(tmp_path / "labels", "mine_objects", blocks(1, 14, 3))
    address = contact_sheet(dataset, NodeFacts(title="mine_objects"), labels, side=128)
    assert address is not None and address.startswith("data:image/jpeg;base64,") and len(address) <= LARGEST
    sheet = picture_pixels(address)
    assert sheet.shape == (3 * 36 - 4, 4 * 68 - 4, 3)
    blank = sheet[0:24, 32:64].astype(int)  # light background of a label map
    assert (np.abs(blank - 236).max(axis=2) < 20).mean() > 0.3


def test_a_stage_without_pictures_has_no_sheet(dataset: Path, tmp_path: Path) -> None:
    """A training has nothing to show."""
    assert (
        contact_sheet(
            dataset, NodeFacts(title="train_classifier"), write_training(tmp_path / "t", "train_classifier", [1.0])
        )
        is None
    )


def test_the_same_images_every_time(dataset: Path, tmp_path: Path) -> None:
    """The sheet of the same result is the same, byte for byte."""
    maps = write_saliency(tmp_path / "s", {f"p{n:02d}": np.full((24, 32), 10 * n, np.uint8) for n in range(14)})
    assert contact_sheet(dataset, NodeFacts(title="predict_saliency"), maps) == contact_sheet(
        dataset, NodeFacts(title="predict_saliency"), maps
    )


def test_pictures_come_back() -> None:
    """A flat picture survives its address within the losses of JPEG."""
    pixels = np.full((16, 24, 3), (200, 30, 90), np.uint8)
    assert np.abs(picture_pixels(jpeg_address(pixels, 90)).astype(int) - pixels).max() < 6
