"""Figures of maps by (image, tag), worked out by hand."""

from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from tag2mask.tasks.dataset.label_maps import write_gray
from tag2mask.tasks.metrics.cosaliency_protocol import CosaliencyProtocol
from tag2mask.tasks.store.files import read_json
from tests.tasks.drawn_run import Labels, evaluated, write_dataset, write_masks

CLASSES = ("cat", "dog")


def drawn_masks() -> Labels:
    """Image a shows both classes and a void pixel, b the first alone, c nothing but void."""
    return {
        "a": np.array([[1, 1, 2, 255]], np.uint8),
        "b": np.array([[1, 0, 0, 0]], np.uint8),
        "c": np.array([[255, 255, 255, 255]], np.uint8),
    }


def score(folder: Path, maps: dict[str, list[int]]) -> dict[str, Any]:
    masks = drawn_masks()
    dataset, truth = write_dataset(folder / "data", CLASSES, masks), write_masks(folder / "masks", masks)
    for pair, row in maps.items():
        write_gray(folder / "maps" / "cosaliency" / f"{pair}.png", np.array([row], np.uint8))
    out = evaluated(folder / "out", dataset, truth, folder / "maps", "cosaliency")
    scores: dict[str, Any] = read_json(out / "scores.json")
    return scores


def test_each_pair_is_measured_against_its_own_class(tmp_path: Path) -> None:
    """The other class's object counts as background, void not at all, and a tag's mean counts as much as another's."""
    scores = score(tmp_path, {"1/a": [255, 255, 0, 255], "2/a": [255, 0, 255, 255], "1/b": [255, 0, 0, 255]})
    rows = {row["class"]: row for row in scores["per_class"]}
    assert rows["cat"]["pairs"] == 2 and rows["dog"]["pairs"] == 1
    assert rows["cat"]["mae"] == pytest.approx((0 + 1 / 4) / 2)
    assert rows["dog"]["mae"] == pytest.approx(1 / 3)
    assert scores["summary"]["mae"] == pytest.approx((0 + 1 / 4 + 1 / 3) / 3)
    assert scores["summary"]["group_mae"] == pytest.approx((1 / 8 + 1 / 3) / 2)
    f = 1.3 * 0.5 * 1 / (0.3 * 0.5 + 1)  # precision 1/2, recall 1
    assert scores["summary"]["max_f"] == pytest.approx((1 + f + f) / 3)
    assert scores["images"] == 2 and scores["pairs"] == 3
    table = pd.read_csv(tmp_path / "out" / "per_image.csv")
    assert table[["image_id", "class"]].to_numpy().tolist() == [["a", "cat"], ["b", "cat"], ["a", "dog"]]


def test_pairs_have_every_measure_of_saliency(tmp_path: Path) -> None:
    """The figures over all pairs, of each tag and as means over the tags are those of single-image saliency."""
    scores = score(tmp_path, {"1/a": [255, 255, 0, 255], "2/a": [0, 0, 255, 9], "1/b": [255, 0, 0, 0]})
    best = {"mae": 0, "s_measure": 1, "max_f": 1, "adaptive_f": 1, "weighted_f": 1}
    assert {name: scores["summary"][name] for name in best} == pytest.approx(best, abs=2e-3)
    names = {*best, "max_e", "mean_e", "adaptive_e", "mean_f"}
    by_protocol = {f"protocol_{name}" for name in ("mae", "s_measure", "max_e", "mean_e", "max_f", "mean_f")}
    assert scores["summary"].keys() == names | {f"group_{name}" for name in names} | by_protocol
    for row in scores["per_class"]:
        assert names < row.keys() and row["s_measure"] == pytest.approx(1, abs=2e-3)


def test_groups_are_measured_by_the_protocol_too(tmp_path: Path) -> None:
    """Its figures are of all pairs and, in per_group.csv, of each tag's, of stretched maps, void pixels left out."""
    maps = {"1/a": [100, 100, 0, 255], "2/a": [0, 255, 255, 0], "1/b": [255, 0, 0, 255]}
    scores = score(tmp_path, maps)
    table = pd.read_csv(tmp_path / "out" / "per_group.csv").set_index("group")
    assert table[["images", "empty_targets"]].to_numpy().tolist() == [[2, 0], [1, 0]]
    f = 1.3 * 0.5 * 1 / (0.3 * 0.5 + 1)  # precision 1/2, recall 1
    assert table.max_f.tolist() == pytest.approx([(1 + f) / 2, f])  # 100 above 0 is perfect once stretched
    errors = [((1 - 100 / 255) * 2 / 3 + 1 / 4) / 2, 1 / 3]
    assert table.mae.tolist() == pytest.approx(errors)
    expected = CosaliencyProtocol({"cat": ["a", "b"], "dog": ["a"]})
    for pair, row in maps.items():
        number, image_id = pair.split("/")
        target = drawn_masks()[image_id]
        expected.step(
            CLASSES[int(number) - 1], image_id, np.array([row], np.uint8), target == int(number), target != 255
        )
    whole, groups = asdict(expected.result().images), scores["protocol_of_groups"]
    for name in ("mae", "s_measure", "max_e", "mean_e", "max_f", "mean_f"):
        assert scores["summary"][f"protocol_{name}"] == pytest.approx(whole[name])
        assert groups[name] == pytest.approx(table[name].mean())
    assert whole["mae"] == pytest.approx(sum([2 * errors[0], errors[1]]) / 3) != pytest.approx(groups["mae"])
    assert "Void pixels (255 in the masks) are left out" in scores["note"]


def test_missing_and_unfit_maps_are_named(tmp_path: Path) -> None:
    """A pair without its map, or with one of another size, ends the evaluation with its name."""
    with pytest.raises(ValueError, match=r"1 of 3 images with masks have no cosaliency/<id>.png: 2/a"):
        score(tmp_path / "one", {"1/a": [0] * 4, "1/b": [0] * 4})
    with pytest.raises(ValueError, match=r"cosaliency.2.a.png: the saliency map has shape \(1, 3\), the mask \(1, 4\)"):
        score(tmp_path / "two", {"1/a": [0] * 4, "1/b": [0] * 4, "2/a": [0] * 3})
