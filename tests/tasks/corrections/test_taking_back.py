"""Taking corrections back: interrupted, by two commands at once, and of shapes that are no masks."""

import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from tag2mask.tasks.corrections import folder
from tag2mask.tasks.corrections.folder import BadCorrection, CorrectionFolder
from tag2mask.tasks.corrections.taking_back import take_back
from tag2mask.tasks.dataset.label_maps import read_labels, write_labels
from tag2mask.tasks.store.locks import StoreNotWritable
from tests.tasks.corrections.test_corrections import AFTER, CLASSES, MASKS, reviewed
from tests.tasks.drawn_run import write_dataset


@pytest.fixture
def dataset(tmp_path: Path) -> Path:
    """An index of five images."""
    return write_dataset(tmp_path / "dataset", CLASSES, MASKS)


def corrected(review: Path, *ids: str) -> Path:
    """Put the masks that people made into a review."""
    for image_id in ids:
        write_labels(review / "corrected" / f"{image_id}.png", AFTER[image_id])
    return review


def test_an_interrupted_command_is_run_again(tmp_path: Path, dataset: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Masks without a line, left by an interruption before the table, stop a run but not the same command."""
    review, target = corrected(reviewed(tmp_path, dataset), "p00", "p01"), tmp_path / "corrections"

    def stop(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(folder, "write_table", stop)
        take_back(review, target)
    with pytest.raises(BadCorrection, match="2 masks are not in"):
        CorrectionFolder.read(target)
    assert take_back(review, target).taken == ("p00", "p01")
    assert CorrectionFolder.read(target).corrections.keys() == {"p00", "p01"}


def test_masks_are_on_the_disk_before_the_table(tmp_path: Path, dataset: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each mask is forced to the disk before the table that lists it, and the folder's names after both."""
    review, target = corrected(reviewed(tmp_path, dataset), "p00", "p01"), tmp_path / "corrections"
    synced: list[int] = []
    monkeypatch.setattr(os, "fsync", lambda file: synced.append(os.fstat(file).st_ino))
    take_back(review, target)
    masks, table = [(target / f"{i}.png").stat().st_ino for i in ("p00", "p01")], target / "corrections.csv"
    order = [synced.index(inode) for inode in (*masks, table.stat().st_ino)]
    assert max(order[:2]) < order[2] and synced[-1] == target.stat().st_ino


def test_a_folder_that_cannot_be_written_to_is_named_with_its_option(tmp_path: Path, dataset: Path) -> None:
    """Nothing is said of the store where the folder of corrections is what refuses."""
    review = corrected(reviewed(tmp_path, dataset), "p00")
    (tmp_path / "file").touch()
    for target in (tmp_path / "file", tmp_path / "file" / "below"):
        with pytest.raises(StoreNotWritable, match=rf"^the folder of corrections {target} .*one with --into$"):
            take_back(review, target)


def test_two_commands_at_once_lose_nothing(tmp_path: Path, dataset: Path) -> None:
    """Two reviews that are taken back into one folder at once are both in its table."""
    target = tmp_path / "corrections"
    pairs = ("p00", "p01"), ("p02", "p03")
    reviews = [corrected(reviewed(tmp_path / ids[0], dataset, ids=ids), *ids) for ids in pairs]
    with ThreadPoolExecutor(2) as pool:
        list(pool.map(lambda review: take_back(review, target), reviews))
    found = CorrectionFolder.read(target)
    assert found.corrections.keys() == {"p00", "p01", "p02", "p03"}
    assert all(np.array_equal(read_labels(target / f"{i}.png"), AFTER[i]) for i in found.corrections)


def test_corrections_that_are_replaced_are_counted(tmp_path: Path, dataset: Path) -> None:
    """A second mask of an image takes the place of the first, and the command knows of how many."""
    target = tmp_path / "corrections"
    assert take_back(corrected(reviewed(tmp_path / "one", dataset), "p00"), target).replaced == 0
    assert take_back(corrected(reviewed(tmp_path / "two", dataset), "p00", "p01"), target).replaced == 1


@pytest.mark.parametrize(
    "shape, message",
    [
        ('<box label="ant" xtl="1" ytl="1" xbr="9" ybr="9" rotation="30.0"/>', "a <box> is turned; draw it with"),
        ('<ellipse label="ant" cx="5" cy="5" rx="2" ry="3"/>', "a <ellipse> is no mask; draw it with the brush"),
        ('<polyline label="ant" points="1,1;5,5"/>', "a <polyline> is no mask"),
    ],
)
def test_shapes_of_cvat_that_are_no_masks_are_refused(tmp_path: Path, dataset: Path, shape: str, message: str) -> None:
    """A turned box, an ellipse and a line are neither drawn otherwise nor left out; tags of the image are."""
    review = reviewed(tmp_path, dataset, "cvat")
    (review / "corrected").mkdir(exist_ok=True)
    path = review / "corrected" / "annotations.xml"
    whole = '<annotations><image name="p00.png" width="32" height="24"><tag label="ant"/>{}</image></annotations>'
    path.write_text(whole.format(shape))
    with pytest.raises(BadCorrection, match=message):
        take_back(review, tmp_path / "corrections")
    path.write_text(whole.format('<box label="ant" xtl="1" ytl="1" xbr="9" ybr="9" rotation="0.0"/>'))
    assert take_back(review, tmp_path / "corrections").taken == ("p00",)
