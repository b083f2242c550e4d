"""Maps by tag: as the whole group at once gives them, resumed to the same bytes, gated by CAMs."""

import logging
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from tag2mask.configs.schema import CosaliencyMaps
from tag2mask.models.cosaliency.icnet import ICNet
from tag2mask.tasks import predict_cosaliency
from tag2mask.tasks.dataset.image_index import ImageIndex
from tag2mask.tasks.networks.factory import load_for_inference
from tag2mask.tasks.networks.tensors import to_batch
from tag2mask.tasks.store.files import read_json
from tag2mask.tasks.store.runtime import StageRuntime
from tag2mask.tasks.systems.registry import cosaliency_network
from tests.tasks.cosaliency_inputs import PROVIDERS, maps_below, model_folder, settings, write_inputs
from tests.tasks.drawn_files import files_of
from tests.tasks.interruption import Interrupted, interrupted_after

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Ten images of three classes, with certain saliency and CAM."""
    return write_inputs(tmp_path_factory.mktemp("inputs"))


@pytest.mark.parametrize("provider", PROVIDERS)
def test_maps_equal_the_whole_group_at_once(tmp_path: Path, inputs: dict[str, Path], provider: str) -> None:
    """Where all images of a tag are references, the streamed maps are those of one forward pass over the group."""
    model = model_folder(tmp_path / "model", provider)
    config = CosaliencyMaps(references=99, gate=0.0)
    predict_cosaliency.run(config, tmp_path / "out", StageRuntime(), model=model, **inputs)
    found = maps_below(tmp_path / "out")
    index = ImageIndex.read(inputs["dataset"]).split("train")
    assert set(found) == {f"{number}/{record.image_id}" for record in index for number in record.tags}
    network = cosaliency_network(settings(provider))
    load_for_inference(model, network, "cpu")
    for number in (1, 2, 3):
        group = [record for record in index if number in record.tags]
        pixels = [np.array(Image.fromarray(index.pixels(r)).resize((64, 64), Image.Resampling.BILINEAR)) for r in group]
        gray = [Image.open(inputs["saliency"] / "saliency" / f"{r.image_id}.png").resize((64, 64), 2) for r in group]
        saliency = torch.stack([torch.from_numpy(np.array(one)) for one in gray])[:, None] / 255
        with torch.inference_mode():
            images = to_batch(pixels, "cpu")
            maps = network(images, saliency)[-1] if isinstance(network, ICNet) else network(images).soft
        large = torch.nn.functional.interpolate(maps, size=(48, 72), mode="bilinear")
        for record, expected in zip(group, large[:, 0].numpy() * 255, strict=True):
            assert np.abs(found[f"{number}/{record.image_id}"] - expected).max() < 0.6
    assert max(one.std() for one in found.values()) > 1


@pytest.mark.parametrize("provider", PROVIDERS)
def test_interrupted_inference_resumes_to_the_same_bytes(
    tmp_path: Path, inputs: dict[str, Path], provider: str
) -> None:
    """Wherever the inference stops, its maps are the same bytes, and finished ones are not made again."""
    given = {**inputs, "model": model_folder(tmp_path / "model", provider)}
    config = CosaliencyMaps(references=1, regroupings=2, seed=3)
    predict_cosaliency.run(config, tmp_path / "whole", StageRuntime(shard=3), **given)
    with pytest.raises(Interrupted):
        predict_cosaliency.run(config, tmp_path / "parts", interrupted_after(4, shard=3), **given)
    predict_cosaliency.run(config, tmp_path / "parts", StageRuntime(shard=2), **given)
    assert files_of(tmp_path / "parts") == files_of(tmp_path / "whole")


def test_regroupings_are_averaged(tmp_path: Path, inputs: dict[str, Path]) -> None:
    """The map of several regroupings is the mean of those of each set of references."""
    index = ImageIndex.read(inputs["dataset"]).split("train")
    model = model_folder(tmp_path / "model", "icnet")
    network = cosaliency_network(settings("icnet"))
    load_for_inference(model, network, "cpu")
    config = CosaliencyMaps(references=1, regroupings=6)
    groups = predict_cosaliency.Groups(network, index, config, side=64, saliency=inputs["saliency"], device="cpu")
    number = max(groups.references, key=lambda one: len(groups.references[one]))
    record = next(record for record in index if number in record.tags)
    assert len(groups.references[number]) > 1
    with torch.inference_mode():
        whole = groups.maps(record, "soft")[number]
        sides, saliency = groups.prepare(record)
        ones = [network.maps(sides, saliency, one, (64, 64))[0] for one in groups.agreed(number)]
    torch.testing.assert_close(whole, torch.stack(ones).mean(0))
    assert (ones[0] - ones[1]).abs().max() > 1e-4


def test_the_gate_keeps_a_map_where_the_cam_is_and_hard_maps_are_masks(tmp_path: Path, inputs: dict[str, Path]) -> None:
    """Where the CAM reaches the gate a map is untouched, where it is 0 the map is; a hard map has two values."""
    model = model_folder(tmp_path / "model", "gconet_plus")
    given = {**inputs, "model": model}
    for name, gate in (("open", 0.0), ("gated", 0.5)):
        config = CosaliencyMaps(gate=gate, references=99)
        predict_cosaliency.run(config, tmp_path / name, StageRuntime(), **given)
    plain, gated = maps_below(tmp_path / "open"), maps_below(tmp_path / "gated")
    for pair, one in gated.items():
        with np.load(inputs["cams"] / f"{pair.split('/')[1]}.npz") as archive:
            cam = archive["maps"][archive["numbers"].tolist().index(int(pair.split("/")[0]))]
        assert np.array_equal(one, np.where(cam == 255, plain[pair], 0))
    config = CosaliencyMaps(gate=0.0, map="hard", references=99)
    predict_cosaliency.run(config, tmp_path / "hard", StageRuntime(), dataset=inputs["dataset"], model=model)
    hard = maps_below(tmp_path / "hard")
    values = np.concatenate([one.ravel() for one in hard.values()])
    assert ((values < 3) | (values > 252)).mean() > 0.5
    for pair, soft in plain.items():  # on the same side of a half, but for the borders, which enlarging softens
        certain = np.abs(soft.astype(int) - 128) > 26
        assert np.mean((hard[pair] > 127)[certain] == (soft > 127)[certain]) > 0.9


def test_validation_has_groups_of_its_own_and_one_image_is_a_group(
    tmp_path: Path, inputs: dict[str, Path], caplog: pytest.LogCaptureFixture
) -> None:
    """On the validation split groups are made of its images alone, a single one included."""
    model = model_folder(tmp_path / "model", "icnet")
    with caplog.at_level(logging.WARNING, "tag2mask"):
        predict_cosaliency.run(CosaliencyMaps(), tmp_path / "out", StageRuntime(), split="val", model=model, **inputs)
    index = ImageIndex.read(inputs["dataset"]).split("val")
    assert set(maps_below(tmp_path / "out")) == {f"{n}/{r.image_id}" for r in index for n in r.tags}
    references = read_json(tmp_path / "out" / "metrics.json")["references"]
    assert [1] in references.values()
    never = {name for name, share in read_json(tmp_path / "out" / "metrics.json")["alone_share"].items() if not share}
    assert all(name in caplog.text for name in never)


def test_missing_inputs_are_reported(tmp_path: Path, inputs: dict[str, Path]) -> None:
    """Saliency for ICNet and class maps for the gate are asked for before anything is done, by the ids without."""
    model = model_folder(tmp_path / "model", "icnet")
    given = {"dataset": inputs["dataset"], "model": model}
    with pytest.raises(ValueError, match="icnet needs single-image saliency"):
        predict_cosaliency.run(CosaliencyMaps(), tmp_path / "out", StageRuntime(), **given, cams=inputs["cams"])
    with pytest.raises(ValueError, match="gate 0.2 needs class maps; 0 is no gate"):
        predict_cosaliency.run(CosaliencyMaps(), tmp_path / "out", StageRuntime(), **given, saliency=inputs["saliency"])
    few = tmp_path / "few"
    shutil.copytree(inputs["cams"], few)
    (few / "p02.npz").unlink()
    with pytest.raises(predict_cosaliency.MissingMaps, match="1 of 7 images have no <id>.npz: p02"):
        predict_cosaliency.run(
            CosaliencyMaps(), tmp_path / "out", StageRuntime(), **given, cams=few, saliency=inputs["saliency"]
        )
