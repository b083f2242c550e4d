"""Saliency without masks: the prior as a stage, targets where it agrees with the CAMs, a network trained on them."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tag2mask.configs.schema import Prediction, Prior, Saliency, SelfTraining
from tag2mask.tasks import make_saliency_pseudo_labels as make_saliency_pseudo_labels
from tag2mask.tasks import predict_prior, predict_saliency, train_saliency
from tag2mask.tasks.dataset.image_index import ImageIndex
from tag2mask.tasks.dataset.label_maps import read_gray, write_gray
from tag2mask.tasks.dataset.provenance import Provenance
from tag2mask.tasks.store.files import read_json
from tag2mask.tasks.store.runtime import StageRuntime
from tag2mask.tasks.systems import reciprocal
from tag2mask.tasks.training.pseudo_targets import UNKNOWN, NothingAgreed, agreed_source, agreed_target
from tag2mask.tasks.training.saliency_pairs import SaliencyPairs
from tests.tasks.drawn_files import files_of
from tests.tasks.drawn_run import Labels, blocks, maps_of, write_class_maps, write_dataset, write_saliency

CLASSES = ("cat", "dog")
NETWORK: dict[str, Any] = {
    "backbone": {"name": "squeezenet1_1", "output_stride": 16},
    "channels": 8,
    "key_channels": 4,
    "image_size": 64,
    "iterations": 5,
    "batch_size": 2,
    "targets": "prior",
}


class Interrupted(RuntimeError):
    """What a stage is interrupted with."""


def interrupted_after(step: int) -> StageRuntime:
    """Resources of a stage that is interrupted once it has reported a step."""

    def report(done: int, total: int, note: str) -> None:
        if done >= step:
            raise Interrupted

    return StageRuntime(shard=2, checkpoint_seconds=0.0, report=report)


def drawn(seed: int = 1, count: int = 5) -> Labels:
    """Masks of rectangles without void."""
    masks = blocks(seed, count, 2, size=(40, 56))
    return {image_id: np.where(mask == 255, 0, mask).astype(np.uint8) for image_id, mask in masks.items()}


def write_perfect_cams(folder: Path, masks: Labels) -> Path:
    """Class maps that are certain exactly where the masks have their class."""
    return write_class_maps(folder, "infer_cams", {image_id: maps_of(mask) for image_id, mask in masks.items()})


def test_targets_are_where_saliency_and_class_maps_agree() -> None:
    """Foreground needs both to be high, background both to be low, and all other pixels are unknown."""
    saliency = np.array([[255, 255, 0, 0, 100, 200]], np.uint8)
    cams = np.array([[[0.9, 0.0, 0.9, 0.0, 0.25, 0.1]], [[0.0, 0.1, 0.0, 0.1, 0.0, 0.31]]], np.float32)
    assert agreed_target(saliency, cams, SelfTraining()).tolist() == [[255, 128, 128, 0, 128, 255]]
    strict = SelfTraining(saliency_foreground=0.8, cam_foreground=0.35)
    assert agreed_target(saliency, cams, strict).tolist() == [[255, 128, 128, 0, 128, 128]]
    loose = SelfTraining(saliency_background=0.4, cam_background=0.3)
    assert agreed_target(saliency, cams, loose).tolist() == [[255, 128, 128, 0, 0, 255]]


@pytest.mark.parametrize("minimum", [0.01, 0.0])
def test_images_without_a_salient_pixel_teach_nothing(minimum: float) -> None:
    """Too little foreground makes all unknown, unless the rule is off; without a tag nothing can be salient."""
    target = agreed_target(
        np.zeros((4, 5), np.uint8), np.zeros((0, 4, 5), np.float32), SelfTraining(minimum_foreground=minimum)
    )
    assert np.unique(target).tolist() == ([UNKNOWN] if minimum else [0])


def test_mined_targets_report_their_shares(tmp_path: Path) -> None:
    """With saliency and CAMs that hold the truth the targets are the truth, but for images without an object."""
    masks = drawn()
    masks["p02"][:] = 0
    dataset, cams = write_dataset(tmp_path / "data", CLASSES, masks), write_perfect_cams(tmp_path / "cams", masks)
    saliency = write_saliency(tmp_path / "s", {i: (mask > 0) * np.uint8(255) for i, mask in masks.items()})
    make_saliency_pseudo_labels.run(
        SelfTraining(), tmp_path / "out", StageRuntime(), dataset=dataset, saliency=saliency, cams=cams
    )
    for image_id, mask in masks.items():
        expected = (mask > 0) * np.uint8(255) if image_id != "p02" else np.full_like(mask, UNKNOWN)
        np.testing.assert_array_equal(read_gray(tmp_path / "out" / f"{image_id}.png"), expected)
    metrics = read_json(tmp_path / "out" / "metrics.json")
    assert (metrics["images"], metrics["images_with_targets"]) == (5, 4)
    assert metrics["unknown_share"] == pytest.approx(1 / 5)
    assert sum(metrics[f"{name}_share"] for name in ("salient", "background", "unknown")) == pytest.approx(1)


def test_interrupted_mining_resumes_to_the_same_bytes(tmp_path: Path) -> None:
    """Targets and their shares are the same bytes wherever the mining was interrupted."""
    masks = drawn()
    given = {
        "dataset": write_dataset(tmp_path / "data", CLASSES, masks),
        "cams": write_perfect_cams(tmp_path / "cams", masks),
        "saliency": write_saliency(tmp_path / "s", {i: (mask > 0) * np.uint8(255) for i, mask in masks.items()}),
    }
    make_saliency_pseudo_labels.run(SelfTraining(), tmp_path / "whole", StageRuntime(shard=2), **given)
    with pytest.raises(Interrupted):
        make_saliency_pseudo_labels.run(SelfTraining(), tmp_path / "parts", interrupted_after(3), **given)
    make_saliency_pseudo_labels.run(SelfTraining(), tmp_path / "parts", StageRuntime(shard=2), **given)
    assert files_of(tmp_path / "parts") == files_of(tmp_path / "whole")


def test_saliency_and_class_maps_that_never_agree_are_refused(tmp_path: Path) -> None:
    """Where no image has a pixel to learn from, the message names the settings to lower."""
    masks = drawn()
    dataset, cams = write_dataset(tmp_path / "data", CLASSES, masks), write_perfect_cams(tmp_path / "cams", masks)
    saliency = write_saliency(tmp_path / "s", {i: (mask == 0) * np.uint8(255) for i, mask in masks.items()})
    given = {"dataset": dataset, "saliency": saliency, "cams": cams}
    with pytest.raises(NothingAgreed, match=r"no pixel of 5 images; lower self_training\.saliency_foreground"):
        make_saliency_pseudo_labels.run(SelfTraining(), tmp_path / "out", StageRuntime(), **given)


def test_saliency_of_another_size_is_refused(tmp_path: Path) -> None:
    """A saliency map that does not fit its image is named with both sizes."""
    masks = drawn()
    dataset, cams = write_dataset(tmp_path / "data", CLASSES, masks), write_perfect_cams(tmp_path / "cams", masks)
    saliency = write_saliency(tmp_path / "s", {image_id: np.zeros((3, 4), np.uint8) for image_id in masks})
    with pytest.raises(ValueError, match=r"p00\.png: is 4x3, its image 56x40"):
        make_saliency_pseudo_labels.run(
            SelfTraining(), tmp_path / "out", StageRuntime(), dataset=dataset, saliency=saliency, cams=cams
        )


def test_pairs_know_only_what_targets_know(tmp_path: Path) -> None:
    """A mirrored and rotated target is salient or background only where no unknown pixel has a share."""
    masks = drawn(count=3)
    dataset = write_dataset(tmp_path / "data", CLASSES, masks)
    for image_id in masks:
        target = np.full((40, 56), UNKNOWN, np.uint8)
        target[:, :14], target[:, 42:] = 0, 255
        write_gray(tmp_path / "targets" / f"{image_id}.png", target)
    write_gray(tmp_path / "targets" / "p01.png", np.full((40, 56), UNKNOWN, np.uint8))
    config, source = Saliency.model_validate(NETWORK | {"iterations": 4}), agreed_source(dataset, tmp_path / "targets")
    data = SaliencyPairs(source, config, lambda step: range(2 * step, 2 * step + 2), lambda step: False, tmp_path)
    assert len(data) == 2
    try:
        for step in range(4):
            images, salient, known = data.prefetch(step)
            assert images.shape == (2, 64, 64, 3) and salient.shape == known.shape == (2, 64, 64)
            assert set(np.unique(salient[known])) <= {0, 1, 254, 255}  # rotation rounds
            for number in range(2):
                assert 0.3 < known[number].mean() < 0.5
                assert 0.4 < (salient[number][known[number]] == 255).mean() < 0.6
                assert known[number][:, 20:44].mean() < 0.02
    finally:
        data.prefetch.close()


def test_unknown_pixels_enter_no_loss(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever stands in the mask where nothing is known, the trained network has the same bytes."""

    class Inverted(SaliencyPairs):
        """Pairs with the opposite of the mask wherever it is unknown."""

        def _load(self, step: int) -> tuple[np.ndarray, ...]:
            images, masks, known = super()._load(step)
            return images, np.where(known, masks, 255 - masks), known

    masks = drawn(count=2)
    dataset = write_dataset(tmp_path / "data", CLASSES, masks)
    config = Saliency.model_validate(NETWORK | {"iterations": 2})
    for image_id, mask in masks.items():
        target = np.where(mask > 0, 255, 0).astype(np.uint8)
        target[:, 28:] = UNKNOWN
        write_gray(tmp_path / "targets" / f"{image_id}.png", target)
    given = {"dataset": dataset, "targets": tmp_path / "targets"}
    train_saliency.run(config, tmp_path / "one", StageRuntime(), **given)
    monkeypatch.setattr(reciprocal, "SaliencyPairs", Inverted)
    train_saliency.run(config, tmp_path / "other", StageRuntime(), **given)
    assert files_of(tmp_path / "one") == files_of(tmp_path / "other")
    reported = read_json(tmp_path / "one" / "model.json")["config"]
    assert "targets" not in reported and "self_training_rounds" not in reported


def test_training_needs_something_to_learn_from(tmp_path: Path) -> None:
    """Neither masks nor targets is an error that names both."""
    with pytest.raises(ValueError, match="needs a saliency_set, or a dataset and targets"):
        train_saliency.run(Saliency.model_validate(NETWORK), tmp_path, StageRuntime())


@pytest.mark.parametrize("workers", [1, 2])
def test_prior_of_images_resumes_to_the_same_bytes(tmp_path: Path, workers: int) -> None:
    """Both maps of every image are there at its size, the same bytes after an interruption and from processes."""
    masks = drawn()
    dataset = write_dataset(tmp_path / "data", CLASSES, masks, val=("p04",))
    predict_prior.run(Prior(), tmp_path / "whole", StageRuntime(), dataset=dataset)
    with pytest.raises(Interrupted):
        predict_prior.run(Prior(), tmp_path / "parts", interrupted_after(3), dataset=dataset)
    predict_prior.run(Prior(), tmp_path / "parts", StageRuntime(shard=2, workers=workers), dataset=dataset)
    files = files_of(tmp_path / "whole")
    assert files == files_of(tmp_path / "parts")
    maps = {f"{kind}/p0{n}.png" for kind in ("saliency", "background") for n in range(4)}
    assert set(files) == {*maps, "provenance.json"}
    assert Provenance.read(tmp_path / "whole", otherwise="").images == 0
    for image_id in list(masks)[:4]:
        assert read_gray(tmp_path / "whole" / "saliency" / f"{image_id}.png").shape == (40, 56)


def test_prior_of_drawn_objects_finds_them(tmp_path: Path) -> None:
    """On flat grounds the prior of a rectangle of another color is high inside and low outside."""
    masks = drawn(seed=2, count=4)
    dataset = write_dataset(tmp_path / "data", CLASSES, masks)
    predict_prior.run(Prior(), tmp_path / "prior", StageRuntime(), dataset=dataset)
    for image_id, mask in masks.items():
        saliency = read_gray(tmp_path / "prior" / "saliency" / f"{image_id}.png")
        assert saliency[mask > 0].mean() > saliency[mask == 0].mean() + 120, image_id


def test_two_rounds_without_masks_run_through(tmp_path: Path) -> None:
    """From images and CAMs alone: prior, targets, a network, its maps, and targets of these maps."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    masks = drawn(seed=2, count=4)
    dataset, cams = write_dataset(tmp_path / "data", CLASSES, masks), write_perfect_cams(tmp_path / "cams", masks)
    saliency = tmp_path / "prior"
    predict_prior.run(Prior(), saliency, StageRuntime(), dataset=dataset)
    for number in (1, 2):
        targets, model = tmp_path / f"targets{number}", tmp_path / f"model{number}"
        config = SelfTraining(saliency_foreground=0.02, saliency_background=0.02)
        make_saliency_pseudo_labels.run(config, targets, StageRuntime(), dataset=dataset, saliency=saliency, cams=cams)
        settings = Saliency.model_validate(NETWORK | {"iterations": 30, "learning_rate": 1e-2})
        train_saliency.run(settings, model, StageRuntime(), dataset=dataset, targets=targets)
        saliency = tmp_path / f"saliency{number}"
        predict_saliency.run(Prediction(), saliency, StageRuntime(), dataset=dataset, model=model)
    torch.set_num_threads(threads)
    for record in ImageIndex.read(dataset):
        assert read_gray(saliency / "saliency" / f"{record.image_id}.png").shape == record.size
