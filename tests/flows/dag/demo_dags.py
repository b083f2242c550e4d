"""Variants of the demo's settings, and what the tests of the DAG ask of them."""

from collections.abc import Mapping
from typing import Any

from tag2mask.configs.schema import Config
from tag2mask.flows.dag.build import build_dag
from tests.flows.published_way import published

CHANGES = {
    "classifier": ("classifier.epochs=50", {"train_classifier"}),
    "cams": ("cams.flip=false", {"infer_cams"}),
    "attention": ("attention.epochs=30", {"train_attention"}),
    "attention_maps": ("attention_maps.flip=false", {"infer_attention"}),
    "prior": ("prior.superpixels=99", {"predict_prior"}),
    "self_training": ("self_training.cam_foreground=0.4", {"make_saliency_pseudo_labels"}),
    "saliency": ("saliency.iterations=7", {"train_saliency"}),
    "saliency_maps": ("saliency_maps.flip=true", {"predict_saliency"}),
    "cosaliency": ("cosaliency.iterations=7", {"train_cosaliency"}),
    "cosaliency_maps": ("cosaliency_maps.regroupings=7", {"predict_cosaliency"}),
    "mining": ("mining.foreground=0.35", {"mine_objects"}),
    "cam_refinement": ("cam_refinement.power=3", {"refine_cams"}),
    "fusion": ("fusion.trust=0.8", {"fuse_labels"}),
    "round_choice": ("round_choice.minimum_gain=0.1", {"deliver_round"}),
    "segmenter": ("segmenter.iterations=7", {"train_segmenter"}),
    "prediction": ("prediction.flip=false", {"predict_masks"}),
    "refinement": ("refinement.iterations=3", {"refine_masks"}),
    "masking": ("masking.dilation=31", {"mask_nonsalient"}),
    "measurement": ("measurement.saliency=100", {"measure_labels"}),
    "confidence": ("confidence.saliency=100", {"measure_confidence"}),
    "evaluation": ("evaluation.thresholds=7", {"evaluate"}),
    "report": ("report.images=3", {"render_report"}),
    "dataset": ("dataset.minimum_images=3", {"index_dataset"}),
    "saliency_set": ("saliency_set.on_bad_image=skip", {"index_saliency_set"}),
}

GROUPS = "cosaliency.provider=icnet"
"""Brings the stages of a group system, which the demo has not."""


def demo(*changes: str) -> Config:
    """The demo's settings in the published way, with changes."""
    return published(*changes)


VARIANTS: dict[str, list[str]] = {
    "default": [],
    "prior": ["saliency.provider=prior"],
    "refined class maps": ["initial_labels=cam_refinement"],
    "fused labels": ["next_labels=fusion"],
    "best round": ["deliver=best"],
    "groups": [GROUPS],
    "test split": ["dataset.test_split=test.txt"],
    "corrections": ["dataset.corrections=corrections"],
    "without masks": ["saliency.targets=prior", "saliency.self_training_rounds=2"],
}
"""Name -> changes of the demo's settings; together their runs have every stage."""


def all_stages(*changes: str) -> set[str]:
    """Stages of all variants of the demo's run."""
    return {node.stage for variant in VARIANTS.values() for node in build_dag(demo(*variant, *changes))}


def hashed(config: Config) -> dict[str, Mapping[str, Any]]:
    """Node -> what of its settings enters the key."""
    return {node.name: node.hashed for node in build_dag(config)}


def names(config: Config) -> set[str]:
    """Names of all nodes."""
    return {node.name for node in build_dag(config)}
