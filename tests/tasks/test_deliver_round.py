"""The round that is delivered: planted rounds of known worth, ties, and what it cannot compare."""

import csv
import json
from contextlib import nullcontext
from pathlib import Path

import numpy as np
import pytest

from tag2mask.configs.schema import RoundChoice, Segmenter
from tag2mask.tasks import deliver_round, train_segmenter
from tag2mask.tasks.metrics.tag_agreement import NothingKeptAside, best_round
from tag2mask.tasks.store.runtime import StageRuntime
from tag2mask.tasks.train_segmenter import NoLabels
from tests.tasks.drawn_run import Labels, blocks, write_dataset, write_label_maps
from tests.tasks.small_stages import SEGMENTER

CLASSES = ("ant", "bee", "cow")
ASIDE = ("p04", "p05", "p06", "p07")


def without_void(masks: Labels) -> Labels:
    """The masks with their void taken for background."""
    return {image_id: np.where(mask == 255, 0, mask).astype(np.uint8) for image_id, mask in masks.items()}


def swapped(masks: Labels, images: int) -> Labels:
    """Predictions in which some images show another class than they have."""
    wrong = list(masks)[:images]
    return {i: np.where(m > 0, m % 3 + 1, 0).astype(np.uint8) if i in wrong else m for i, m in masks.items()}


def planted(folder: Path, errors: tuple[int, ...]) -> dict[str, Path]:
    """Rounds whose segmenters are wrong on so many of the four images kept aside; their labels tell the round."""
    masks = without_void(blocks(3, 8, 3))
    given = {"dataset": write_dataset(folder / "dataset", CLASSES, masks, val=ASIDE)}
    aside = {image_id: masks[image_id] for image_id in ASIDE}
    for r, wrong in enumerate(errors):
        labels = {i: np.full_like(m, r + 1) for i, m in masks.items() if i not in ASIDE}
        given[f"labels_{r}"] = write_label_maps(folder / f"labels_{r}", "refine_cams", labels)
        given[f"shown_{r}"] = write_label_maps(folder / f"shown_{r}", "predict_masks", swapped(aside, wrong))
        given[f"model_{r}"] = folder / f"model_{r}"
        given[f"model_{r}"].mkdir()
        for name in ("model.pt", "model.json"):
            (given[f"model_{r}"] / name).write_text(f"{name} of {r}")
    return given


@pytest.mark.parametrize(
    ("errors", "best"), [((2, 0, 1), 1), ((0, 1, 2), 0), ((3, 2, 0), 2), ((1, 1, 1), 0), ((2, 1, 1), 1)]
)
def test_the_best_round_is_delivered(tmp_path: Path, errors: tuple[int, ...], best: int) -> None:
    """Labels and segmenter are those of the round with the fewest confusions, the earliest among equals."""
    given = planted(tmp_path, errors)
    deliver_round.run(RoundChoice(), tmp_path / "out", StageRuntime(), **given)
    for name in ("p00.png", "p03.png"):
        assert (tmp_path / "out" / name).read_bytes() == (given[f"labels_{best}"] / name).read_bytes()
    assert (tmp_path / "out" / "model.pt").read_text() == f"model.pt of {best}"
    metrics = json.loads((tmp_path / "out" / "metrics.json").read_text())
    assert (metrics["delivered_round"], metrics["last_round"]) == (best, len(errors) - 1)
    rows = list(csv.DictReader((tmp_path / "out" / "rounds.csv").open()))
    assert [float(row["tag_f1"]) == 1 for row in rows] == [wrong == 0 for wrong in errors]


def test_only_training_images_are_delivered(tmp_path: Path) -> None:
    """The images kept aside have no labels in the result."""
    deliver_round.run(RoundChoice(), tmp_path / "out", StageRuntime(), **planted(tmp_path, (1, 0)))
    assert sorted(path.stem for path in (tmp_path / "out").glob("*.png")) == ["p00", "p01", "p02", "p03"]


@pytest.mark.parametrize(("errors", "ends"), [((1, 2), True), ((1, 1), True), ((2, 1), False), ((2, 0, 1), True)])
def test_a_round_that_does_not_help_ends_the_iteration(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, errors: tuple[int, ...], ends: bool
) -> None:
    """The last segmenter is handed on byte for byte instead of a training, unless it is the best so far."""
    given, out = planted(tmp_path, errors), tmp_path / "out"
    before, labels = given[f"model_{len(errors) - 1}"], tmp_path / "ignored"
    for name in train_segmenter.WRITTEN:
        (before / name).write_text(name)
    write_label_maps(labels, "refine_cams", {f"p0{n}": np.full((48, 64), 255, np.uint8) for n in range(4)})
    out.mkdir()
    shown = {name: path for name, path in given.items() if name.startswith("shown_")}
    inputs = {"dataset": given["dataset"], "labels": labels, "before": before, **shown}
    with nullcontext() if ends else pytest.raises(NoLabels):  # it begins, and finds that there is nothing to learn
        train_segmenter.run(Segmenter.model_validate(SEGMENTER), out, StageRuntime(), **inputs)
    assert {path.name: path.read_text() for path in out.iterdir()} == (
        {name: name for name in train_segmenter.WRITTEN} if ends else {}
    )
    assert ("the last round did not help (tag F1 of the rounds: " in caplog.text) == ends


def test_a_gain_may_be_asked_of_a_later_round() -> None:
    """A later round must exceed the best before by more than the gain."""
    assert best_round([0.50, 0.52, 0.55], 0.0) == 2
    assert best_round([0.50, 0.52, 0.55], 0.03) == 2
    assert best_round([0.50, 0.52, 0.55], 0.05) == 0


def test_without_tags_aside_rounds_cannot_be_compared(tmp_path: Path) -> None:
    """A validation split whose images have no tag is named, and what to do."""
    given = planted(tmp_path, (0, 0))
    masks = without_void(blocks(3, 8, 3))
    untagged = {i: np.zeros_like(m) if i in ASIDE else m for i, m in masks.items()}
    given["dataset"] = write_dataset(tmp_path / "untagged", CLASSES, untagged, val=ASIDE)
    with pytest.raises(NothingKeptAside, match="none of the 4 images of the validation split has a tag"):
        deliver_round.run(RoundChoice(), tmp_path / "out", StageRuntime(), **given)
