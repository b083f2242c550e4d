"""Objects of other images in the crops that a segmenter learns from."""

from pathlib import Path

import numpy as np

from tag2mask.configs.schema import Segmenter
from tag2mask.tasks.dataset.image_index import ImageIndex
from tag2mask.tasks.train_segmenter import LabeledCrops
from tests.tasks.drawn_run import strips, write_dataset, write_label_maps
from tests.tasks.small_stages import SEGMENTER

STEPS = 60
SIDE = 40


def _crops(folder: Path, share: float) -> np.ndarray:
    """(crops, SIDE, SIDE) labels of a training on nine images of class 1, one of class 2, and one of 1 and 3."""
    masks = {f"a{number}": strips(SIDE, 1) for number in range(9)} | {"b": strips(SIDE, 2), "c": strips(SIDE, 1, 3)}
    dataset = write_dataset(folder / "dataset", ("cat", "dog", "owl"), masks)
    labels = write_label_maps(folder / "labels", "mine_objects", masks)
    small = {"resize": (1.0,), "crop_size": SIDE, "iterations": STEPS, "paste_objects": share}
    data = LabeledCrops(ImageIndex.read(dataset).split("train"), labels, Segmenter.model_validate(SEGMENTER | small))
    found = np.concatenate([data.prefetch(step)[1] for step in range(STEPS)])
    data.prefetch.close()
    return found


def test_rare_classes_are_pasted_as_often_as_others(tmp_path: Path) -> None:
    """A class of one image in eleven is in about half of the crops, and one that never stands alone in no more."""
    plain, pasted = (
        [float((crops == number).any((1, 2)).mean()) for number in (1, 2, 3)]
        for crops in (_crops(tmp_path / "plain", 0.0), _crops(tmp_path / "pasted", 1.0))
    )
    assert plain[1] < 0.2 and 0.4 < pasted[1] < 0.7
    assert pasted[0] > 0.6 and pasted[2] <= plain[2]


def test_an_image_whose_labels_contradict_its_tag_lends_no_object(tmp_path: Path) -> None:
    """Of three images labeled as dogs, only the one tagged so is pasted onto the others."""
    tagged = {"a": strips(SIDE, 1), "b": strips(SIDE, 2)}
    dataset = write_dataset(tmp_path / "dataset", ("cat", "dog"), tagged)
    labels = write_label_maps(tmp_path / "labels", "mine_objects", dict.fromkeys(tagged, strips(SIDE, 2)))
    config = Segmenter.model_validate(SEGMENTER | {"paste_objects": 1.0})
    data = LabeledCrops(ImageIndex.read(dataset).split("train"), labels, config)
    assert data.donors == [[1]]


def test_a_share_of_the_crops_is_pasted_onto(tmp_path: Path) -> None:
    """With a share of 0.5 about a quarter of the crops more show the rarer of two classes."""
    crops = _crops(tmp_path, 0.5)
    assert 0.2 < (crops == 2).any((1, 2)).mean() < 0.45
