"""Predictions of the test split, in the layout of VOC's evaluation server."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tag2mask.tasks.dataset.ingest import write_set_aside
from tag2mask.tasks.dataset.label_maps import read_labels, voc_palette, write_labels
from tag2mask.tasks.dataset.whole_folder import FolderInTheWay
from tag2mask.tasks.exports.export_set import CannotExport
from tag2mask.tasks.exports.submission import write_submission
from tests.tasks.drawn_run import blocks, write_dataset, write_label_maps

CLASSES = ("cat", "dog", "owl")
SERVED = Path("results/VOC2012/Segmentation/comp6_test_cls")


@pytest.fixture
def given(tmp_path: Path) -> tuple[Path, Path]:
    """An index of five images and their predictions."""
    masks = {image_id: np.where(mask == 255, 0, mask) for image_id, mask in blocks(1, 5, len(CLASSES)).items()}
    dataset = write_dataset(tmp_path / "index", CLASSES, masks)
    write_set_aside(dataset, [])
    return dataset, write_label_maps(tmp_path / "predictions", "refine_masks", masks)


def test_every_prediction_lies_where_the_server_looks(given: tuple[Path, Path], tmp_path: Path) -> None:
    """The archive holds one palette PNG an image, of its size and values, under the names of the competition."""
    assert write_submission(*given, tmp_path / "out") == 5
    written = sorted(path.relative_to(tmp_path / "out") for path in (tmp_path / "out").rglob("*") if path.is_file())
    assert written == [SERVED / f"p{number:02d}.png" for number in range(5)]
    for path in written:
        with Image.open(tmp_path / "out" / path) as image:
            assert image.mode == "P" and image.getpalette() == voc_palette().ravel().tolist()
        assert np.array_equal(read_labels(tmp_path / "out" / path), read_labels(given[1] / path.name))


def test_what_the_server_would_refuse_is_not_written(given: tuple[Path, Path], tmp_path: Path) -> None:
    """A missing prediction, one of another size, an ignored pixel and a folder in use leave nothing behind."""
    dataset, predictions = given
    out, chosen = tmp_path / "out", predictions / "p03.png"
    labels = read_labels(chosen)
    for wrong, message in ((labels[1:], "its image images/p03.png is"), (labels | 255, "has the value 255; .* 1..3")):
        write_labels(chosen, wrong)
        with pytest.raises(CannotExport, match=message):
            write_submission(dataset, predictions, out)
    chosen.unlink()
    with pytest.raises(CannotExport, match="1 test images have no <id>.png: p03"):
        write_submission(dataset, predictions, out)
    (dataset / "set_aside.csv").write_text("source,reason\nlost.jpg,truncated\n")
    with pytest.raises(CannotExport, match=r"1 test images cannot be read and were set aside: lost.jpg"):
        write_submission(dataset, predictions, out)
    assert not out.exists() and not list(tmp_path.glob(".out*"))
    write_labels(chosen, labels)
    write_set_aside(dataset, [])
    (out / "mine").mkdir(parents=True)
    with pytest.raises(FolderInTheWay, match="exists and is not empty"):
        write_submission(dataset, predictions, out)
