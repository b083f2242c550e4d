"""Training of a saliency network that starts from a trained one."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tag2mask.configs.schema import Prediction, Saliency, SaliencySet
from tag2mask.tasks import index_saliency_set, predict_saliency, train_saliency
from tag2mask.tasks.networks.checkpoints import checkpoints
from tag2mask.tasks.networks.factory import read_state
from tag2mask.tasks.networks.model_folder import WeightsError, architecture_of_start, check_start
from tag2mask.tasks.store.files import read_json, write_json
from tag2mask.tasks.store.runtime import StageRuntime
from tests.tasks.drawn_files import files_of, save_image, save_mask
from tests.tasks.drawn_run import blocks, write_dataset

pytestmark = pytest.mark.usefixtures("one_thread")

COMMON: dict[str, Any] = {
    "backbone": {"name": "squeezenet1_1", "output_stride": 16},
    "channels": 8,
    "image_size": 64,
    "iterations": 2,
    "batch_size": 2,
}
NETWORKS: dict[str, dict[str, Any]] = {
    "reciprocal": {**COMMON, "provider": "reciprocal", "key_channels": 4},
    "purnet": {**COMMON, "provider": "purnet", "purnet": {"stages": [{"share": 1.0}]}},
}
STILL = {"learning_rate": 1e-30, "weight_decay": 0.0}
"""A training that moves nothing."""
FIRST = {"masks": "drawn squares", "shows_target_classes": "yes", "images": 3}
SECOND = {"masks": "masks of our own", "shows_target_classes": "no", "images": 2}


def saliency_set(folder: Path, count: int, about: dict[str, Any]) -> Path:
    """An indexed saliency set of drawn images."""
    for seed in range(count):
        save_image(folder / "raw/images" / f"s{seed}.png", seed, (48, 60))
        mask = np.zeros((48, 60), np.uint8)
        mask[10:30, 12 + seed : 40] = 255
        save_mask(folder / "raw/masks" / f"s{seed}.png", mask)
    reported = SaliencySet(root=folder, about=about["masks"], shows_target_classes=about["shows_target_classes"])
    raw = {"images": folder / "raw/images", "masks": folder / "raw/masks"}
    index_saliency_set.run(reported, folder / "set", StageRuntime(), **raw)
    return folder / "set"


@pytest.fixture(scope="module")
def sets(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """The masks of the first training, and those of the fine-tuning."""
    folder = tmp_path_factory.mktemp("sets")
    return saliency_set(folder / "first", 3, FIRST), saliency_set(folder / "second", 2, SECOND)


@pytest.fixture(scope="module")
def models(sets: tuple[Path, Path], tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Provider -> a model trained on the first masks."""
    folder = tmp_path_factory.mktemp("models")
    for provider, settings in NETWORKS.items():
        config = Saliency.model_validate(settings)
        train_saliency.run(config, folder / provider, StageRuntime(), saliency_set=sets[0])
    return {provider: folder / provider for provider in NETWORKS}


def fine_tuned(out: Path, provider: str, start: Path, pairs: Path, **changes: Any) -> Path:
    """A model whose training started from another one."""
    config = Saliency.model_validate({**NETWORKS[provider], "seed": 5, **changes})
    train_saliency.run(config, out, StageRuntime(), saliency_set=pairs, start=start)
    return out


@pytest.mark.parametrize("provider", NETWORKS)
def test_training_starts_from_the_model(
    provider: str, models: dict[str, Path], sets: tuple[Path, Path], tmp_path: Path
) -> None:
    """With a vanishing learning rate every parameter stays the first model's, although the seed is another."""
    still = fine_tuned(tmp_path / "still", provider, models[provider], sets[1], **STILL)
    moved = fine_tuned(tmp_path / "moved", provider, models[provider], sets[1])
    before, after, other = (read_state(folder / "model.pt") for folder in (models[provider], still, moved))
    learned = [name for name in before if not name.endswith(("running_mean", "running_var", "num_batches_tracked"))]
    assert all(torch.allclose(before[name], after[name], rtol=0, atol=1e-12) for name in learned)
    assert not all(torch.allclose(before[name], other[name], rtol=0, atol=1e-12) for name in learned)


def test_the_masks_of_all_trainings_are_reported(
    models: dict[str, Path], sets: tuple[Path, Path], tmp_path: Path
) -> None:
    """Model and maps list the masks of every training, the latest first, also over two fine-tunings."""
    once = fine_tuned(tmp_path / "once", "reciprocal", models["reciprocal"], sets[1])
    assert read_json(once / "provenance.json") == {**SECOND, "earlier": [FIRST]}
    twice = fine_tuned(tmp_path / "twice", "reciprocal", once, sets[1])
    assert read_json(twice / "provenance.json") == {**SECOND, "earlier": [SECOND, FIRST]}
    dataset = write_dataset(tmp_path / "data", ("cat",), blocks(3, 2, 1, size=(40, 56)))
    predict_saliency.run(Prediction(), tmp_path / "maps", StageRuntime(), dataset=dataset, model=twice)
    assert read_json(tmp_path / "maps/provenance.json") == read_json(twice / "provenance.json")
    seen = "masks of our own; before: masks of our own; before: drawn squares"
    assert read_json(tmp_path / "maps/metrics.json") == {"masks_seen": seen, "masks_show_target_classes": "yes"}


def test_a_fine_tuning_resumes_to_the_same_bytes(
    models: dict[str, Path], sets: tuple[Path, Path], tmp_path: Path
) -> None:
    """Interrupted after a step and run again, it gives the files of one that ran through."""
    start = models["reciprocal"]
    whole = fine_tuned(tmp_path / "whole", "reciprocal", start, sets[1])

    def interrupt(done: int, total: int, note: str) -> None:
        if done == 2:
            raise KeyboardInterrupt

    config = Saliency.model_validate({**NETWORKS["reciprocal"], "seed": 5})
    stopped = StageRuntime(checkpoint_seconds=0.0, report=interrupt)
    with pytest.raises(KeyboardInterrupt):
        train_saliency.run(config, tmp_path / "parts", stopped, saliency_set=sets[1], start=start)
    assert list(checkpoints(tmp_path / "parts/.resume"))
    fine_tuned(tmp_path / "parts", "reciprocal", start, sets[1])
    assert files_of(tmp_path / "parts") == files_of(whole)


MISFITS = [
    ("reciprocal", {"channels": 16}, "channels is 8 there and 16 here; .*--set saliency.channels=8"),
    ("reciprocal", {"key_channels": 8}, "key_channels is 4 there and 8 here"),
    ("reciprocal", {"attention": "literal"}, "attention is 'transposed' there and 'literal' here"),
    ("reciprocal", {"attention_strides": (16,)}, r"attention_strides is .*--set saliency.attention_strides=\[16,8\]"),
    ("reciprocal", {"detail": False}, "--set saliency.detail=true"),
    ("reciprocal", {"backbone": {"name": "resnet18", "output_stride": 16}}, "backbone.name is 'squeezenet1_1' there"),
    (
        "reciprocal",
        {"backbone": {"name": "squeezenet1_1", "output_stride": 8}, "attention_strides": (8,)},
        "backbone.output_stride is 16 there",
    ),
    ("purnet", {"purnet": {"rescale": True}, "iterations": 9}, "purnet.rescale is False there"),
]


@pytest.mark.parametrize(("provider", "changes", "message"), MISFITS)
def test_a_model_that_does_not_fit_is_refused(
    provider: str,
    changes: dict[str, Any],
    message: str,
    models: dict[str, Path],
    sets: tuple[Path, Path],
    tmp_path: Path,
) -> None:
    """The message names the file, both values and what to write; also where the weights alone would fit."""
    start = models[provider]
    config = Saliency.model_validate({**NETWORKS[provider], **changes, "start_from": start})
    with pytest.raises(WeightsError, match=f"{start}/model.json: .*{message}"):
        check_start(config)
    with pytest.raises(WeightsError, match=message):
        fine_tuned(tmp_path / "out", provider, start, sets[1], **changes)
    assert not (tmp_path / "out").exists()


def test_a_model_of_another_network_is_refused(models: dict[str, Path]) -> None:
    """Another provider is named alone, for its settings are those of another network; the same one passes."""
    other = Saliency.model_validate({**NETWORKS["purnet"], "start_from": models["reciprocal"]})
    with pytest.raises(WeightsError, match="provider is 'reciprocal' there and 'purnet' here; give"):
        check_start(other)
    for provider, settings in NETWORKS.items():
        check_start(Saliency.model_validate({**settings, "start_from": models[provider], "learning_rate": 0.5}))
        assert architecture_of_start(models[provider])["provider"] == provider


def test_a_damaged_model_folder_is_named(models: dict[str, Path], sets: tuple[Path, Path], tmp_path: Path) -> None:
    """A folder without weights, with unknown settings or with other weights than it says is refused by its file."""
    said = read_json(models["reciprocal"] / "model.json")
    config = Saliency.model_validate({**NETWORKS["reciprocal"], "start_from": tmp_path})
    with pytest.raises(WeightsError, match=f"{tmp_path}/model.json: cannot be read"):
        check_start(config)
    write_json(tmp_path / "model.json", said)
    with pytest.raises(WeightsError, match=f"{tmp_path}/model.pt: no such file"):
        check_start(config)
    (tmp_path / "model.pt").write_bytes((models["purnet"] / "model.pt").read_bytes())
    with pytest.raises(WeightsError, match=f"{tmp_path}/model.pt: does not fit the network"):
        fine_tuned(tmp_path / "out", "reciprocal", tmp_path, sets[1])
    write_json(tmp_path / "model.json", said | {"config": said["config"] | {"depth": 3}})
    with pytest.raises(
        WeightsError, match="model.json: unknown key 'depth'.*: the settings it was trained with do not"
    ):
        check_start(config)
