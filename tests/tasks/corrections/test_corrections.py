"""Corrected masks: from every program back into the folder, checked against their images, standing in the labels."""

import json
import xml.etree.ElementTree as ElementTree
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tag2mask.configs.sections.section import Section
from tag2mask.tasks import apply_corrections, index_corrections
from tag2mask.tasks.catalog.formats import ReviewFormat
from tag2mask.tasks.corrections.folder import BadCorrection, CorrectionFolder
from tag2mask.tasks.corrections.taking_back import take_back
from tag2mask.tasks.dataset.image_ids import BadTable
from tag2mask.tasks.dataset.image_index import ImageIndex
from tag2mask.tasks.dataset.label_maps import read_labels, write_labels
from tag2mask.tasks.exports.export_set import ExportSet
from tag2mask.tasks.exports.review import choose, write_review
from tag2mask.tasks.mask_codecs import brush, coco_masks, cvat_masks
from tag2mask.tasks.release.label_sets import LabelSet
from tag2mask.tasks.store.runtime import StageRuntime
from tests.tasks.drawn_run import blocks, write_dataset, write_label_maps

CLASSES = ("ant", "bee", "cow")
MASKS = blocks(3, 5, 3)
AFTER = {image_id: np.roll(mask, 3, axis=1) for image_id, mask in MASKS.items()}
"""What people make of them."""
NUMBERS = {name: number for number, name in enumerate(CLASSES, start=1)} | {"ignored": 255}


@pytest.fixture
def dataset(tmp_path: Path) -> Path:
    """An index of five images, the last of which is kept aside."""
    return write_dataset(tmp_path / "dataset", CLASSES, MASKS, val=("p04",))


def reviewed(
    folder: Path,
    dataset: Path,
    form: ReviewFormat = "folder",
    ids: tuple[str, ...] = ("p00", "p01"),
    masks: Mapping[str, np.ndarray] = MASKS,
) -> Path:
    """A review of some images."""
    files = {i: p for i in ids for p in [write_labels(folder / "made" / f"{i}.png", masks[i])]}
    index = ImageIndex.read(dataset)
    labels = LabelSet("toy", files, CLASSES, dataset, {})
    rows = [{"image_id": i, "class": "ant", "confidence": 0.1} for i in ids]
    write_review(ExportSet("toy", labels, index.only(ids), "copy", {}), folder / form, form, rows, "toy")
    return folder / form


def _png(review: Path) -> None:
    for image_id in ("p00", "p01"):
        write_labels(review / "corrected" / f"{image_id}.png", AFTER[image_id])


def _label_studio(review: Path) -> None:
    """As Label Studio exports what somebody submitted over the predictions; the last task was canceled."""
    tasks = json.loads((review / "tasks.json").read_text())
    for task in tasks:
        image_id = task["data"].pop("image_id")
        task["data"]["image"] = f"/data/upload/1/0a1b2c3d-{image_id}.png"
        result = task.pop("predictions")[0]["result"]
        for one in result:
            mask = AFTER[image_id] == NUMBERS[one["value"]["brushlabels"][0]]
            one["value"]["rle"] = brush.encode(mask)
        task["annotations"] = [{"result": [], "was_cancelled": False}, {"result": result, "was_cancelled": False}]
    (review / "corrected" / "export.json").write_text(json.dumps(tasks))


def _cvat(review: Path) -> None:
    tree = ElementTree.parse(review / "annotations.xml")
    for image in tree.getroot().iter("image"):
        image_id = Path(str(image.get("name"))).stem
        for mask in image.iter("mask"):
            mask.attrib.update(cvat_masks.encode(AFTER[image_id] == NUMBERS[mask.attrib["label"]]))
    tree.write(review / "corrected" / "annotations.xml")


def _coco(review: Path) -> None:
    images, found = [], []
    for number, image_id in enumerate(("p00", "p01")):
        images.append({"id": number, "file_name": f"images/{image_id}.png"})
        found += coco_masks.annotations(AFTER[image_id], number, len(found))
    content = {"images": images, "annotations": found, "categories": coco_masks.categories(CLASSES)}
    (review / "corrected" / "annotations.json").write_text(json.dumps(content))


WAYS: dict[str, tuple[ReviewFormat, Callable[[Path], None]]] = {
    "PNG": ("folder", _png),
    "Label Studio": ("label_studio", _label_studio),
    "CVAT": ("cvat", _cvat),
    "COCO": ("folder", _coco),
}


@pytest.mark.parametrize("source", WAYS)
def test_corrections_come_back_from_every_program(tmp_path: Path, dataset: Path, source: str) -> None:
    """What was given out, changed and exported is taken, pixel by pixel, and stands in the labels of the round."""
    form, correct = WAYS[source]
    review = reviewed(tmp_path, dataset, form)
    correct(review)
    taken = take_back(review, tmp_path / "corrections")
    assert (taken.source, taken.taken, taken.as_they_were) == (source, ("p00", "p01"), 0)
    (tmp_path / "indexed").mkdir()
    given = {"dataset": dataset, "corrections": tmp_path / "corrections"}
    index_corrections.run(Section(), tmp_path / "indexed", StageRuntime(), **given)
    labels = write_label_maps(tmp_path / "labels", "mask_nonsalient", MASKS)
    out = tmp_path / "out"
    out.mkdir()
    apply_corrections.run(
        Section(), out, StageRuntime(), dataset=dataset, labels=labels, corrections=tmp_path / "indexed"
    )
    for image_id in ("p00", "p01", "p02", "p03"):
        expected = AFTER if image_id in taken.taken else MASKS
        assert np.array_equal(read_labels(out / f"{image_id}.png"), expected[image_id])
    assert not (out / "p04.png").exists()
    assert json.loads((out / "metrics.json").read_text()) == {"corrected": 2, "images": 4}
    assert [line.split(",")[:2] for line in (out / "corrections.csv").read_text().splitlines()[1:]] == [
        ["p00", source],
        ["p01", source],
    ]


def test_a_correction_of_a_changed_image_is_refused_by_name(tmp_path: Path, dataset: Path) -> None:
    """The mask was made for other pixels."""
    review = reviewed(tmp_path, dataset)
    _png(review)
    take_back(review, tmp_path / "corrections")
    Image.new("RGB", MASKS["p01"].shape[::-1]).save(dataset / "images" / "p01.png")
    with pytest.raises(BadCorrection, match="p01: the image has changed since its mask was corrected"):
        index_corrections.run(
            Section(), tmp_path, StageRuntime(), dataset=dataset, corrections=tmp_path / "corrections"
        )


def test_corrections_follow_the_names_of_classes(tmp_path: Path, dataset: Path) -> None:
    """New classes renumber the dataset and not what a mask says; a class that is gone is refused by name."""
    review = reviewed(tmp_path, dataset)
    _png(review)
    target = tmp_path / "corrections"
    take_back(review, target)
    other = tmp_path / "other"
    (other / "images").mkdir(parents=True)
    for path in (dataset / "images").iterdir():
        (other / "images" / path.name).write_bytes(path.read_bytes())
    (other / "index.csv").write_bytes((dataset / "index.csv").read_bytes())
    (other / "classes.json").write_text('["aardvark", "ant", "bee", "cow"]')
    (tmp_path / "out").mkdir()
    index_corrections.run(Section(), tmp_path / "out", StageRuntime(), dataset=other, corrections=target)
    moved = np.array([0, 2, 3, 4], np.uint8)
    expected = np.where(AFTER["p00"] == 255, 255, moved[AFTER["p00"] % 255])
    assert np.array_equal(read_labels(tmp_path / "out" / "p00.png"), expected)
    CorrectionFolder.read(target).add({"p01": np.full((2, 2), 1, np.uint8)}, ("dodo",), {})
    assert CorrectionFolder.read(target).classes == (*CLASSES, "dodo")
    with pytest.raises(BadCorrection, match="p01.png: is 2x2, its image 32x24"):
        index_corrections.run(Section(), tmp_path / "out", StageRuntime(), dataset=other, corrections=target)
    CorrectionFolder.read(target).add({"p01": np.full((24, 32), 1, np.uint8)}, ("dodo",), {})
    with pytest.raises(BadCorrection, match="p01.png: has the class 'dodo', which the dataset does not have"):
        index_corrections.run(Section(), tmp_path / "out", StageRuntime(), dataset=other, corrections=target)


@pytest.mark.parametrize("ids, message", [(("p04",), "1 corrected images are kept aside to measure: p04")])
def test_images_that_are_measured_are_not_corrected(
    tmp_path: Path, dataset: Path, ids: tuple[str, ...], message: str
) -> None:
    """A correction of the validation split is refused, and so is one of an image that is gone."""
    review = reviewed(tmp_path, dataset, ids=ids)
    write_labels(review / "corrected" / "p04.png", AFTER["p04"])
    target = tmp_path / "corrections"
    take_back(review, target)
    with pytest.raises(BadCorrection, match=message):
        index_corrections.run(Section(), tmp_path, StageRuntime(), dataset=dataset, corrections=target)
    smaller = write_dataset(tmp_path / "smaller", CLASSES, {"p00": MASKS["p00"]})
    with pytest.raises(BadCorrection, match="1 corrected images are not in the dataset: p04; bring them back"):
        index_corrections.run(Section(), tmp_path, StageRuntime(), dataset=smaller, corrections=target)


def _replaced(before: str, after: str) -> Callable[[Path], None]:
    def spoil(path: Path) -> None:
        assert before in path.read_text()
        path.write_text(path.read_text().replace(before, after, 1))

    return spoil


def _cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: len(path.read_bytes()) // 2])


def _renamed(path: Path) -> None:
    path.rename(path.with_name("x.png"))


def _filled(number: int, size: tuple[int, int]) -> Callable[[Path], None]:
    def spoil(path: Path) -> None:
        write_labels(path, np.full(size, number, np.uint8))

    return spoil


def _beside(path: Path) -> None:
    path.with_name("a.json").write_text("[]")


def _other(path: Path) -> None:
    path.write_text("<x/>")


BAD: dict[str, tuple[str, str, Callable[[Path], None], str]] = {
    "cut mask": ("PNG", "p01.png", _cut, "p01.png: is no PNG image that can be read whole"),
    "stranger": ("PNG", "p01.png", _renamed, "image 'x' was not given out"),
    "number": (
        "PNG",
        "p01.png",
        _filled(9, (24, 32)),
        "p01.png: holds 9",
    ),
    "size": (
        "PNG",
        "p01.png",
        _filled(0, (3, 3)),
        "is 3x3, its image 32x24",
    ),
    "two exports": (
        "PNG",
        "p01.png",
        _beside,
        "holds 1 exports and 2",
    ),
    "cut JSON": ("Label Studio", "export.json", _cut, "is not JSON"),
    "label": ("Label Studio", "export.json", _replaced('"ant"', '"wasp"'), "'wasp' is no class"),
    "cut brush": ("Label Studio", "export.json", _replaced('"rle": [0', '"rle": [1'), "its region cannot be read"),
    "task": ("Label Studio", "export.json", _replaced("-p01.png", "-p03.png"), "image 'p03' was not given out"),
    "cut XML": ("CVAT", "annotations.xml", _cut, "is not well-formed XML"),
    "runs": ("CVAT", "annotations.xml", _replaced('rle="', 'rle="7, '), "a <mask> cannot be read"),
    "other XML": ("CVAT", "annotations.xml", _other, "its first element is <x>"),
    "runs of COCO": (
        "COCO",
        "annotations.json",
        _replaced('"size": [24', '"size": [25'),
        "segmentation is no polygon",
    ),
    "category": ("COCO", "annotations.json", _replaced('"category_id": ', '"category_id": 9'), "is not in this file"),
}


@pytest.mark.parametrize("fault", BAD)
def test_bad_corrections_are_refused_and_nothing_is_taken(tmp_path: Path, dataset: Path, fault: str) -> None:
    """Each fault of what comes back is named with its file, and the folder of corrections stays as it was."""
    source, name, spoil, message = BAD[fault]
    form, correct = WAYS[source]
    review = reviewed(tmp_path, dataset, form)
    correct(review)
    spoil(review / "corrected" / name)
    with pytest.raises((BadCorrection, BadTable), match=message):
        take_back(review, tmp_path / "corrections")
    assert not (tmp_path / "corrections").exists()


def test_a_folder_that_was_changed_by_hand_is_refused(tmp_path: Path, dataset: Path) -> None:
    """A mask without a line and a line without a mask are named."""
    review = reviewed(tmp_path, dataset)
    _png(review)
    target = tmp_path / "corrections"
    take_back(review, target)
    (target / "p00.png").rename(target / "p02.png")
    with pytest.raises(BadCorrection, match="1 masks of corrections.csv are gone: p00; copy them again"):
        CorrectionFolder.read(target)
    write_labels(target / "p00.png", AFTER["p00"])
    with pytest.raises(BadCorrection, match=r"1 masks are not in corrections\.csv: p02\.png; the same `tag2mask"):
        CorrectionFolder.read(target)
    with pytest.raises(BadCorrection, match=r"review\.json: no such file; give a folder that `tag2mask review` wrote"):
        take_back(tmp_path, target)


def test_the_least_certain_images_come_first_and_corrected_ones_not_again(tmp_path: Path) -> None:
    """An image is as certain as its least certain class."""
    path = tmp_path / "confidence.csv"
    path.write_text("image_id,class,confidence\nb,ant,0.1\na,bee,0.2\nb,cow,0.9\nc,ant,0.95\n")
    chosen, rows = choose(path, 2)
    assert chosen == ["b", "a"] and [row["class"] for row in rows] == ["ant", "bee", "cow"]
    assert choose(path, 5, but=["b"])[0] == ["a", "c"]


def test_images_at_random_go_on_where_the_last_review_ended(tmp_path: Path) -> None:
    """The order is drawn once: what was corrected is left out, and the others keep their places."""
    path = tmp_path / "confidence.csv"
    path.write_text("image_id,class,confidence\n" + "".join(f"i{n:02d},ant,0.{n:02d}\n" for n in range(20)))
    everything, rows = choose(path, 20, choice="random")
    assert sorted(everything) == sorted({row["image_id"] for row in rows}) != everything
    assert choose(path, 8, choice="random")[0] == everything[:8]
    assert choose(path, 8, everything[:8], "random")[0] == everything[8:16]
