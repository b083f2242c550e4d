"""Releases for other programs, read back as each format's description says; what is lost is reported and measured."""

import errno
import json
import os
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import numpy as np
import pytest
import yaml
from PIL import Image
from pycocotools.coco import COCO

from tag2mask.tasks.catalog.formats import ReleaseFormat
from tag2mask.tasks.dataset.label_maps import ignored_among, ignored_name
from tag2mask.tasks.exports.export import WRITERS, Exported, export
from tag2mask.tasks.exports.export_set import CannotExport
from tag2mask.tasks.release.releases import Release
from tag2mask.tasks.store.store import Store
from tag2mask.tasks.tags.formats import read_tags
from tests.tasks.drawn_store import CLASSES, draft_of, drawn_labels, published
from tests.tasks.mask_codecs.plain_readers import brush_mask, centers_within, cvat_mask

RING = np.zeros((24, 30), np.uint8)
RING[2:22, 3:27] = 2
RING[8:16, 10:20] = 0
RING[2:5, 3:27] = 255
LABELS = {**drawn_labels(), "all.ignored": np.full((9, 11), 255, np.uint8), "x ring": RING}
MASKS = {**LABELS, "all.ignored": np.ones((9, 11), np.uint8)}
NUMBERS = {name: number for number, name in enumerate(CLASSES, start=1)} | {"ignored": 255}


@pytest.fixture(scope="module")
def released(tmp_path_factory: pytest.TempPathFactory) -> tuple[Store, Release]:
    """A store with one release, of maps with ignored rims and one with a hole."""
    store = Store(tmp_path_factory.mktemp("formats") / "store")
    return store, published(store, draft_of(store, LABELS, MASKS), forced="for the test").release


def written(released: tuple[Store, Release], out: Path, form: ReleaseFormat) -> Exported:
    """Export it."""
    store, release = released
    return export(store, release, out, form)


def test_panoptic_files_hold_every_pixel(released: tuple[Store, Release], tmp_path: Path) -> None:
    """Ids of R + 256 G + 256² B are background, classes, and void for what is ignored, with their areas and boxes."""
    reported = written(released, tmp_path / "out", "coco_panoptic")
    content = json.loads((tmp_path / "out/panoptic.json").read_text())
    names = {category["id"]: category["name"] for category in content["categories"]}
    assert names == {**dict(enumerate(CLASSES, start=1)), 256: "background"}
    files = {image["id"]: image for image in content["images"]}
    for one in content["annotations"]:
        with Image.open(tmp_path / "out/panoptic" / one["file_name"]) as image:
            red, green, blue = np.moveaxis(np.array(image).astype(int), 2, 0)
        ids = red + 256 * green + 256**2 * blue
        expected = LABELS[Path(one["file_name"]).stem]
        assert np.array_equal(np.where(ids == 0, 255, ids % 256), expected)
        assert files[one["image_id"]]["width"] == expected.shape[1]
        assert {segment["id"]: segment["area"] for segment in one["segments_info"]} == {
            number: int((ids == number).sum()) for number in np.unique(ids).tolist() if number
        }
        for segment in one["segments_info"]:
            left, top, width, height = segment["bbox"]
            inside = ids[top : top + height, left : left + width] == segment["id"]
            assert inside.sum() == segment["area"] and inside.any(axis=0).all() and inside.any(axis=1).all()
    assert len(COCO(str(tmp_path / "out/annotations.json")).imgs) == len(LABELS)
    assert "nothing is lost in the panoptic files" in reported.losses[0]


def test_yolo_polygons_are_those_of_the_masks_but_for_what_is_reported(
    released: tuple[Store, Release], tmp_path: Path
) -> None:
    """Drawn again, polygons overlap the masks as the summary says; holes stay, ignored pixels are reported lost."""
    losses = written(released, tmp_path / "out", "yolo").losses
    about = yaml.safe_load((tmp_path / "out/data.yaml").read_text())
    assert list(about["names"].values()) == list(CLASSES) and about["train"] == "images/train"
    shares = []
    for path in sorted((tmp_path / "out/labels/train").glob("*.txt")):
        expected = LABELS[path.stem]
        height, width = expected.shape
        drawn = np.zeros((height, width), np.uint8)
        for line in path.read_text().splitlines():
            number, *values = line.split()
            points = np.array(values, float).reshape(-1, 2) * [width, height]
            drawn[centers_within(points, (height, width))] = int(number) + 1
        assert (tmp_path / "out" / "images" / "train" / f"{path.stem}.png").is_file()
        for number in set(np.unique(expected).tolist()) - {0, 255}:
            mask, again = expected == number, drawn == number
            shares.append((mask & again).sum() / (mask | again).sum())
    polygons, holes, ignored = losses
    reported = f"mean IoU {np.mean(shares):.4f} of {len(shares)} masks, lowest {min(shares):.4f}"
    assert min(shares) > 0.95 and reported in polygons
    assert holes == "YOLO's polygons have no holes: 1 are cut in by bridges"
    share = sum((m == 255).sum() for m in LABELS.values()) / sum(m.size for m in LABELS.values())
    assert ignored == f"YOLO has no ignored pixels: {100 * share:.2f} % become background"


def test_brushes_of_label_studio_hold_every_pixel(released: tuple[Store, Release], tmp_path: Path) -> None:
    """The predictions are brushes of labels that the interface has, and give the maps back."""
    written(released, tmp_path / "out", "label_studio")
    interface = ElementTree.parse(tmp_path / "out/labels.xml").getroot()
    (brush,) = interface.iter("BrushLabels")
    assert [label.get("value") for label in brush] == [*CLASSES, "ignored"]
    tasks = json.loads((tmp_path / "out/tasks.json").read_text())
    for task in tasks:
        expected, read = LABELS[task["data"]["image_id"]], np.zeros_like(LABELS[task["data"]["image_id"]])
        (prediction,) = task["predictions"]
        assert prediction["model_version"] == "toy@1"
        for result in prediction["result"]:
            assert (result["from_name"], result["to_name"]) == (brush.get("name"), brush.get("toName"))
            assert (result["original_height"], result["original_width"]) == expected.shape
            (name,) = result["value"]["brushlabels"]
            read[brush_mask(result["value"]["rle"], expected.shape)] = NUMBERS[name]
        assert np.array_equal(read, expected)
    assert tasks[-1]["data"]["image"] == "/data/local-files/?d=images/x%20ring.png"


def test_masks_of_cvat_hold_every_pixel(released: tuple[Store, Release], tmp_path: Path) -> None:
    """The run lengths in the boxes of the XML give the maps back; the task's labels are all there."""
    written(released, tmp_path / "out", "cvat")
    root = ElementTree.parse(tmp_path / "out/annotations.xml").getroot()
    assert [label.findtext("name") for label in root.iter("label")] == [*CLASSES, "ignored"]
    assert [label["name"] for label in json.loads((tmp_path / "out/labels.json").read_text())] == list(NUMBERS)
    for image in root.iter("image"):
        expected = LABELS[Path(str(image.get("name"))).stem]
        assert (int(image.attrib["height"]), int(image.attrib["width"])) == expected.shape
        read = np.zeros_like(expected)
        for mask in image.iter("mask"):
            read[cvat_mask(mask.attrib, expected.shape)] = NUMBERS[mask.attrib["label"]]
        assert np.array_equal(read, expected)


def test_an_image_folder_names_image_mask_and_tags(released: tuple[Store, Release], tmp_path: Path) -> None:
    """Each line's files exist beside it, the masks keep their numbers, which are named once."""
    written(released, tmp_path / "out", "hugging_face")
    folder = tmp_path / "out" / "train"
    lines = [json.loads(line) for line in (folder / "metadata.jsonl").read_text().splitlines()]
    assert {Path(line["file_name"]).stem for line in lines} == set(LABELS)
    for line in lines:
        assert (folder / line["file_name"]).is_file()
        with Image.open(folder / line["mask_file_name"]) as mask:
            assert np.array_equal(np.array(mask), LABELS[Path(line["file_name"]).stem])
    names = json.loads((tmp_path / "out/id2label.json").read_text())
    assert names == {"0": "background", "1": "ant", "2": "bee", "3": "cow", "255": "ignored"}


@pytest.mark.parametrize("form", WRITERS)
def test_every_format_is_whole_and_says_what_it_loses(
    released: tuple[Store, Release], tmp_path: Path, form: ReleaseFormat
) -> None:
    """Each format holds all images and tells its losses, and those that hold tags are read back by our own readers."""
    reported = written(released, tmp_path / "out", form)
    assert reported.images == len(LABELS) and reported.losses
    if form in ("coco", "hugging_face"):
        path = tmp_path / "out" / {"coco": "annotations.json", "hugging_face": "train/metadata.jsonl"}[form]
        read = read_tags(path)
        assert {*read.tags, *read.untagged} == set(LABELS) and "ignored" not in {
            name for names in read.tags.values() for name in names
        }


def test_a_class_of_the_name_of_ignored_pixels_stays_apart() -> None:
    """Where a class is named `ignored`, ignored pixels get another name, which is known again among the labels."""
    assert ignored_name(("cat",)) == "ignored" and ignored_name(("ignored", "cat")) == "ignored-pixels"
    for classes in (("cat",), ("ignored", "cat"), ("ignored", "ignored-pixels")):
        assert ignored_among({*classes, ignored_name(classes)}) == ignored_name(classes)
    assert ignored_among(("cat", "no-label")) is None


def test_a_link_to_another_disk_is_refused_with_the_way_out(
    released: tuple[Store, Release], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What cannot be linked is said with both places, and nothing is left."""

    def refuse(*_: object) -> None:
        raise OSError(errno.EXDEV, "Invalid cross-device link")

    monkeypatch.setattr(os, "link", refuse)
    with pytest.raises(CannotExport, match="is on another disk than .*: export with --images copy"):
        export(*released, tmp_path / "out", "plain", "link")
    assert not (tmp_path / "out").exists()


def test_yolo_names_any_class(tmp_path: Path) -> None:
    """A class whose name lies beyond the first plane of Unicode is read back as it is."""
    store = Store(tmp_path / "store")
    names = ("\N{CAT FACE}", *CLASSES[1:])
    release = published(store, draft_of(store, LABELS, MASKS, classes=names), forced="for the test").release
    export(store, release, tmp_path / "out", "yolo")
    read = yaml.safe_load((tmp_path / "out" / "data.yaml").read_text(encoding="utf-8"))
    assert tuple(read["names"].values()) == names
