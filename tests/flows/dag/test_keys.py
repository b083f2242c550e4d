"""Which settings enter which keys, and which never do."""

from pathlib import Path

import pytest

from tag2mask.configs.load import ConfigError
from tag2mask.flows.dag.build import build_dag
from tag2mask.flows.dag.resolve import setting_of
from tag2mask.tasks.catalog import CATALOG
from tests.flows.dag.demo_dags import CHANGES, GROUPS, VARIANTS, demo, hashed


def test_where_targets_come_from_is_no_setting_of_the_network() -> None:
    """The key of a saliency network holds how it is trained; what it is trained on enters by content."""
    usual = hashed(demo())["train_saliency"]
    assert not usual.keys() & {"maps", "checkpoint", "targets", "self_training_rounds"}
    mined = hashed(demo("saliency.targets=prior", "saliency.self_training_rounds=2"))
    assert usual == mined["train_saliency-1"] == mined["train_saliency-2"]


def test_every_section_that_a_stage_reads_is_tried() -> None:
    """The changes of the next test are of all sections that stages read."""
    assert CHANGES.keys() == {stage.section for stage in CATALOG.values()}


@pytest.mark.parametrize("section", sorted(CHANGES))
def test_a_setting_enters_the_key_of_its_own_stage_alone(section: str) -> None:
    """A changed setting changes what is hashed of the stages that read it and of no other."""
    change, stages = CHANGES[section]
    optional = {"cam_refinement": "refined class maps", "fusion": "fused labels", "round_choice": "best round"}
    optional |= {"prior": "without masks", "self_training": "without masks"}
    shown = [GROUPS, *(VARIANTS[optional[section]] if section in optional else [])]
    before, after = hashed(demo(*shown)), hashed(demo(*shown, change))
    assert {name.split("-")[0] for name in before if before[name] != after[name]} == stages


def test_options_of_another_network_enter_no_key() -> None:
    """What belongs to the network that is not trained can be changed without training, what belongs to it cannot."""
    for provider, foreign, own in (
        ("reciprocal", "saliency.purnet.rescale=true", "saliency.key_channels=8"),
        ("purnet", "saliency.key_channels=8", "saliency.purnet.rescale=true"),
    ):
        chosen = f"saliency.provider={provider}"
        assert hashed(demo(chosen)) == hashed(demo(chosen, foreign))
        assert hashed(demo(chosen)) != hashed(demo(chosen, own))


@pytest.mark.parametrize("variant", ["default", "without masks"])
def test_a_model_to_start_from_enters_by_its_content(tmp_path: Path, variant: str) -> None:
    """It is an input of every training of saliency, in place of ImageNet's weights; its path enters no key."""
    weights = f"saliency.backbone.weights={tmp_path}/weights.pth"
    config = demo(*VARIANTS[variant], weights, f"saliency.start_from={tmp_path}")
    nodes = [node for node in build_dag(config) if node.stage == "train_saliency"]
    assert nodes and all(node.inputs["start"] == tmp_path and "weights" not in node.inputs for node in nodes)
    assert setting_of(nodes[0], "start") == "saliency.start_from"
    elsewhere = demo(*VARIANTS[variant], weights, f"saliency.start_from={tmp_path / 'x'}")
    without = demo(*VARIANTS[variant], "saliency.backbone.weights=none")
    assert hashed(config) == hashed(elsewhere) == hashed(without)
    assert not any("start" in node.inputs for node in build_dag(demo(*VARIANTS[variant], weights)))


@pytest.mark.parametrize("change", ["saliency_set.about=other masks", "saliency_set.shows_target_classes=yes"])
def test_what_is_said_of_the_masks_enters_the_key_of_their_set(change: str) -> None:
    """Another statement makes another saliency set, so that no model or map goes on saying the old one."""
    before, after = hashed(demo()), hashed(demo(change))
    assert {name for name in before if before[name] != after[name]} == {"index_saliency_set"}


def test_places_do_not_enter_keys(tmp_path: Path) -> None:
    """Moving the dataset, the saliency set or the weights changes no recipe: they enter by content."""
    moved = [f"dataset.root={tmp_path}", f"saliency_set.root={tmp_path}"]
    assert hashed(demo()) == hashed(demo(*moved))
    one, two = (hashed(demo(f"classifier.backbone.weights={tmp_path}/{name}.pth")) for name in ("one", "two"))
    assert one == two != hashed(demo())
    assert str(tmp_path) not in str(one)


def test_brought_groups_and_brought_models_change_what_is_trained(tmp_path: Path) -> None:
    """A folder of groups takes the place of tags and maps, a model that of the training; neither path enters a key."""
    folder = [GROUPS, f"cosaliency.training_set={tmp_path}"]
    nodes = {node.name: node for node in build_dag(demo(*folder))}
    assert dict(nodes["train_cosaliency"].inputs) == {"training_set": tmp_path}
    assert hashed(demo(*folder))["train_cosaliency"] == hashed(demo(GROUPS))["train_cosaliency"]
    brought = {node.name: node for node in build_dag(demo(GROUPS, f"cosaliency.checkpoint={tmp_path}"))}
    assert "train_cosaliency" not in brought and brought["predict_cosaliency"].inputs["model"] == tmp_path
    ungated = build_dag(demo(GROUPS, "cosaliency_maps.gate=0"))
    assert "infer_cams-val" not in {node.name for node in ungated}
    with pytest.raises(ConfigError, match="training_set is read where a provider is trained"):
        demo(folder[1])
