"""Where a run has its saliency from, and who reads it."""

from pathlib import Path

import pytest

from tag2mask.flows.dag.build import build_dag
from tests.flows.dag.demo_dags import demo, names


@pytest.mark.parametrize(
    "changes",
    [["saliency.provider=folder", "saliency.maps=maps"], ["saliency.checkpoint=model"]],
    ids=["maps", "model"],
)
def test_brought_saliency_needs_no_training(changes: list[str]) -> None:
    """Ready maps, or a ready model, take the place of the saliency network's training."""
    config = demo(*changes, "saliency_set=null")
    assert not names(config) & {"train_saliency", "index_saliency_set"}
    source = next(node for node in build_dag(config) if node.stage == "predict_saliency").inputs
    assert [path.name for path in source.values() if isinstance(path, Path)] in (["maps"], ["model"])


def test_the_prior_takes_the_place_of_a_network() -> None:
    """With provider `prior` no saliency network is trained or used, and all that reads saliency reads the prior's."""
    config = demo("saliency.provider=prior", "saliency_set=null", "rounds=2")
    assert not names(config) & {
        "train_saliency",
        "index_saliency_set",
        "predict_saliency",
        "make_saliency_pseudo_labels-1",
    }
    nodes = {node.name: node for node in build_dag(config)}
    readers = {node.name: node.inputs["saliency"] for node in nodes.values() if "saliency" in node.inputs}
    assert readers == dict.fromkeys(
        ["mine_objects", "mask_nonsalient-1", "mask_nonsalient-2", "measure_labels-2", "measure_confidence-2"],
        "predict_prior",
    )
    assert nodes["evaluate-saliency"].inputs["subject"] == "predict_prior"


@pytest.mark.parametrize("rounds", [1, 2, 3])
def test_self_training_needs_no_masks(rounds: int) -> None:
    """Each round mines targets from the saliency before it and the CAMs; the last network's maps are those used."""
    changes = ["saliency.targets=prior", f"saliency.self_training_rounds={rounds}", "saliency_set=null"]
    nodes = {node.name: node for node in build_dag(demo(*changes))}
    assert not nodes.keys() & {"train_saliency", "index_saliency_set", "predict_saliency"}
    before = "predict_prior"
    for r in range(1, rounds + 1):
        mined, trained = nodes[f"make_saliency_pseudo_labels-{r}"], nodes[f"train_saliency-{r}"]
        assert dict(mined.inputs) == {"dataset": "index_dataset", "saliency": before, "cams": "infer_cams"}
        assert dict(trained.inputs) == {"dataset": "index_dataset", "targets": f"make_saliency_pseudo_labels-{r}"}
        before = f"predict_saliency-{r}"
        assert nodes[before].inputs["model"] == f"train_saliency-{r}"
    assert f"make_saliency_pseudo_labels-{rounds + 1}" not in nodes
    assert nodes["mine_objects"].inputs["saliency"] == nodes["mask_nonsalient-1"].inputs["saliency"] == before
    measured = [node.inputs["subject"] for node in nodes.values() if node.name.startswith("evaluate-saliency")]
    assert measured == [*(f"predict_saliency-{r}" for r in range(1, rounds)), before]
    assert nodes["evaluate-prior"].inputs["subject"] == "predict_prior"


@pytest.mark.parametrize(
    ("changes", "saliency"),
    [
        ([], "predict_saliency"),
        (["saliency.provider=prior"], "predict_prior"),
        (["saliency.targets=prior"], "predict_prior"),
    ],
    ids=["network", "prior", "self-training"],
)
def test_class_maps_may_learn_from_saliency(changes: list[str], saliency: str) -> None:
    """They read the run's saliency; where that is learned with their help, the prior."""
    changes = [*changes, "classifier.saliency_weight=1", *(["saliency_set=null"] if changes else [])]
    nodes = build_dag(demo(*changes))
    names_in_order = [node.name for node in nodes]
    assert next(node for node in nodes if node.name == "train_classifier").inputs["saliency"] == saliency
    assert names_in_order.index(saliency) < names_in_order.index("train_classifier")
    assert len(set(names_in_order)) == len(nodes)
