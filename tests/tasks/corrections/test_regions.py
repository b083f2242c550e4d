"""Corrected regions and images: what was drawn over a neighbor counts, and an image is known by its pixels."""

import json
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tag2mask.configs.sections.section import Section
from tag2mask.tasks import index_corrections
from tag2mask.tasks.corrections.folder import BadCorrection, Correction, CorrectionFolder
from tag2mask.tasks.corrections.taking_back import take_back
from tag2mask.tasks.dataset.label_maps import read_labels, write_labels
from tag2mask.tasks.mask_codecs import brush, coco_masks, cvat_masks
from tag2mask.tasks.store.digests import file_digest
from tag2mask.tasks.store.runtime import StageRuntime
from tests.tasks.corrections.test_corrections import AFTER, CLASSES, MASKS, NUMBERS, WAYS, reviewed
from tests.tasks.drawn_run import write_dataset


@pytest.fixture
def dataset(tmp_path: Path) -> Path:
    """An index of five images."""
    return write_dataset(tmp_path / "dataset", CLASSES, MASKS)


@pytest.mark.parametrize("source", ["CVAT", "Label Studio", "COCO"])
def test_what_a_region_adds_lies_above_what_was_left_as_it_was(tmp_path: Path, dataset: Path, source: str) -> None:
    """A class extended over a neighbor, or over ignored pixels, keeps what it gained wherever the program lists it."""
    form, _ = WAYS[source]
    given = np.zeros((24, 32), np.uint8)
    given[2:10, 2:10], given[2:10, 10:20], given[12:20, 2:10] = 1, 2, 255
    review = reviewed(tmp_path, dataset, form, ("p00",), {"p00": given})
    wanted = given.copy()
    wanted[2:10, 10:14] = wanted[12:16, 2:10] = 1
    grown, rest = wanted == 1, {2: given == 2, 255: given == 255}
    extended = lambda name: grown if NUMBERS[name] == 1 else rest[NUMBERS[name]]  # noqa: E731
    if source == "CVAT":
        tree = ElementTree.parse(review / "annotations.xml")
        for mask in tree.getroot().iter("mask"):
            mask.attrib.update(cvat_masks.encode(extended(mask.attrib["label"])))
        tree.write(review / "corrected" / "annotations.xml")
    elif source == "Label Studio":
        (task,) = json.loads((review / "tasks.json").read_text())
        result = task.pop("predictions")[0]["result"]
        for one in result:
            one["value"]["rle"] = brush.encode(extended(one["value"]["brushlabels"][0]))
        (review / "corrected" / "export.json").write_text(json.dumps([{**task, "annotations": [{"result": result}]}]))
    else:
        found = coco_masks.annotations(grown.astype(np.uint8), 0, 0)
        found += coco_masks.annotations(rest[2] * np.uint8(2), 0, 1)
        content = {"images": [{"id": 0, "file_name": "p00.png"}], "annotations": found}
        content |= {"categories": coco_masks.categories(CLASSES)}
        (review / "corrected" / "annotations.json").write_text(json.dumps(content))
        wanted[16:20, 2:10] = 0  # COCO's file has no ignored region here
    assert take_back(review, tmp_path / "corrections").taken == ("p00",)
    assert np.array_equal(read_labels(tmp_path / "corrections" / "p00.png"), wanted)


def test_what_a_program_hands_back_unchanged_is_no_correction(tmp_path: Path, dataset: Path) -> None:
    """CVAT's export holds all images; those that nobody touched are counted and left."""
    review = reviewed(tmp_path, dataset, "cvat")
    (review / "corrected" / "annotations.xml").write_bytes((review / "annotations.xml").read_bytes())
    taken = take_back(review, tmp_path / "corrections")
    assert (taken.taken, taken.as_they_were) == ((), 2)


def test_an_export_without_a_correction_is_refused(tmp_path: Path, dataset: Path) -> None:
    """A video's tracks, and tasks that nobody submitted, are no empty success."""
    for form, name, content in (
        ("cvat", "a.xml", "<annotations><track id='0' label='ant'/></annotations>"),
        ("label_studio", "a.json", '[{"data": {"image": "p00.png"}, "annotations": []}]'),
    ):
        review = reviewed(tmp_path / form, dataset, form)  # type: ignore[arg-type]
        (review / "corrected" / name).write_text(content)
        with pytest.raises(BadCorrection, match=f"{name}: holds no corrected image; submit tasks in Label Studio"):
            take_back(review, tmp_path / "corrections")
    assert not (tmp_path / "corrections").exists()


def test_an_image_encoded_anew_is_the_same_image(tmp_path: Path, dataset: Path) -> None:
    """A PNG written by another encoder keeps its correction, and so does one whose file's digest was noted before."""
    review, target = reviewed(tmp_path, dataset), tmp_path / "corrections"
    for image_id in ("p00", "p01"):
        write_labels(review / "corrected" / f"{image_id}.png", AFTER[image_id])
    take_back(review, target)
    table = target / "corrections.csv"
    path = dataset / "images" / "p00.png"
    with Image.open(path) as image:
        image.load()
    path.unlink()
    image.save(path, compress_level=1)
    given = {"dataset": dataset, "corrections": target}
    index_corrections.run(Section(), tmp_path / "one", StageRuntime(), **given)
    rows = [line.split(",") for line in table.read_text().splitlines()]
    rows[1][1] = file_digest(path)
    table.write_text("\n".join(",".join(row) for row in rows) + "\n")
    index_corrections.run(Section(), tmp_path / "two", StageRuntime(), **given)


def test_more_classes_than_numbers_are_refused(tmp_path: Path) -> None:
    """Names that only grow end before the number of ignored pixels, and nothing is written."""
    names = tuple(f"c{number}" for number in range(150)), tuple(f"d{number}" for number in range(105))
    mask = np.full((2, 2), 105, np.uint8)
    about = {"a": Correction("a", "0" * 64, "PNG", "now")}
    CorrectionFolder.read(tmp_path).add({"a": mask}, names[0], about)
    before = sorted((path.name, path.read_bytes()) for path in tmp_path.iterdir())
    with pytest.raises(BadCorrection, match=r"classes\.json: would hold 255 names, and masks have room for 254"):
        CorrectionFolder.read(tmp_path).add({"a": mask}, names[1], about)
    assert before == sorted((path.name, path.read_bytes()) for path in tmp_path.iterdir())
    CorrectionFolder.read(tmp_path).add({"a": mask}, names[1][:104], about)
