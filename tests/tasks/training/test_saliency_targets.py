"""Class maps that learn from saliency."""

from pathlib import Path

import numpy as np
import pytest
import torch

from tag2mask.configs.schema import Activation, Attention, Classifier
from tag2mask.tasks import infer_attention, infer_cams, train_attention, train_classifier
from tag2mask.tasks.dataset.class_maps import read_class_maps
from tag2mask.tasks.dataset.image_index import ImageIndex
from tag2mask.tasks.networks.factory import read_state
from tag2mask.tasks.store.runtime import StageRuntime
from tag2mask.tasks.training.saliency_targets import saliency_targets
from tests.tasks.drawn_run import write_saliency
from tests.tasks.interruption import check_resumed
from tests.tasks.small_stages import CLASSES, MIRRORED, TAGGER, write_inputs

pytestmark = pytest.mark.usefixtures("one_thread")
ACTIVATION = Activation(image_size=64)


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Seven images, and saliency whose right half is bright."""
    folder = tmp_path_factory.mktemp("inputs")
    dataset = write_inputs(folder)["dataset"]
    right = np.zeros((48, 72), np.uint8)
    right[:, 36:] = 255
    ids = ImageIndex.read(dataset).ids
    return {"dataset": dataset, "saliency": write_saliency(folder / "saliency", dict.fromkeys(ids, right))}


def test_targets_follow_the_steps(inputs: dict[str, Path]) -> None:
    """A step's targets are its images' saliency on the grid of the maps, in [0, 1]; without saliency there are none."""
    ids = ImageIndex.read(inputs["dataset"]).ids
    steps = [[(0, 3), (1, 1)], [(2, 0)]]
    with saliency_targets(inputs["saliency"], ids, steps, (3, 4), "cpu") as targets:
        assert targets is not None
        first, second = targets(0), targets(1)
    assert first.shape == (2, 3, 4) and second.shape == (1, 3, 4)
    assert first[0, 0, 0] == 0 and first[0, 0, 3] == 1 and torch.equal(first[0], second[0])
    with saliency_targets(None, ids, steps, (3, 4), "cpu") as nothing:
        assert nothing is None


def test_attention_that_learns_saliency_resumes(tmp_path: Path, inputs: dict[str, Path]) -> None:
    """The attention model has a map for the background, too, and is resumed to the same bytes."""
    config = Attention.model_validate(TAGGER | {"saliency_weight": 1.0} | MIRRORED)
    classifier = inputs["dataset"].with_name("classifier")
    whole = check_resumed(train_attention.run, config, tmp_path, (2, 6), classifier=classifier, **inputs)
    assert read_state(whole / "model.pt")["classify.weight"].shape[0] == len(CLASSES) + 1
    infer_attention.run(ACTIVATION, tmp_path / "maps", StageRuntime(), dataset=inputs["dataset"], model=whole)
    assert len(list((tmp_path / "maps").glob("*.npz"))) == 7


@pytest.mark.parametrize("changes", [{}, MIRRORED], ids=["plain", "mirrored"])
def test_a_classifier_that_learns_saliency_resumes(
    tmp_path: Path, inputs: dict[str, Path], changes: dict[str, object]
) -> None:
    """It has a map for the background, and twice interrupted it ends with the bytes of an undisturbed training."""
    config = Classifier.model_validate(TAGGER | {"saliency_weight": 1.0} | changes)
    whole = check_resumed(train_classifier.run, config, tmp_path, (2, 6), **inputs)
    assert read_state(whole / "model.pt")["classify.weight"].shape[0] == len(CLASSES) + 1


def _share_on_the_right(path: Path) -> float:
    """Of the evidence of an image's first tag."""
    maps, _ = read_class_maps(path, (48, 72))
    return float(maps[0][:, 36:].sum() / (maps[0].sum() + 1e-6))


def test_class_maps_go_where_saliency_says(tmp_path: Path, inputs: dict[str, Path]) -> None:
    """Where one half of every image is salient, the maps come to lie there; without the loss they do not."""
    lengthy = {"epochs": 40, "drop_epochs": (35,), "learning_rate": 0.005, "accumulate_from": 39, "class_init": "zero"}
    found = {}
    for weight in (0.0, 3.0):
        model, maps = tmp_path / f"model{weight:g}", tmp_path / f"maps{weight:g}"
        config = Classifier.model_validate(TAGGER | lengthy | {"saliency_weight": weight})
        given = inputs if weight else {"dataset": inputs["dataset"]}
        train_classifier.run(config, model, StageRuntime(), **given)
        infer_cams.run(ACTIVATION, maps, StageRuntime(), dataset=inputs["dataset"], model=model)
        found[weight] = np.mean([_share_on_the_right(path) for path in sorted(maps.glob("*.npz"))])
    assert found[3.0] > found[0.0] + 0.1
