"""What a model folder says of itself: equal wherever the files of its training lay."""

from pathlib import Path

import pytest
import torch
from torchvision.models import squeezenet1_1

from tag2mask.configs.load import validated
from tag2mask.configs.schema import Attention, Backbone, Classifier, Cosaliency, Saliency, Segmenter
from tag2mask.configs.sections.section import Section
from tag2mask.tasks import train_segmenter
from tag2mask.tasks.networks.model_folder import trained_settings
from tag2mask.tasks.store.digests import file_digest
from tag2mask.tasks.store.runtime import StageRuntime
from tests.tasks.drawn_files import files_of
from tests.tasks.small_stages import BACKBONE, SEGMENTER, write_inputs


@pytest.mark.parametrize("section", [Attention, Classifier, Cosaliency, Saliency, Segmenter])
def test_settings_name_weights_by_their_digest(tmp_path: Path, section: type[Section]) -> None:
    """The settings kept are equal for weights in two folders, name neither, and can be read again."""
    kept = []
    for name in ("here/weights.pth", "there/renamed.pth"):
        weights = tmp_path / name
        weights.parent.mkdir()
        weights.write_bytes(b"the same")
        backbone = Backbone(name="resnet18", output_stride=16, weights=str(weights))
        kept.append(trained_settings(section.model_validate({"backbone": backbone}), weights))
    assert kept[0] == kept[1] and str(tmp_path) not in str(kept[0])
    assert kept[0]["backbone"]["weights"] == f"sha256:{file_digest(weights)}"
    again = validated(section, kept[0], tmp_path / "model.json")
    assert again.recipe() == section.model_validate({"backbone": backbone}).recipe()


@pytest.mark.usefixtures("one_thread")
def test_a_model_has_the_same_bytes_wherever_its_weights_lay(tmp_path: Path) -> None:
    """Trained from the same weights in two folders, all files of the two models are equal."""
    inputs, models = write_inputs(tmp_path / "inputs"), []
    torch.manual_seed(0)
    state = squeezenet1_1().state_dict()
    for name in ("one", "two"):
        weights = tmp_path / name / "weights.pth"
        weights.parent.mkdir()
        torch.save(state, weights)
        config = Segmenter.model_validate(
            SEGMENTER | {"iterations": 1, "backbone": {**BACKBONE, "weights": str(weights)}}
        )
        out = tmp_path / f"model_{name}"
        given = {"dataset": inputs["dataset"], "labels": inputs["labels"], "weights": weights}
        train_segmenter.run(config, out, StageRuntime(), **given)
        models.append(files_of(out))
    assert models[0] == models[1] and "model.json" in models[0]
