"""The purnet network as a provider: trained on drawn pairs, applied, and distinguished from the other network."""

import io
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd
import pytest
import torch

from tag2mask.configs.schema import Prediction, Saliency, SaliencySet
from tag2mask.models.saliency.purnet import PurNet
from tag2mask.tasks import index_saliency_set, predict_saliency, train_saliency
from tag2mask.tasks.dataset.image_index import ImageIndex
from tag2mask.tasks.dataset.images import resize
from tag2mask.tasks.dataset.label_maps import read_gray
from tag2mask.tasks.networks.checkpoints import checkpoints
from tag2mask.tasks.networks.factory import load_for_inference
from tag2mask.tasks.networks.model_folder import WeightsError, saliency_settings
from tag2mask.tasks.networks.tensors import to_batch
from tag2mask.tasks.store.files import read_json, write_json
from tag2mask.tasks.store.runtime import StageRuntime
from tag2mask.tasks.systems.purnet import PURNET
from tag2mask.tasks.systems.purnet_schedule import StagedSchedule
from tag2mask.tasks.systems.registry import saliency_network
from tag2mask.tasks.training.saliency_pairs import SaliencyPairs, masked_source, superpixels
from tests.tasks.drawn_files import save_image, save_mask
from tests.tasks.drawn_run import blocks, write_dataset

pytestmark = pytest.mark.usefixtures("one_thread")

SETTINGS: dict[str, Any] = {
    "provider": "purnet",
    "backbone": {"name": "squeezenet1_1", "output_stride": 16},
    "channels": 8,
    "image_size": 64,
    "iterations": 4,
    "batch_size": 2,
    "purnet": {
        "superpixels": 20,
        "stages": [{"share": 0.25, "attention": False}, {"share": 0.75, "structural_similarity": 1.0}],
    },
}
REPORTED = {"masks": "drawn squares", "shows_target_classes": "no", "images": 4}


@pytest.fixture(scope="module")
def pairs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A saliency set of four drawn images."""
    folder = tmp_path_factory.mktemp("pairs")
    for seed, image_id in enumerate("abcd"):
        save_image(folder / "raw/images" / f"{image_id}.png", seed, (48, 60))
        mask = np.zeros((48, 60), np.uint8)
        mask[10:30, 12 + seed : 40] = 255
        save_mask(folder / "raw/masks" / f"{image_id}.png", mask)
    config = SaliencySet(root=folder, about="drawn squares", shows_target_classes="no")
    raw = {"images": folder / "raw/images", "masks": folder / "raw/masks"}
    index_saliency_set.run(config, folder / "set", StageRuntime(), **raw)
    return folder / "set"


@pytest.fixture(scope="module")
def model(pairs: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model folder after four steps."""
    out = tmp_path_factory.mktemp("model") / "model"
    train_saliency.run(Saliency.model_validate(SETTINGS), out, StageRuntime(), saliency_set=pairs)
    return out


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three images of two classes."""
    return write_dataset(tmp_path_factory.mktemp("data"), ("cat", "dog"), blocks(3, 3, 2, size=(40, 56)))


def network_of_checkpoint(folder: Path) -> dict[str, torch.Tensor]:
    """State of the network in the newest checkpoint."""
    content = next(content for _, content in checkpoints(folder))
    state: dict[str, torch.Tensor] = torch.load(io.BytesIO(content), weights_only=True)["network"]
    return state


def trained_parts(state: dict[str, torch.Tensor]) -> set[str]:
    """The parts of the network of which a parameter differs from its start."""
    config = Saliency.model_validate(SETTINGS)
    torch.manual_seed(config.seed)
    start = saliency_network(config)
    return {n.partition(".")[0] for n, parameter in start.named_parameters() if not torch.equal(parameter, state[n])}


def test_every_stage_trains_what_it_says(pairs: Path, tmp_path: Path) -> None:
    """Without attention only backbone and main subnetwork have moved, after the next stage every part has."""
    reached = []

    def look(done: int, total: int, note: str) -> None:
        if done == 2:  # the last checkpoint is that of the first step, which is the whole first stage
            reached.append(network_of_checkpoint(tmp_path / ".resume"))

    runtime = StageRuntime(checkpoint_seconds=0.0, report=look)
    train_saliency.run(Saliency.model_validate(SETTINGS), tmp_path, runtime, saliency_set=pairs)
    assert [trained_parts(state) for state in reached] == [{"backbone", "main"}]
    everything = {"backbone", "main", "promotion", "rectification"}
    assert trained_parts(torch.load(tmp_path / "model.pt", weights_only=True)) == everything


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_it_learns(pairs: Path, tmp_path: Path, precision: Literal["float32", "bfloat16"]) -> None:
    """On four images the loss falls, in either precision."""
    stages = {"superpixels": 20, "stages": [{"share": 1.0, "structural_similarity": 1.0}]}
    settings = {**SETTINGS, "iterations": 30, "rotation": 0.0, "purnet": stages}
    config = Saliency.model_validate({**settings, "learning_rate": 0.003})
    train_saliency.run(config, tmp_path, StageRuntime(precision=precision), saliency_set=pairs)
    losses = pd.read_csv(tmp_path / "losses.csv").loss
    assert losses[-5:].mean() < 0.8 * losses[:3].mean()


def test_superpixels_follow_colors_and_are_kept(pairs: Path, tmp_path: Path) -> None:
    """Superpixels do not cross a strong edge, and are made once an image and again only if damaged."""
    halves = np.zeros((40, 40, 3), np.uint8)
    halves[:, 19:] = 255
    regions = superpixels(halves, 16)
    assert regions.dtype == np.int32 and regions.min() == 0 and 6 <= regions.max() + 1 <= 30
    assert not set(np.unique(regions[:, :19])) & set(np.unique(regions[:, 19:]))
    config = Saliency.model_validate(SETTINGS)
    schedule = StagedSchedule(config, 0.9)

    def batches() -> list[tuple[np.ndarray, ...]]:
        data = SaliencyPairs(masked_source(pairs), config, schedule.samples, schedule.compares_regions, tmp_path)
        try:
            return [data.prefetch(step) for step in range(4)]
        finally:
            data.prefetch.close()

    first = batches()
    assert [len(batch) for batch in first] == [3, 4, 4, 4]
    kept = sorted((tmp_path / ".resume/superpixels").iterdir())
    assert [path.name for path in kept] == ["0", "1", "2", "3"]
    before = {path: path.read_bytes() for path in kept}
    kept[1].write_bytes(before[kept[1]][:90])
    kept[2].write_bytes(before[kept[2]][:-20] + b"\0" + before[kept[2]][-19:])
    for one, again in zip(first, batches(), strict=True):
        for part, same in zip(one, again, strict=True):
            np.testing.assert_array_equal(part, same)
    assert {path: path.read_bytes() for path in kept} == before
    border = ~first[1][2]
    assert border.any() and (first[1][3][border] >= first[1][3][~border].max()).all()


def test_maps_are_the_finest_prediction_and_its_complement(model: Path, dataset: Path, tmp_path: Path) -> None:
    """Saliency is the sigmoid of the final prediction at the image's size, and background what is left of 1."""
    given = {"provider": "purnet", "dataset": dataset, "model": model}
    predict_saliency.run(Prediction(batch_size=2), tmp_path, StageRuntime(), **given)
    network = saliency_network(saliency_settings(model))
    assert isinstance(network, PurNet)
    load_for_inference(model, network, "cpu")
    index = ImageIndex.read(dataset).split("train")
    for record in index:
        with torch.inference_mode():
            small = network(to_batch([resize(index.pixels(record), (64, 64))], "cpu")).sigmoid()
        large = torch.nn.functional.interpolate(small, record.size, mode="bilinear")[0, 0].numpy() * 255
        saliency, background = (read_gray(tmp_path / k / f"{record.image_id}.png") for k in ("saliency", "background"))
        assert np.abs(saliency - large).max() <= 0.51
        assert np.abs(saliency.astype(int) + background - 255).max() <= 1


def test_mirrored_images_are_averaged(model: Path) -> None:
    """With `flip` the maps of an image and of its mirror image are mirror images."""
    network = saliency_network(saliency_settings(model))
    load_for_inference(model, network, "cpu")
    images = torch.randn(2, 3, 64, 64)
    with torch.inference_mode():
        straight = predict_saliency.predict_maps(network, [images], system=PURNET, flip=True)
        mirrored = predict_saliency.predict_maps(network, [images.flip(3)], system=PURNET, flip=True)
    for one, other in zip(straight, mirrored, strict=True):
        torch.testing.assert_close(other.flip(3), one)


def test_the_other_network_is_refused(model: Path, dataset: Path, tmp_path: Path) -> None:
    """A model folder of another network than the settings name is refused with both names and the remedy."""
    given = {"provider": "reciprocal", "dataset": dataset, "model": model}
    with pytest.raises(WeightsError, match="is a 'purnet' saliency network, but the settings ask for 'reci"):
        predict_saliency.run(Prediction(), tmp_path / "out", StageRuntime(), **given)
    assert not (tmp_path / "out").exists()
    write_json(tmp_path / "model/model.json", read_json(model / "model.json") | {"config": {"channels": 8}})
    (tmp_path / "model/model.pt").write_bytes((model / "model.pt").read_bytes())
    with pytest.raises(WeightsError, match="does not fit the network"):
        predict_saliency.run(Prediction(), tmp_path / "out", StageRuntime(), dataset=dataset, model=tmp_path / "model")


def test_which_masks_were_seen_is_handed_on(model: Path, dataset: Path, tmp_path: Path) -> None:
    """Model and maps say which masks they come from; a model without a word, and the user's maps, are unknown."""
    assert read_json(model / "provenance.json") == REPORTED
    predict_saliency.run(Prediction(), tmp_path / "one", StageRuntime(), dataset=dataset, model=model)
    assert read_json(tmp_path / "one/provenance.json") == REPORTED
    short = {"masks_seen": "drawn squares", "masks_show_target_classes": "no"}
    assert read_json(tmp_path / "one/metrics.json") == short
    (tmp_path / "silent").mkdir()
    for name in ("model.pt", "model.json"):
        (tmp_path / "silent" / name).write_bytes((model / name).read_bytes())
    predict_saliency.run(Prediction(), tmp_path / "two", StageRuntime(), dataset=dataset, model=tmp_path / "silent")
    assert read_json(tmp_path / "two/provenance.json")["shows_target_classes"] == "unknown"
    maps = tmp_path / "one/saliency"
    predict_saliency.run(Prediction(), tmp_path / "three", StageRuntime(), dataset=dataset, maps=maps)
    unknown = {"masks": "the user's maps: unknown", "shows_target_classes": "unknown", "images": None}
    assert read_json(tmp_path / "three/provenance.json") == unknown
