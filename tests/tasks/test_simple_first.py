"""A first round that learns from images of few tags."""

from pathlib import Path

from tag2mask.configs.schema import Segmenter
from tag2mask.tasks import train_segmenter
from tag2mask.tasks.store.files import read_json
from tag2mask.tasks.store.runtime import StageRuntime
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
