"""The staged schedule: which step belongs where, which images it sees and how fast it learns."""

from typing import Any

import pytest

from tag2mask.configs.schema import Saliency
from tag2mask.tasks.systems.purnet_schedule import StagedSchedule


def schedule(**settings: Any) -> StagedSchedule:
    """Three stages of 2, 4 and 4 steps with 4, 3 and 2 images."""
    stages = [
        {"share": 0.2, "attention": False, "structural_similarity": 1.0},
        {"share": 0.4, "batch_size": 3, "main_factor": 1.0},
        {"share": 0.4, "batch_size": 2, "structural_similarity": 0.5},
    ]
    own = {"stages": stages, **settings}
    return StagedSchedule(Saliency.model_validate({"provider": "purnet", "iterations": 10, "purnet": own}), power=0.9)


def test_every_step_sees_the_next_images() -> None:
    """Samples follow each other without a gap across the stages, as many a step as its stage says."""
    samples = [list(schedule().samples(step)) for step in range(10)]
    assert [len(step) for step in samples] == [4, 4, 3, 3, 3, 3, 2, 2, 2, 2]
    assert [sample for step in samples for sample in step] == list(range(28))


def test_every_step_has_its_stage() -> None:
    """Attention and superpixels are where the stages ask for them."""
    steps = schedule()
    assert [steps.at(step).stage.attention for step in range(10)] == [False] * 2 + [True] * 8
    assert [steps.compares_regions(step) for step in range(10)] == [True] * 2 + [False] * 4 + [True] * 4


@pytest.mark.parametrize("falling", ["all", "backbone"])
def test_learning_rates_start_anew_in_every_stage(falling: str) -> None:
    """The backbone's falls by the power within a stage, the others' too unless only the backbone's is to fall."""
    steps = schedule(falling=falling)
    backbone = [steps.factor(step, "backbone_weight") for step in range(10)]
    fall = [(1 - step / 4) ** 0.9 for step in range(4)]
    assert backbone == pytest.approx([1, 0.5**0.9, *fall, *fall])
    factors = [10] * 2 + [1] * 4 + [10] * 4
    held = [factor * (size if falling == "all" else 1) for factor, size in zip(factors, backbone, strict=True)]
    assert [steps.factor(step, "main_bias") for step in range(10)] == pytest.approx(held)
    for name in ("promotion_weight", "rectification_bias"):
        assert steps.factor(0, name) == steps.factor(2, name) == steps.factor(6, name) == 10
