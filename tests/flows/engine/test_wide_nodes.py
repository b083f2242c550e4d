"""Which nodes get all cores of a run."""

import pytest

from tag2mask.flows.dag.build import build_dag
from tag2mask.flows.engine.budget import with_all_cores
from tests.flows.dag.demo_dags import VARIANTS, demo

BRANCHES = {
    "train_classifier",
    "infer_cams",
    "train_attention",
    "infer_attention",
    "train_saliency",
    "predict_saliency",
}
"""Stages of class maps and of saliency, which are branches of their own in the published way."""


def wide_stages(*changes: str) -> set[str]:
    """Stages of the nodes that get all cores."""
    nodes = build_dag(demo(*changes))
    names = with_all_cores(nodes)
    return {node.stage for node in nodes if node.name in names}


def test_two_branches_share_the_cores() -> None:
    """In the published way class maps and saliency know nothing of each other, and get half each; rounds get all."""
    wide = wide_stages()
    assert not wide & BRANCHES
    assert wide >= {"index_dataset", "mine_objects", "train_segmenter", "predict_masks", "refine_masks"}


def test_where_attention_learns_from_saliency_there_is_one_branch() -> None:
    """The attention model then waits for the saliency: it and its maps get all cores, since nothing else trains."""
    assert wide_stages("attention.saliency_weight=1") & BRANCHES == {"train_attention", "infer_attention"}


def test_saliency_without_a_training_leaves_one_branch() -> None:
    """Beside the prior, which no network makes, every training has all cores."""
    wide = wide_stages("saliency.provider=prior")
    assert wide & BRANCHES == {"train_classifier", "train_attention", "infer_attention"}


@pytest.mark.parametrize("variant", VARIANTS)
def test_trainings_beside_each_other_never_have_all_cores(variant: str) -> None:
    """Of two trainings of which neither waits for the other, none gets all cores but by the catalog."""
    nodes = build_dag(demo(*VARIANTS[variant]))
    wide, trainings = with_all_cores(nodes), [node for node in nodes if node.trains and node.stage != "train_segmenter"]
    waits = {node.name: _before(node.name, {one.name: one.upstream for one in nodes}) for node in nodes}
    for one in trainings:
        rivals = [
            o.name for o in trainings if o != one and o.name not in waits[one.name] and one.name not in waits[o.name]
        ]
        assert (one.name in wide) == (not rivals)


def _before(name: str, upstream: dict[str, tuple[str, ...]]) -> set[str]:
    """All nodes that a node waits for, found by walking back from it."""
    found: set[str] = set()
    walk = list(upstream[name])
    while walk:
        found.add(one := walk.pop())
        walk += upstream[one]
    return found
