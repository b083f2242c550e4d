"""Releases for other programs, read back by them."""

import csv
import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from pycocotools.coco import COCO

from tag2mask.tasks.catalog.formats import ReleaseFormat
from tag2mask.tasks.dataset.label_maps import read_labels, voc_palette
from tag2mask.tasks.dataset.whole_folder import FolderInTheWay
from tag2mask.tasks.exports import plain_folders
from tag2mask.tasks.exports.export import export
from tag2mask.tasks.exports.export_set import CannotExport
from tag2mask.tasks.mask_codecs.coco_masks import annotations
from tag2mask.tasks.release.releases import Release
from tag2mask.tasks.store.store import DamagedArtifact, Store
from tests.tasks.drawn_files import files_of
from tests.tasks.drawn_store import CLASSES, draft_of, drawn_labels, published

LABELS = {**drawn_labels(), "all.ignored": np.full((9, 11), 255, np.uint8), "empty": np.zeros((7, 5), np.uint8)}
MASKS = {**LABELS, "all.ignored": np.ones((9, 11), np.uint8), "empty": np.full((7, 5), 2, np.uint8)}


@pytest.fixture
def released(tmp_path: Path) -> tuple[Store, Release]:
    """A store with one release; two of its images have no labeled object."""
    store = Store(tmp_path / "store")
    return store, published(store, draft_of(store, LABELS, MASKS), forced="for the test").release


def test_voc_folder_has_palette_lists_and_images(released: tuple[Store, Release], tmp_path: Path) -> None:
    """Masks keep pixels and palette, the list names every image, and images keep their bytes."""
    store, release = released
    assert export(store, release, tmp_path / "voc", "voc").images == len(LABELS)
    ids = (tmp_path / "voc/ImageSets/Segmentation/train.txt").read_text().split()
    assert ids == list(LABELS)
    for image_id in ids:
        with Image.open(tmp_path / f"voc/SegmentationClass/{image_id}.png") as mask:
            assert mask.mode == "P" and mask.getpalette() == voc_palette().ravel().tolist()
            assert np.array_equal(np.array(mask), LABELS[image_id])
        with Image.open(tmp_path / f"voc/JPEGImages/{image_id}.png") as image:
            assert image.size == LABELS[image_id].shape[::-1]
    assert (tmp_path / "voc/labels.txt").read_text().split() == ["background", *CLASSES]
    rows = {row["image_id"]: row["labels"] for row in csv.DictReader((tmp_path / "voc/tags.csv").open())}
    assert rows["empty"] == "bee"


def test_coco_is_read_back_pixel_by_pixel_by_pycocotools(released: tuple[Store, Release], tmp_path: Path) -> None:
    """The masks of the annotations add up to the label maps, ignored pixels as crowds of their own category."""
    store, release = released
    export(store, release, tmp_path / "coco", "coco")
    coco = COCO(str(tmp_path / "coco/annotations.json"))
    assert [category["name"] for category in coco.loadCats(coco.getCatIds())] == [*CLASSES, "ignored"]
    assert len(coco.imgs) == len(LABELS)
    for image in coco.loadImgs(coco.getImgIds()):
        assert (tmp_path / "coco/images" / image["file_name"]).is_file()
        expected = LABELS[Path(image["file_name"]).stem]
        read = np.zeros((image["height"], image["width"]), np.uint8)
        for annotation in coco.loadAnns(coco.getAnnIds(imgIds=[image["id"]])):
            mask = coco.annToMask(annotation)
            assert annotation["area"] == mask.sum() and annotation["iscrowd"] == (annotation["category_id"] == 255)
            read[mask == 1] = annotation["category_id"]
        assert np.array_equal(read, expected)
    crowds = coco.getAnnIds(catIds=[255], iscrowd=True)
    assert len(crowds) == sum((pixels == 255).any() for pixels in LABELS.values())


def test_coco_annotations_of_random_maps_hold_every_pixel_once() -> None:
    """On noise each pixel that is not background lies in exactly one mask, and the boxes enclose it tightly."""
    labels = np.random.default_rng(7).choice(np.array([0, 1, 5, 254, 255], np.uint8), (13, 17))
    found = annotations(labels, image=3, first=10)
    assert [one["id"] for one in found] == [10, 11, 12, 13] and {one["image_id"] for one in found} == {3}
    assert sum(one["area"] for one in found) == np.count_nonzero(labels)
    for one in found:
        rows, columns = np.nonzero(labels == one["category_id"])
        width, height = columns.max() - columns.min() + 1, rows.max() - rows.min() + 1
        assert one["bbox"] == [columns.min(), rows.min(), width, height]


def test_plain_folder_has_a_table_of_everything(released: tuple[Store, Release], tmp_path: Path) -> None:
    """The table's paths exist and its shares are those of the maps."""
    store, release = released
    export(store, release, tmp_path / "plain", "plain")
    rows = list(csv.DictReader((tmp_path / "plain/index.csv").open()))
    assert [row["image_id"] for row in rows] == list(LABELS)
    for row in rows:
        expected = LABELS[row["image_id"]]
        assert np.array_equal(read_labels(tmp_path / "plain" / row["label"]), expected)
        assert (tmp_path / "plain" / row["image"]).is_file()
        assert float(row["ignored_share"]) == pytest.approx((expected == 255).mean())
        assert row["labeled"] == " ".join(CLASSES[n - 1] for n in np.unique(expected).tolist() if 0 < n < 255)
    assert (tmp_path / "plain/classes.csv").read_text().splitlines()[-1] == "255,ignored,224,224,192"


@pytest.mark.parametrize("form", ["voc", "coco", "plain"])
def test_images_may_be_linked_or_left_out(released: tuple[Store, Release], tmp_path: Path, form: ReleaseFormat) -> None:
    """A link shares the store's bytes, and without images there are none."""
    store, release = released
    export(store, release, tmp_path / "linked", form, "link")
    export(store, release, tmp_path / "bare", form, "none")
    images = [path for path in (tmp_path / "linked").rglob("*images*/*") if path.is_file()]
    images += [path for path in (tmp_path / "linked").rglob("JPEGImages/*")]
    assert len(images) == len(LABELS) and all(path.stat().st_nlink == 2 for path in images)
    assert len(files_of(tmp_path / "linked")) == len(files_of(tmp_path / "bare")) + len(LABELS)


def test_a_folder_with_something_in_it_is_refused(released: tuple[Store, Release], tmp_path: Path) -> None:
    """What lies there stays, and an empty folder is taken."""
    store, release = released
    out = tmp_path / "out"
    out.mkdir()
    export(store, release, out, "plain")
    before = files_of(out)
    with pytest.raises(FolderInTheWay, match="exists and is not empty"):
        export(store, release, out, "voc")
    assert files_of(out) == before


def test_a_failing_export_leaves_nothing(
    released: tuple[Store, Release], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An error half way through removes what was written aside, and the next attempt succeeds."""
    store, release = released

    def fail(*_: object) -> None:
        raise OSError("the cable was pulled")

    with monkeypatch.context() as patch:
        patch.setattr(plain_folders, "write_table", fail)
        with pytest.raises(OSError, match="cable"):
            export(store, release, tmp_path / "out", "voc")
    assert [path.name for path in tmp_path.iterdir()] == ["store"]
    export(store, release, tmp_path / "out", "voc")


def test_damage_is_not_handed_over(released: tuple[Store, Release], tmp_path: Path) -> None:
    """A damaged label map, or a damaged image, stops the export and is named."""
    store, release = released
    label = release.path / "labels" / "p01.png"
    good = label.read_bytes()
    label.write_bytes(b"x")
    with pytest.raises(DamagedArtifact, match=r"labels/p01.png has other bytes"):
        export(store, release, tmp_path / "out", "voc")
    label.write_bytes(good)
    (store.root / str(release.manifest["dataset"]) / "images" / "p02.png").unlink()
    with pytest.raises(DamagedArtifact, match=r"images/p02.png is missing"):
        export(store, release, tmp_path / "out", "voc")
    assert not (tmp_path / "out").exists()


def test_without_the_images_the_message_says_how_to_get_them(released: tuple[Store, Release], tmp_path: Path) -> None:
    """A dataset that was deleted by hand is named."""
    store, release = released
    shutil.rmtree(store.root / str(release.manifest["dataset"]))
    with pytest.raises(CannotExport, match=r"index_dataset/\w+\) are no longer in"):
        export(store, release, tmp_path / "out", "voc")
    assert not os.path.exists(tmp_path / "out")


def test_annotations_are_plain_json(released: tuple[Store, Release], tmp_path: Path) -> None:
    """The file says which release it is, and what a pixel without annotation means."""
    store, release = released
    export(store, release, tmp_path / "coco", "coco")
    info = json.loads((tmp_path / "coco/annotations.json").read_text())["info"]
    assert info["release"] == "toy@1" and info["digest"] == release.manifest["digest"]
    assert "background" in info["description"] and "255" in info["description"]
