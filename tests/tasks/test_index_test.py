"""The images of the test split: taken in without tags, apart from all that is trained or measured on."""

from pathlib import Path
from typing import Any

import pytest

from tag2mask.configs.sections.section import Section
from tag2mask.tasks import index_test
from tag2mask.tasks.dataset.image_ids import BadTable
from tag2mask.tasks.dataset.image_index import ImageIndex
from tag2mask.tasks.dataset.images import BadImage
from tag2mask.tasks.dataset.ingest import BadDataset
from tests.tasks.drawn_files import files_of, save_image, truncate, write_tags
from tests.tasks.indexed_folder import IN_PAIRS, TAGS, index, metrics, table


def index_of_test(raw: Path, dataset: Path, ids: list[str], name: str = "test", **settings: Any) -> Path:
    """Index the test split."""
    listed, out = raw / "test.txt", raw.parent / name
    listed.write_text("\n".join(ids))
    given = {"dataset": dataset, "images": raw / "photos", "test_split": listed}
    arguments = {"on_bad_image": "error", "maximum_megapixels": 10.0, **settings}
    index_test.run(Section(), out, IN_PAIRS, **arguments, **given)
    return out


def test_images_without_tags_are_indexed_with_the_classes_of_the_dataset(raw: Path) -> None:
    """They stand in the split `test`, sorted, without a class, whatever a table of tags says of them."""
    for image_id in ("z", "y"):
        save_image(raw / "photos" / f"{image_id}.jpg")
    write_tags(raw / "labels.csv", {**TAGS, "y": "unicorn"})
    dataset = index(raw, test=["z", "y"])
    assert ImageIndex.read(dataset).classes == ("cat", "dog")
    assert ImageIndex.read(dataset).ids == tuple("abcde")
    found = ImageIndex.read(index_of_test(raw, dataset, ["z", "y"]))
    assert found.classes == ("cat", "dog")
    assert [(record.image_id, record.split, record.tags) for record in found] == [("y", "test", ()), ("z", "test", ())]
    assert (found.folder / "images" / "z.jpg").read_bytes() == (raw / "photos" / "z.jpg").read_bytes()
    assert metrics(found.folder) == {"test": 2, "set_aside": 0, "converted": 0}


def test_a_test_split_leaves_the_index_as_it_is(raw: Path) -> None:
    """With lists of the other splits, the dataset's index has the same bytes with a test split and without."""
    save_image(raw / "photos" / "z.jpg")
    splits = {"train": ["a", "b", "c", "d"], "val": ["e"]}
    without = index(raw, "without", **splits)
    assert files_of(index(raw, "with", **splits, test=["z"])) == files_of(without)


def test_an_id_in_two_splits_is_refused(raw: Path) -> None:
    """Both indices name the ids that are trained or measured on, and the lists."""
    with pytest.raises(BadDataset, match=r"test.txt: 1 ids stand in .*train.txt, too: b; keep each in one"):
        index(raw, train=["a", "b", "c"], test=["b"])
    with pytest.raises(BadDataset, match=r"test.txt: 1 ids stand in .*val.txt, too: e; keep each in one"):
        index(raw, train=["a", "b", "c"], val=["e"], test=["e"])
    dataset = index(raw, train=["a", "b", "c", "d"], val=["e"])
    with pytest.raises(BadDataset, match="2 ids are trained or measured on: a, e; keep each in one split"):
        index_of_test(raw, dataset, ["a", "e"])


def test_lists_that_do_not_fit_are_refused(raw: Path) -> None:
    """An empty list, a missing image and a path are named before an image is copied."""
    dataset = index(raw, train=["a", "b", "c"])
    with pytest.raises(BadDataset, match="holds no id; list the test images, or leave dataset.test_split out"):
        index_of_test(raw, dataset, [])
    with pytest.raises(BadDataset, match=r"1 ids of .*test.txt have no image: lost; add them or drop the ids"):
        index_of_test(raw, dataset, ["d", "lost"])
    with pytest.raises(BadTable, match="is not an image id"):
        index_of_test(raw, dataset, ["../d"])
    assert not (raw.parent / "test" / "images").exists()


def test_a_bad_image_ends_the_stage_or_is_set_aside(raw: Path) -> None:
    """What cannot be read is treated as the settings say, as in the dataset's own index."""
    dataset = index(raw, train=["a", "b", "c"])
    truncate(raw / "photos" / "d.jpg")
    with pytest.raises(BadImage, match="1 of 2 images are bad"):
        index_of_test(raw, dataset, ["d", "e"])
    found = index_of_test(raw, dataset, ["d", "e"], "lenient", on_bad_image="skip")
    assert ImageIndex.read(found).ids == ("e",) and metrics(found)["set_aside"] == 1
    assert [row["source"] for row in table(found / "set_aside.csv")] == ["d.jpg"]
