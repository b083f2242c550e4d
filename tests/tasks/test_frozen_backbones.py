"""Trainings that leave the backbone as it comes."""

from pathlib import Path

import pytest
import torch

from tag2mask.configs.schema import Saliency, Segmenter
from tag2mask.tasks import train_saliency, train_segmenter
from tag2mask.tasks.networks.factory import read_state
from tag2mask.tasks.store.runtime import StageRuntime
from tests.tasks.small_stages import PURNET, SALIENCY, SEGMENTER, write_inputs

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A dataset of seven images, label maps and saliency pairs."""
    return write_inputs(tmp_path_factory.mktemp("inputs"))


def test_a_frozen_segmenter_keeps_its_backbone(tmp_path: Path, inputs: dict[str, Path]) -> None:
    """At `backbone_factor` 0 the head alone is trained, whatever the optimizer and its weight decay."""
    for name, steps in (("one", 1), ("two", 3)):
        config = Segmenter.model_validate(
            SEGMENTER | {"backbone_factor": 0.0, "optimizer": "adamw", "iterations": steps}
        )
        train_segmenter.run(config, tmp_path / name, StageRuntime(), dataset=inputs["dataset"], labels=inputs["labels"])
    one, two = (read_state(tmp_path / name / "model.pt") for name in ("one", "two"))
    for name, value in one.items():
        assert torch.equal(value, two[name]) == name.startswith("segmenter.backbone."), name


@pytest.mark.parametrize("provider", ["reciprocal", "purnet"])
def test_a_frozen_saliency_network_keeps_its_backbone(tmp_path: Path, inputs: dict[str, Path], provider: str) -> None:
    """At `backbone_factor` 0 both networks train what is not the backbone alone."""
    given = (SALIENCY if provider == "reciprocal" else PURNET) | {"backbone_factor": 0.0, "weight_decay": 0.01}
    for name, steps in (("one", 3), ("two", 6)):
        config = Saliency.model_validate(given | {"iterations": steps})
        train_saliency.run(config, tmp_path / name, StageRuntime(), saliency_set=inputs["pairs"])
    one, two = (read_state(tmp_path / name / "model.pt") for name in ("one", "two"))
    still = {name for name, value in one.items() if torch.equal(value, two[name])}
    backbone = {name for name in one if name.startswith("backbone.")}
    assert backbone and backbone <= still and len(still) < len(one)
