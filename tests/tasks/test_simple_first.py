"""A first round that learns from images of few tags."""

from pathlib import Path

import numpy as np

from tag2mask.configs.schema import Segmenter
from tag2mask.tasks import train_segmenter
from tag2mask.tasks.dataset.image_index import ImageIndex
from tag2mask.tasks.dataset.label_maps import IGNORE
from tag2mask.tasks.store.files import read_json
from tag2mask.tasks.store.runtime import StageRuntime
from tag2mask.tasks.train_segmenter import LabeledCrops
from tests.tasks.drawn_run import strips, write_dataset, write_label_maps
from tests.tasks.small_stages import SEGMENTER

SIDE = 40


def test_images_of_several_tags_wait_unless_nothing_simpler_shows_their_class(tmp_path: Path) -> None:
    """An image of more tags is left out, and counted, where simpler ones show all its classes; without a limit none."""
    masks = {
        "a": strips(SIDE, 1),
        "b": strips(SIDE, 2),
        "c": strips(SIDE, 1, 2),
        "d": strips(SIDE, 2, 3),
        "e": strips(SIDE, 1, 2, 3),
    }
    dataset = write_dataset(tmp_path / "dataset", ("cat", "dog", "owl"), masks)
    labels = write_label_maps(tmp_path / "labels", "mine_objects", masks)
    found = []
    for number, limit in enumerate((None, 1, 2)):
        config = Segmenter.model_validate(SEGMENTER | {"iterations": 1, "first_round_tags": limit})
        out = tmp_path / str(number)
        train_segmenter.run(config, out, StageRuntime(), dataset=dataset, labels=labels)
        metrics = read_json(out / "metrics.json")
        found.append((metrics["images"], metrics["left_out"]))
    assert found == [(5, 0), (4, 1), (4, 1)]


def test_what_no_simple_image_labels_is_learned_at_once(tmp_path: Path) -> None:
    """An image of several tags teaches a class whose simple images have labels that do not show it."""
    masks = {"a": strips(SIDE, 1), "b": strips(SIDE, 2), "c": strips(SIDE, 1, 2)}
    dataset = write_dataset(tmp_path / "dataset", ("cat", "dog"), masks)
    index = ImageIndex.read(dataset).split("train")
    config = Segmenter.model_validate(SEGMENTER | {"first_round_tags": 1})
    for number, labeled in enumerate((masks["a"], np.full_like(masks["a"], IGNORE), masks["b"])):
        labels = write_label_maps(tmp_path / str(number), "mine_objects", masks | {"a": labeled})
        data = LabeledCrops(index, labels, config)
        assert data.index.ids == (("a", "b"), ("b", "c"), ("a", "b", "c"))[number]
