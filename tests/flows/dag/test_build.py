"""The DAG as data."""

import importlib
import inspect
import re
from pathlib import Path

import pytest

from tag2mask.configs.load import ConfigError, load_config
from tag2mask.flows.dag.build import build_dag
from tag2mask.flows.init import packaged
from tag2mask.tasks.catalog import CATALOG
from tests.flows.dag.demo_dags import GROUPS, VARIANTS, all_stages, demo, hashed, names


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("rounds", [1, 2, 4])
@pytest.mark.parametrize("file", ["demo.yaml", "voc2012.yaml", "voc-mini.yaml"])
def test_every_node_comes_after_those_it_needs(file: str, rounds: int, variant: str) -> None:
    """Names are unique, and what a node needs stands before it."""
    seen: set[str] = set()
    for node in build_dag(load_config(packaged(file), [f"rounds={rounds}", *VARIANTS[variant]])):
        assert node.name not in seen
        assert set(node.upstream) <= seen, node.name
        seen.add(node.name)


@pytest.mark.parametrize("rounds", [1, 2, 4])
def test_a_round_is_a_segmenter_and_labels(rounds: int) -> None:
    """R rounds train R + 1 segmenters, each but the first on the labels of the round before."""
    nodes = {node.name: node for node in build_dag(demo(f"rounds={rounds}"))}
    labels = {nodes[f"train_segmenter-{r}"].inputs["labels"] for r in range(1, rounds + 2)}
    assert labels == {"mine_objects", *(f"mask_nonsalient-{r}" for r in range(1, rounds + 1))}
    assert f"train_segmenter-{rounds + 2}" not in nodes


def test_refined_class_maps_take_the_place_of_mining() -> None:
    """Labels 0 are then made of CAMs and saliency by `refine_cams`, and no attention model is trained."""
    nodes = {node.name: node for node in build_dag(demo("initial_labels=cam_refinement"))}
    assert not nodes.keys() & {"mine_objects", "train_attention", "infer_attention"}
    assert nodes["train_segmenter-1"].inputs["labels"] == "refine_cams"
    assert nodes["refine_cams"].inputs == {
        "dataset": "index_dataset",
        "saliency": "predict_saliency",
        "cams": "infer_cams",
    }


def test_refined_class_maps_may_be_those_of_both_networks() -> None:
    """With `cam_refinement.attention` the attention model is trained, from saliency if asked for, and read."""
    changes = ["initial_labels=cam_refinement", "cam_refinement.attention=true", "attention.saliency_weight=1"]
    nodes = {node.name: node for node in build_dag(demo(*changes))}
    assert nodes["refine_cams"].inputs["attention"] == "infer_attention"
    assert nodes["train_attention"].inputs["saliency"] == "predict_saliency"
    assert "saliency" not in nodes["train_classifier"].inputs and "evaluate-attention" in nodes
    with pytest.raises(ConfigError, match="one of the two has a map of the background and the other has not"):
        demo(*changes, "attention.start=classifier")
    assert demo(*changes, "attention.start=classifier", "classifier.saliency_weight=1").attention.saliency_weight == 1


def test_every_stage_is_in_some_run() -> None:
    """The stages of all DAGs are those of the catalog, and all files of `tasks`."""
    folder = packaged("demo.yaml").parent.parent / "tasks"
    stages = all_stages()
    assert stages == set(CATALOG)
    assert stages == {path.stem for path in folder.glob("*.py")} - {"__init__", "catalog", "stage"}


def test_fused_labels_go_back_to_labels_0_in_every_round() -> None:
    """Each round fuses its own prediction with labels 0, and trains the next segmenter on the result."""
    nodes = {node.name: node for node in build_dag(demo("next_labels=fusion", "rounds=2"))}
    assert not [name for name in nodes if name.startswith("mask_nonsalient")]
    for r in (1, 2):
        given = nodes[f"fuse_labels-{r}"].inputs
        assert given == {"dataset": "index_dataset", "scores": f"predict_masks-{r}", "labels": "mine_objects"}
        assert nodes[f"train_segmenter-{r + 1}"].inputs["labels"] == f"fuse_labels-{r}"


def test_the_best_round_is_chosen_among_all() -> None:
    """Each round enters with its labels, the segmenter trained on them, and its predictions of the validation split."""
    nodes = {node.name: node for node in build_dag(demo("deliver=best", "rounds=2", "dataset.test_split=test.txt"))}
    given = nodes["deliver_round"].inputs
    labels = ["mine_objects", "mask_nonsalient-1", "mask_nonsalient-2"]
    assert [given[f"labels_{r}"] for r in range(3)] == labels
    assert [given[f"model_{r}"] for r in range(3)] == [f"train_segmenter-{r}" for r in (1, 2, 3)]
    assert [given[f"shown_{r}"] for r in range(3)] == [f"predict_masks-{r}-val" for r in (1, 2, 3)]
    assert nodes["measure_labels-2"].inputs["labels"] == "deliver_round"
    assert nodes["predict_masks-3-test"].inputs["model"] == "deliver_round"


def test_from_the_third_on_a_segmenter_looks_at_the_rounds_before() -> None:
    """It gets the one before and what all so far predict, where the best round is delivered, and else nothing."""
    nodes = {node.name: node for node in build_dag(demo("deliver=best", "rounds=3", "round_choice.minimum_gain=0.01"))}
    for number in (1, 2, 3, 4):
        node, judged = nodes[f"train_segmenter-{number}"], range(number - 1) if number > 2 else ()
        expected = {f"shown_{r}": f"predict_masks-{r + 1}-val" for r in judged}
        expected |= {"before": f"train_segmenter-{number - 1}"} if judged else {}
        assert {name: node.inputs[name] for name in node.inputs if name not in ("dataset", "labels")} == expected
        assert node.arguments == ({"minimum_share": 0.01, "minimum_gain": 0.01} if judged else {})
    plain = {node.name: node for node in build_dag(demo("deliver=last", "rounds=3"))}
    assert plain["train_segmenter-4"].inputs.keys() == {"dataset", "labels"}


def test_rounds_are_compared_on_images_kept_aside_alone() -> None:
    """Without a validation split the best round cannot be known, which is said before the run."""
    with pytest.raises(ConfigError, match="set dataset.val_split, or deliver to 'last'"):
        demo("deliver=best", "dataset.val_split=null")


@pytest.mark.parametrize("variant", VARIANTS)
def test_only_measuring_reads_the_masks(variant: str) -> None:
    """Ground truth goes to evaluation and the report; labels and networks are made without it."""
    for node in build_dag(demo(*VARIANTS[variant])):
        if node.stage not in ("evaluate", "render_report", "index_masks"):
            assert "index_masks" not in node.inputs.values(), node.name
            assert not any("evaluate" in str(source) for source in node.inputs.values()), node.name
            assert all(not str(source).endswith("demo-data/masks") for source in node.inputs.values())


def test_without_masks_nothing_is_evaluated() -> None:
    """A dataset without masks has every stage but the measuring ones."""
    stages = all_stages("dataset.masks=null")
    assert stages == set(CATALOG) - {"evaluate", "index_masks"}


def test_the_test_split_is_predicted_by_the_last_segmenter_and_nothing_else() -> None:
    """Its images are an artifact of their own, which only a prediction and its CRF read; the list is a check."""
    nodes = {node.name: node for node in build_dag(demo("dataset.test_split=test.txt", "rounds=2"))}
    readers = {name for name, node in nodes.items() if "index_test" in node.inputs.values()}
    assert readers == {"predict_masks-3-test", "refine_masks-3-test"}
    assert nodes["predict_masks-3-test"].inputs["model"] == "train_segmenter-3"
    assert not [name for name, node in nodes.items() if readers & set(node.inputs.values()) - {"predict_masks-3-test"}]
    assert "predict_masks-3-test" not in nodes["render_report"].inputs.values()
    assert all("index_test" in node.after for node in nodes.values() if node.trains)
    assert nodes["index_dataset"].inputs["test_split"] == nodes["index_test"].inputs["test_split"]
    with pytest.raises(ConfigError, match="predicted by a segmenter, so it needs dataset.tags"):
        demo("dataset.test_split=test.txt", "dataset.tags=null", "dataset.masks=null")


def test_without_a_validation_split_nothing_is_predicted_on_it() -> None:
    """No node of the validation split is there without the split."""
    assert not [name for name in names(demo("dataset.val_split=null")) if name.endswith(("val", "val_crf"))]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (["saliency_set=null"], "needs saliency_set to train on, or saliency.checkpoint; without any masks, set"),
        (["saliency.targets=prior", "saliency.provider=folder", "saliency.maps=m"], "goes with provider 'reciprocal'"),
        (["saliency.targets=prior", "saliency.provider=prior"], "goes with provider 'reciprocal'"),
        (["saliency.targets=prior", "saliency.checkpoint=m"], "without a checkpoint"),
        (["saliency.targets=prior", "dataset.tags=null", "dataset.masks=null"], "so they need dataset.tags"),
        (["saliency.self_training_rounds=2"], "self_training_rounds 2 needs targets 'prior'"),
        (
            ["attention.start=classifier", "attention.backbone.name=tf_efficientnet_lite1"],
            "attention.start is 'classifier', whose backbone is 'tf_efficientnet_lite0', but",
        ),
        (
            ["segmenter.start=classifier", "segmenter.backbone.name=tf_efficientnet_lite1"],
            "name the same backbone, or set segmenter.start to 'backbone'",
        ),
        (["self_training.cam_background=0.5"], "cam_background 0.5 must not exceed cam_foreground 0.3"),
        (["self_training.saliency_foreground=0.05"], "saliency_background 0.1 must not exceed saliency_foreground"),
    ],
)
def test_settings_that_contradict_each_other_are_refused(changes: list[str], message: str) -> None:
    """Sources of saliency that exclude each other, and thresholds that cross, are named before the run."""
    with pytest.raises(ConfigError, match=re.escape(message)):
        demo(*changes)


@pytest.mark.parametrize("change", ["saliency.provider=prior", "saliency.checkpoint=model"])
def test_a_start_without_a_training_is_refused(change: str) -> None:
    """Where nothing is trained, a model to start from is refused with what it goes with."""
    with pytest.raises(ConfigError, match="start_from says where a training starts: it goes with provider"):
        demo(change, "saliency.start_from=other")


def test_the_purnet_network_is_trained_like_the_other() -> None:
    """Both networks have the same stages, and the maps are asked of the one that the settings name."""
    assert names(demo()) == names(demo("saliency.provider=purnet"))
    changed = hashed(demo("saliency.provider=purnet"))
    different = {name for name, content in hashed(demo()).items() if content != changed[name]}
    assert different == {"train_saliency", "predict_saliency"}


def test_a_segmenter_needs_the_classifier_only_to_start_from_it() -> None:
    """The classifier is an input of every segmenter that starts from it, and of no other."""
    for start, expected in (("classifier", {"train_classifier"}), ("backbone", {None})):
        nodes = build_dag(demo(f"segmenter.start={start}"))
        assert {n.inputs.get("classifier") for n in nodes if n.stage == "train_segmenter"} == expected


def test_a_segmenter_may_go_on_from_that_of_the_round_before() -> None:
    """Where the settings say so each reads the one before it; the first starts from the backbone's weights."""
    nodes = [n for n in build_dag(demo("segmenter.start=segmenter", "rounds=2")) if n.stage == "train_segmenter"]
    assert [node.inputs.get("segmenter") for node in nodes] == [None, "train_segmenter-1", "train_segmenter-2"]
    assert not any("segmenter" in n.inputs for n in build_dag(demo("rounds=2")) if n.stage == "train_segmenter")


def test_simple_images_come_first_in_the_first_round_alone() -> None:
    """The limit on tags is the first segmenter's; the later ones have the settings that they have without it."""
    limited, plain = (
        [n.config for n in build_dag(demo("rounds=2", *more)) if n.stage == "train_segmenter"]
        for more in (("segmenter.first_round_tags=1",), ())
    )
    assert limited[1:] == plain[1:] and limited[0] != plain[0]


def test_trainings_wait_for_all_checks() -> None:
    """No training starts before all data were looked at, and no segmenter before its labels were."""
    for node in build_dag(demo(GROUPS)):
        if node.stage.startswith("train"):
            assert {"index_dataset", "index_masks", "index_saliency_set"} <= set(node.upstream), node.name
        if node.stage == "train_segmenter":
            assert any(name.startswith("evaluate-labels") for name in node.after)


@pytest.mark.parametrize("provider", ["icnet", "gconet_plus"])
def test_a_group_system_is_there_only_where_it_is_chosen(provider: str) -> None:
    """Without a provider there is no trace of it; with one there are maps of both splits, mined only if asked."""
    assert not [name for name in names(demo()) if "cosaliency" in name or name in ("infer_cams-val",)]
    plain = {node.name: node for node in build_dag(demo(f"cosaliency.provider={provider}"))}
    mined = build_dag(demo(f"cosaliency.provider={provider}", "mining.class_conditional=true"))
    inputs = {node.name: node.inputs for node in mined}
    assert set(plain["train_cosaliency"].inputs) == {"dataset", "saliency", "cams"}
    assert inputs["predict_cosaliency-val"]["cams"] == "infer_cams-val"
    assert ("saliency" in inputs["predict_cosaliency"]) == (provider == "icnet")
    assert ("predict_saliency-val" in plain) == (provider == "icnet")
    assert inputs["mine_objects"]["cosaliency"] == "predict_cosaliency"
    assert "cosaliency" not in plain["mine_objects"].inputs
    assert {"evaluate-cosaliency", "evaluate-cosaliency_val"} <= plain.keys()
    with pytest.raises(ConfigError, match="class_conditional needs maps by tag"):
        demo("mining.class_conditional=true")
    with pytest.raises(ConfigError, match="what no tag's map shows; set background to 'complement'"):
        demo(f"cosaliency.provider={provider}", "mining.class_conditional=true", "mining.background=map")
    with pytest.raises(ConfigError, match="initial_labels is 'cam_refinement': set that to 'mining'"):
        demo(f"cosaliency.provider={provider}", "mining.class_conditional=true", "initial_labels=cam_refinement")
    with pytest.raises(ConfigError, match=f"'{provider}' makes groups of tags"):
        demo(f"cosaliency.provider={provider}", "dataset.tags=null", "dataset.masks=null")


def test_without_tags_only_saliency_is_made() -> None:
    """Images without tags are indexed and get saliency maps, and nothing that needs a class."""
    untagged = demo("dataset.tags=null", "dataset.masks=null")
    assert names(untagged) == {"index_dataset", "index_saliency_set", "train_saliency", "predict_saliency"}
    alone = demo("dataset.tags=null", "dataset.masks=null", "saliency.provider=prior", "saliency_set=null")
    assert names(alone) == {"index_dataset", "predict_prior"}


def test_masks_need_tags() -> None:
    """Masks are compared by class, so that without tags they are refused with a message that says why."""
    with pytest.raises(ConfigError, match=r"dataset.masks .* need dataset.tags"):
        demo("dataset.tags=null")


@pytest.mark.parametrize("variant", VARIANTS)
def test_stages_take_what_their_nodes_give(variant: str) -> None:
    """Settings, arguments and inputs of every node fit its stage, and none hides another in the key."""
    for node in build_dag(demo(*VARIANTS[variant], "dataset.test_split=test.txt")):
        run = importlib.import_module(f"tag2mask.tasks.{node.stage}").run
        signature = inspect.signature(run)
        signature.bind(node.config, Path("out"), None, **node.arguments, **node.inputs)
        assert isinstance(node.config, signature.parameters["config"].annotation), node.name
        assert not set(node.arguments) & set(type(node.config).model_fields), node.name
