"""Ground-truth masks: those that fit their images are copied, all others are refused together."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tag2mask.configs.schema import Dataset
from tag2mask.tasks import index_dataset, index_masks
from tag2mask.tasks.dataset.ingest import BadDataset
from tag2mask.tasks.dataset.label_maps import write_labels
from tag2mask.tasks.store.runtime import StageRuntime
from tests.tasks.drawn_files import files_of, save_image, save_mask, save_turned, write_tags

SIZE = (6, 9)
SPLITS = {"train": "a b c".split(), "val": "d e".split()}


@pytest.fixture
def dataset(tmp_path: Path) -> Path:
    """An index of five images of two classes."""
    for seed, image_id in enumerate("abcde"):
        save_image(tmp_path / "photos" / f"{image_id}.jpg", seed, SIZE)
    write_tags(tmp_path / "labels.csv", dict.fromkeys("abcde", "cat dog"))
    for name, ids in SPLITS.items():
        (tmp_path / f"{name}.txt").write_text("\n".join(ids))
    return _index(tmp_path)


def _index(folder: Path) -> Path:
    index_dataset.run(
        Dataset(root=folder),
        folder / "dataset",
        StageRuntime(),
        images=folder / "photos",
        tags=folder / "labels.csv",
        train_split=folder / "train.txt",
        val_split=folder / "val.txt",
    )
    return folder / "dataset"


def mask(values: tuple[int, ...] = (0, 1, 2, 255), size: tuple[int, int] = SIZE) -> np.ndarray:
    """(H, W) uint8 that holds these values."""
    return np.resize(np.array(values, np.uint8), size)


def index(dataset: Path, name: str = "out", threads: int = 1) -> Path:
    """Index the masks beside a dataset."""
    folder = dataset.parent
    runtime = StageRuntime(threads=threads)
    index_masks.run(Dataset(root=folder), folder / name, runtime, dataset=dataset, masks=folder / "masks")
    return folder / name


def test_masks_are_copied_and_listed(dataset: Path) -> None:
    """Palette and gray masks keep their bytes; images and masks that stand alone are counted."""
    masks = dataset.parent / "masks"
    write_labels(masks / "b.png", mask())
    save_mask(masks / "a.png", mask())
    save_mask(masks / "e.png", mask((0,)))
    save_mask(masks / "other.png", mask((99,)))
    found = files_of(index(dataset))
    assert found == files_of(index(dataset, "again", threads=3))
    assert {name for name in found if name.startswith("masks")} == {"masks/a.png", "masks/b.png", "masks/e.png"}
    assert all(found[f"masks/{i}.png"] == (masks / f"{i}.png").read_bytes() for i in "abe")
    assert json.loads(found["index.json"]) == {"train": ["a", "b"], "val": ["e"]}
    assert json.loads(found["metrics.json"]) == {
        "train": 2,
        "val": 1,
        "train_without_mask": 1,
        "val_without_mask": 1,
        "without_image": 1,
        "same_classes_as_tags": 2,
    }


def test_a_split_may_have_no_masks(dataset: Path) -> None:
    """Masks of one split are enough."""
    save_mask(dataset.parent / "masks" / "d.png", mask())
    assert json.loads((index(dataset) / "index.json").read_text()) == {"train": [], "val": ["d"]}


def test_no_masks_at_all_are_refused(dataset: Path) -> None:
    """Masks that are named after no image are an error that shows the right name, and so is a missing folder."""
    with pytest.raises(FileNotFoundError, match="masks: no such folder"):
        index(dataset)
    save_mask(dataset.parent / "masks" / "a_mask.png", mask())
    with pytest.raises(BadDataset, match=r"masks: holds 1 \.png files, none of them .* 5 images \(such as a\.png\)"):
        index(dataset)


def test_mask_of_another_size_is_refused(dataset: Path) -> None:
    """A mask of another size is named with both sizes."""
    save_mask(dataset.parent / "masks" / "a.png", mask(size=(9, 6)))
    with pytest.raises(BadDataset, match=r"1 of 1 masks .*\n.*a\.png: is 6x9, but its image images/a\.jpg is 9x6"):
        index(dataset)


def test_mask_fits_the_upright_image(tmp_path: Path, dataset: Path) -> None:
    """The size that counts is that of the image as a person sees it."""
    save_turned(tmp_path / "photos" / "a.jpg", 0, 6, SIZE)
    index_dataset.run(
        Dataset(root=tmp_path),
        tmp_path / "turned",
        StageRuntime(),
        images=tmp_path / "photos",
        tags=tmp_path / "labels.csv",
    )
    save_mask(tmp_path / "masks" / "a.png", mask(size=SIZE[::-1]))
    assert (index(tmp_path / "turned") / "masks" / "a.png").exists()


@pytest.mark.parametrize("values, wrong", [((0, 3), "3"), ((254, 1, 7), "7, 254"), ((0, 1, 2, 128), "128")])
def test_values_that_are_no_class_are_refused(dataset: Path, values: tuple[int, ...], wrong: str) -> None:
    """Values beyond the classes are named with what is allowed."""
    save_mask(dataset.parent / "masks" / "a.png", mask(values))
    with pytest.raises(
        BadDataset, match=rf"a\.png: has the values {wrong}; a mask holds 0, 1\.\.2 and 255 \(void\) alone"
    ):
        index(dataset)


def test_color_masks_and_damaged_files_are_refused(dataset: Path) -> None:
    """Masks whose pixels are colors, and files that cannot be read, are named together; nothing is listed."""
    masks = dataset.parent / "masks"
    save_mask(masks / "a.png", mask())
    Image.new("RGB", SIZE[::-1]).save(masks / "b.png")
    (masks / "c.png").write_bytes((masks / "a.png").read_bytes()[:40])
    with pytest.raises(
        BadDataset, match=r"2 of 3 masks do not fit:\n.*b\.png: has mode RGB.*\n.*c\.png: is no PNG image"
    ):
        index(dataset)
    assert not (dataset.parent / "out" / "index.json").exists()


def test_many_faults_are_counted_and_ten_are_named(tmp_path: Path) -> None:
    """One error names ten masks and counts the others."""
    for number in range(12):
        save_image(tmp_path / "photos" / f"p{number:02}.jpg", number, SIZE)
        save_mask(tmp_path / "masks" / f"p{number:02}.png", mask((77,)))
    write_tags(tmp_path / "labels.csv", {f"p{number:02}": "cat" for number in range(12)})
    index_dataset.run(
        Dataset(root=tmp_path),
        tmp_path / "dataset",
        StageRuntime(),
        images=tmp_path / "photos",
        tags=tmp_path / "labels.csv",
    )
    with pytest.raises(BadDataset, match=r"12 of 12 masks(?s:.*)p09\.png.*\n  and 2 more$"):
        index(tmp_path / "dataset")


def test_masks_of_other_numbers_are_suspected(dataset: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Masks that seldom show the classes of the tags give a warning, which counts those without any class."""
    for image_id, values in {"a": (0, 1), "b": (0, 1), "c": (0, 255)}.items():
        save_mask(dataset.parent / "masks" / f"{image_id}.png", mask(values))
    index(dataset)
    assert "only 0 of 3 masks show exactly the classes of the tags, and 1 show no class at all" in caplog.text


@pytest.mark.parametrize("values", [(0, 255), (0,), (255,)])
def test_masks_without_any_class_are_refused(dataset: Path, values: tuple[int, ...]) -> None:
    """Masks of salient objects, in which the objects are void, are refused with what a mask holds."""
    for image_id in "abd":
        save_mask(dataset.parent / "masks" / f"{image_id}.png", mask(values))
    with pytest.raises(
        BadDataset, match=r"masks: none of the 3 masks shows any class; a mask holds class numbers 1\.\.2.*0/255 masks"
    ):
        index(dataset)
    assert not (dataset.parent / "out" / "index.json").exists()
