"""Mining with more evidence than one saliency map: a background map, saliency by class; and what is refused."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tag2mask.configs.schema import Mining
from tag2mask.tasks.dataset.label_maps import read_labels, write_gray
from tag2mask.tasks.mine_objects import run
from tag2mask.tasks.store.runtime import StageRuntime
from tests.tasks.drawn_run import write_class_maps, write_dataset, write_saliency
from tests.tasks.mining_cases import maps, mine_labels, mined, numbers


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"saliency": np.zeros((4, 6), np.float32)}, r"saliency must be \(H, W\) uint8"),
        ({"attention": np.zeros((1, 4, 6), np.uint8)}, r"attention has shape \(1, 4, 6\).*need \(2, 4, 6\)"),
        ({"cams": np.zeros((2, 4, 5), np.uint8)}, r"cams has shape \(2, 4, 5\).*need \(2, 4, 6\)"),
        ({"cams": np.zeros((2, 4, 6), np.float32)}, r"cams has type float32; maps are 8-bit \(round 255 times"),
        ({"classes": np.array([3, 3], np.uint8)}, r"different numbers from 1 to 254, not \[3, 3\]"),
        ({"classes": np.array([0, 3], np.uint8)}, r"different numbers from 1 to 254, not \[0, 3\]"),
        ({"classes": np.array([3, 5])}, r"classes must be \(K,\) uint8"),
    ],
)
def test_wrong_input_is_refused(change: dict[str, np.ndarray], message: str) -> None:
    """Inputs that do not fit are named, with the right form beside them."""
    inputs: dict[str, Any] = {
        "saliency": np.zeros((4, 6), np.uint8),
        "attention": np.zeros((2, 4, 6), np.uint8),
        "cams": np.zeros((2, 4, 6), np.uint8),
        "classes": numbers(3, 5),
        **change,
    }
    with pytest.raises(ValueError, match=message):
        mine_labels(**inputs)


def test_a_background_map_takes_the_place_of_the_complement() -> None:
    """Its complement gives the published labels, and a map of its own decides where the saliency does not."""
    rng = np.random.default_rng(3)
    for _ in range(20):
        given = (rng.integers(0, 256, (5, 6), np.uint8), *(rng.integers(0, 256, (2, 5, 6), np.uint8) for _ in range(2)))
        plain = mine_labels(*given, numbers(4, 2))
        assert np.array_equal(mine_labels(*given, numbers(4, 2), background=255 - given[0]), plain)
    attention = maps([0.0, 0.5, 0.5, 1.0])
    background = np.array([[255, 200, 100, 0]], np.uint8)
    assert mined([0, 128, 128, 255], attention, attention, numbers(7))[1:3] == [7, 7]
    assert mined([0, 128, 128, 255], attention, attention, numbers(7), background=background)[1:3] == [255, 7]
    with pytest.raises(ValueError, match=r"background must be \(1, 4\) uint8, not \(1, 3\) uint8"):
        mined([0, 128, 128, 255], attention, attention, numbers(7), background=background[:, :3])


def test_the_stage_reads_the_background_map_where_the_settings_say_so(tmp_path: Path) -> None:
    """The file in `background` decides with `background: map`, and changes nothing without."""
    mask = np.zeros((8, 10), np.uint8)
    mask[:, 5:] = 1
    evidence = np.where(mask, 255, 0).astype(np.uint8)
    given = {
        "dataset": write_dataset(tmp_path / "dataset", ("cat",), {"p": mask}),
        "saliency": write_saliency(tmp_path / "saliency", {"p": evidence}),
        "attention": write_class_maps(tmp_path / "attention", "infer_attention", {"p": (evidence[None], [1])}),
        "cams": write_class_maps(tmp_path / "cams", "infer_cams", {"p": (evidence[None], [1])}),
    }
    write_gray(tmp_path / "saliency" / "background" / "p.png", np.full_like(mask, 255))
    for background, expected in (("complement", mask), ("map", np.full_like(mask, 255))):
        config = Mining.model_validate({"background": background, "minimum_foreground": 0.0})
        run(config, tmp_path / background, StageRuntime(), **given)
        found = read_labels(tmp_path / background / "p.png")
        assert np.array_equal(found[:, 5:], expected[:, 5:]) and not found[:, :5].any()


def test_class_saliency_is_the_evidence_of_its_class_and_the_background_of_none() -> None:
    """Planted: each class wins where attention and its own map agree, and what no map shows is background."""
    #                           class 3 | class 7 | attention alone | map of 3 without attention | nothing
    by_class = np.array([[[255, 0, 0, 255, 0]], [[0, 255, 0, 0, 0]]], np.uint8)
    attention = maps([1.0, 0.0, 0.6, 0.0, 0.0], [0.0, 1.0, 0.6, 0.0, 0.0])
    cams = maps([0.9, 0.0, 0.0, 0.0, 0.0], [0.0, 0.9, 0.0, 0.0, 0.0])
    found = mined([0, 0, 0, 0, 0], attention, cams, numbers(3, 7), class_saliency=by_class)
    assert found == [3, 7, 0, 255, 0]
    turned = mined([9, 9, 9, 9, 9], attention[::-1], cams[::-1], numbers(7, 3), class_saliency=by_class[::-1])
    assert turned == found


def test_class_saliency_settles_what_attention_leaves_open() -> None:
    """Two classes of equal attention are distinguished by their maps, and conflict where both are certain."""
    attention, cams = maps([1.0, 1.0, 1.0, 0.0], [1.0, 1.0, 1.0, 0.0]), maps([0.0] * 4, [0.0] * 4)
    by_class = np.array([[[255, 30, 255, 0]], [[30, 255, 255, 0]]], np.uint8)
    assert mined([255] * 4, attention, cams, numbers(1, 2), class_saliency=by_class) == [1, 2, 255, 0]
    assert mined([255] * 4, attention, cams, numbers(1, 2))[:2] == [255, 255]


def test_a_certain_class_saliency_of_all_ones_is_the_plain_rule() -> None:
    """Where every class's map is the plain one and attention lies inside of it, both ways agree."""
    rng = np.random.default_rng(5)
    for _ in range(40):
        inside = rng.random((6, 7)) > 0.4
        saliency = np.where(inside, 255, 0).astype(np.uint8)
        attention = np.where(inside, rng.integers(0, 256, (2, 6, 7)), 0).astype(np.uint8)
        attention[:, 0, 0], attention[:, 0, 1], saliency[0, :2] = 0, 255, (0, 255)
        cams = rng.integers(0, 256, (2, 6, 7)).astype(np.uint8)
        by_class = np.stack([saliency, saliency])
        plain = mine_labels(saliency, attention, cams, numbers(4, 2))
        assert np.array_equal(mine_labels(saliency, attention, cams, numbers(4, 2), class_saliency=by_class), plain)


def test_class_saliency_that_does_not_fit_is_refused() -> None:
    """The message names the shape given and the right one."""
    given = (np.zeros((1, 4), np.uint8), maps([0.0] * 4), maps([0.0] * 4), numbers(1))
    with pytest.raises(ValueError, match=r"class_saliency is \(2, 1, 4\) uint8; 1 classes .* need \(1, 1, 4\) uint8"):
        mine_labels(*given, class_saliency=np.zeros((2, 1, 4), np.uint8))
    with pytest.raises(ValueError, match="float64"):
        mine_labels(*given, class_saliency=np.zeros((1, 1, 4)))
