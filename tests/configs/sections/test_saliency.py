"""Settings of the saliency networks: what does not fit is refused with the remedy."""

from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from tag2mask.configs.load import ConfigError, load_config
from tag2mask.configs.schema import SaliencySet
from tag2mask.configs.sections.networks import OUTPUT_STRIDES, Backbone
from tag2mask.configs.sections.saliency import PurNet, Saliency
from tag2mask.models import backbones as backbones
from tag2mask.models.backbones import BACKBONES

CONFIGS = Path(__file__).parents[3] / "configs"
DEMO, VOC_MINI = CONFIGS / "demo.yaml", CONFIGS / "voc-mini.yaml"


def stages(*shares: float, **settings: Any) -> dict[str, Any]:
    """Settings with stages of these shares."""
    return {"stages": [{"share": share, **settings} for share in shares]}


def test_stages_share_out_all_steps() -> None:
    """Stages end where their shares say, the last with the training, whatever the rounding."""
    assert PurNet().ends(50_000) == (10_000, 35_000, 50_000)
    assert PurNet.model_validate(stages(0.1, 0.5, 0.4)).ends(500_000) == (50_000, 300_000, 500_000)
    assert PurNet.model_validate(stages(*[1 / 7] * 7)).ends(100)[-1] == 100


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (stages(0.5, 0.4), "add up to 0.9; they must add up to 1"),
        (stages(0.5, 0.5, attention=False), "set attention in the last one"),
        (stages(0.0, 1.0), "greater than 0"),
        ({"stage": []}, "nearest known one is 'stages'"),
    ],
)
def test_stages_that_do_not_fit_are_refused(settings: dict[str, Any], message: str) -> None:
    """The message says what is wrong and what would be right."""
    with pytest.raises(ValidationError, match=message):
        PurNet.model_validate(settings)


def test_a_stage_without_steps_is_refused() -> None:
    """So few iterations that a stage gets none are refused, where the stages are used at all."""
    with pytest.raises(ValidationError, match=r"stage 1 of purnet.stages gets none of the 2 steps: raise"):
        Saliency(provider="purnet", iterations=2)
    assert Saliency(iterations=2).is_trained
    assert not Saliency(provider="purnet", checkpoint=Path("model")).is_trained


def test_a_network_needs_something_to_learn_from() -> None:
    """Either network without a set and without a checkpoint is refused by its name."""
    with pytest.raises(ConfigError, match="provider 'purnet' needs saliency_set to train on, or saliency.chec"):
        load_config(DEMO, ["saliency.provider=purnet", "saliency_set=null"])


@pytest.mark.parametrize(("written", "meant"), [("yes", "yes"), ("no", "no"), ("'yes'", "yes"), ("unknown", "unknown")])
def test_a_bare_yes_is_no_truth_value(written: str, meant: str) -> None:
    """YAML's reading of yes and no as truth values is undone."""
    found = load_config(DEMO, [f"saliency_set.shows_target_classes={written}"]).saliency_set
    assert found is not None and found.shows_target_classes == meant
    with pytest.raises(ValidationError, match="'yes', 'no' or 'unknown'"):
        SaliencySet.model_validate({"root": ".", "shows_target_classes": "maybe"})


@pytest.mark.parametrize("name", BACKBONES)
def test_strides_of_the_settings_are_those_of_the_backbones(name: str) -> None:
    """The settings know which strides each backbone can have, without building it."""
    assert OUTPUT_STRIDES[name] == backbones.OUTPUT_STRIDES[name]
    for stride in OUTPUT_STRIDES[name]:
        built = backbones.build_backbone(name, output_stride=stride)
        given = Backbone.model_validate({"name": name, "output_stride": stride})
        assert given.strides == tuple(sorted(set(built.strides)))


def test_the_last_part_of_a_training_ends_with_it() -> None:
    """Shares that add up to 1 but for rounding leave no step without a part."""
    parts = PurNet.model_validate(stages(*[0.142857] * 7))
    assert parts.ends(600_000) == (85714, 171428, 257143, 342857, 428571, 514285, 600_000)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            ["saliency.backbone={name: vgg16, output_stride: 32}"],
            "output_stride 32 is not possible for vgg16; choose from 8, 16",
        ),
        (["saliency.backbone.output_stride=8"], r"attention_strides \[16, 8\]: tf_efficientnet_lite0 .* strides 4, 8"),
        (["saliency.attention_strides=[8, 4]"], "detail needs a stride finer"),
        (["saliency.provider=prior", "saliency.checkpoint=m"], "provider 'prior' has no network"),
        (["cosaliency.provider=icnet", "cosaliency.backbone.output_stride=8"], "icnet needs three strides or more"),
        (
            ["cosaliency.provider=icnet", "cosaliency.backbone.output_stride=32", "cosaliency.image_size=48"],
            "image_size 48 is too small for icnet .*: at least 64",
        ),
    ],
)
def test_networks_that_cannot_be_are_refused_on_reading(changes: list[str], message: str) -> None:
    """A contradiction in an architecture is reported before anything is built, with what is possible."""
    with pytest.raises(ConfigError, match=message):
        load_config(VOC_MINI, changes)
