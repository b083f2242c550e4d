"""Exports for CVAT and YOLO read by the programs that others read them with, where these are installed.

They pin libraries older than ours or bring large ones, so they belong into an environment of their own, whose Python
TAG2MASK_READERS names:

    python3 -m venv ../readers && ../readers/bin/pip install cvat-sdk supervision datumaro
    TAG2MASK_READERS=../readers/bin/python .venv/bin/python -m pytest tests/tasks/exports/test_foreign_readers.py
"""

import json
import os
import subprocess
from pathlib import Path

import numpy as np
import pytest

from tag2mask.tasks.catalog.formats import ReleaseFormat
from tag2mask.tasks.corrections.reading import Reviewed, read_corrected
from tag2mask.tasks.exports.export import export
from tag2mask.tasks.store.store import Store
from tag2mask.tasks.tags.formats import read_tags
from tests.tasks.drawn_store import CLASSES, draft_of, published

PYTHON = os.environ.get("TAG2MASK_READERS")
SCRIPT = Path(__file__).with_name("foreign_readers.py")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(PYTHON is None, reason="TAG2MASK_READERS names no Python with cvat-sdk, supervision, datumaro"),
]


def ring(hole: int) -> np.ndarray:
    """(90, 120) labels: a square with a hole, a rim that is ignored, and another class beside it."""
    labels = np.zeros((90, 120), np.uint8)
    labels[10:70, 10:70] = 2
    labels[10:13, 10:70] = 255
    labels[30 : 30 + hole, 30 : 30 + hole] = 0
    labels[20:80, 80:110] = 1
    return labels


LABELS = {"plain": ring(0), "ring": ring(20), "background": np.zeros((40, 30), np.uint8)}


def asked(*arguments: object) -> None:
    """Let the other Python do something; the test is skipped where it lacks the program."""
    command = [str(PYTHON), str(SCRIPT), *map(str, arguments)]
    ran = subprocess.run(command, capture_output=True, text=True, cwd=SCRIPT.parent)
    if "ModuleNotFoundError" in ran.stderr:
        pytest.skip(ran.stderr.strip().splitlines()[-1])
    assert ran.returncode == 0, ran.stderr


def exported(form: ReleaseFormat, folder: Path) -> Path:
    """An export of the drawn labels, the names of the classes beside it."""
    store = Store(folder / "store")
    release = published(store, draft_of(store, LABELS), forced="for the test").release
    export(store, release, folder / "out", form)
    (folder / "classes.json").write_text(json.dumps(CLASSES))
    return folder / "out"


def read_by(reader: str, form: ReleaseFormat, folder: Path) -> dict[str, np.ndarray]:
    """Label maps that a program finds in an export of the drawn labels."""
    asked(reader, exported(form, folder), folder / "read.npz")
    with np.load(folder / "read.npz") as read:
        return dict(read)


@pytest.mark.parametrize("reader", ["cvat-sdk", "datumaro"])
def test_others_find_every_pixel_of_a_cvat_export(tmp_path: Path, reader: str) -> None:
    """CVAT's own decoder and datumaro's importer give the label maps back, ignored pixels and holes included."""
    read = read_by(reader, "cvat", tmp_path)
    assert read.keys() == LABELS.keys()
    for image_id, labels in LABELS.items():
        assert np.array_equal(read[image_id], labels), image_id


def test_others_draw_the_polygons_of_a_yolo_export(tmp_path: Path) -> None:
    """Drawn by OpenCV, which fills outlines, too, classes keep an IoU of 0.9, and holes stay open up to the bridge."""
    read = read_by("supervision", "yolo", tmp_path)
    for image_id, labels in LABELS.items():
        for number in set(np.unique(labels).tolist()) - {0, 255}:
            one, other = labels == number, read[image_id] == number
            assert (one & other).sum() / (one | other).sum() > 0.9, (image_id, number)
    assert (read["ring"][32:48, 32:48] == 0).mean() > 0.8


def test_tags_are_read_from_what_others_write(tmp_path: Path) -> None:
    """The classes of YOLO files by supervision are those of the masks that it was given."""
    (tmp_path / "classes.json").write_text(json.dumps(CLASSES))
    np.savez(tmp_path / "maps.npz", **LABELS)  # type: ignore[arg-type]
    asked("supervision-writes", tmp_path / "maps.npz", tmp_path / "yolo")
    read = read_tags(tmp_path / "yolo" / "labels", names=tmp_path / "yolo" / "data.yaml")
    assert {i: set(names) for i, names in read.tags.items()} == {
        "plain": {CLASSES[0], CLASSES[1]},
        "ring": {CLASSES[0], CLASSES[1]},
    }


def test_masks_are_read_from_what_others_write_for_cvat(tmp_path: Path) -> None:
    """What datumaro imported of an export and wrote again comes back as corrections, pixel by pixel."""
    asked("datumaro-writes", exported("cvat", tmp_path), tmp_path / "again")
    found = read_corrected(tmp_path / "again", Reviewed({i: labels.shape for i, labels in LABELS.items()}, CLASSES))
    assert found.source == "CVAT" and found.masks.keys() == LABELS.keys()
    assert all(np.array_equal(found.masks[image_id], labels) for image_id, labels in LABELS.items())
