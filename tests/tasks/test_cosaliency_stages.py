"""Training and inference of the group systems on a small drawn set."""

import logging
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from tag2mask.configs.schema import Cosaliency, CosaliencyMaps
from tag2mask.models.cosaliency.icnet import ICNet
from tag2mask.tasks import predict_cosaliency, train_cosaliency
from tag2mask.tasks.dataset.image_index import ImageIndex
from tag2mask.tasks.dataset.ingest import BadDataset
from tag2mask.tasks.dataset.label_maps import read_gray
from tag2mask.tasks.dataset.provenance import Provenance
from tag2mask.tasks.groups.batches import NoTargets
from tag2mask.tasks.networks.factory import load_for_inference, load_model, save_model
from tag2mask.tasks.networks.tensors import to_batch
from tag2mask.tasks.store.files import read_json
from tag2mask.tasks.store.runtime import StageRuntime
from tag2mask.tasks.systems.registry import cosaliency_network
from tests.tasks.drawn_files import files_of, save_image, save_mask
from tests.tasks.drawn_run import blocks, maps_of, write_class_maps, write_dataset, write_saliency
from tests.tasks.interruption import Interrupted, check_resumed, interrupted_after

pytestmark = pytest.mark.usefixtures("one_thread")

CLASSES = ("cat", "dog", "owl")
PROVIDERS = ("icnet", "gconet_plus")
VALIDATION = ("p07", "p08", "p09")
SETTINGS: dict[str, Any] = {
    "backbone": {"name": "squeezenet1_1", "output_stride": 16},
    "channels": 8,
    "detail_channels": 8,
    "grids": (2, 4, 6),
    "image_size": 64,
    "group_size": 2,
    "iterations": 5,
}


def settings(provider: str, **changes: Any) -> Cosaliency:
    return Cosaliency.model_validate({**SETTINGS, "provider": provider, **changes})


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Ten images of three classes, some of two; certain saliency and CAM; three of them for validation."""
    folder = tmp_path_factory.mktemp("inputs")
    masks = blocks(5, 10, len(CLASSES), size=(48, 72))
    write_dataset(folder / "dataset", CLASSES, masks, val=VALIDATION)
    salient = {i: np.where((mask > 0) & (mask < 255), 255, 0).astype(np.uint8) for i, mask in masks.items()}
    write_saliency(folder / "saliency", salient)
    write_class_maps(folder / "cams", "infer_cams", {i: maps_of(mask) for i, mask in masks.items()})
    return {name: folder / name for name in ("dataset", "saliency", "cams")}


def model_folder(folder: Path, provider: str, **changes: Any) -> Path:
    """A model folder whose network has weights large enough to tell images apart."""
    config = settings(provider, **changes)
    torch.manual_seed(4)
    network = cosaliency_network(config)
    with torch.no_grad():
        for name, parameter in network.named_parameters():
            if parameter.ndim == 4 and not name.startswith("backbone"):
                parameter.normal_(0, (2 / parameter[0].numel()) ** 0.5)
    content = config.model_dump(mode="json", exclude={"checkpoint", "training_set"})
    save_model(folder, network, {"kind": "cosaliency", "config": content})
    return folder


def counts_of(folder: Path) -> dict[str, Any]:
    """What a training counted."""
    return {name: value for name, value in read_json(folder / "metrics.json").items() if not name.startswith("masks_")}


def maps_below(folder: Path) -> dict[str, np.ndarray]:
    """`<number>/<id>` -> map."""
    return {f"{p.parent.name}/{p.stem}": read_gray(p) for p in sorted((folder / "cosaliency").rglob("*.png"))}


@pytest.mark.parametrize("provider", PROVIDERS)
def test_training_resumes_to_the_same_bytes(tmp_path: Path, inputs: dict[str, Path], provider: str) -> None:
    """A twice interrupted training ends with the bytes of a whole one, and what it saves loads as the network alone."""
    config = settings(provider, falling=provider == "gconet_plus")
    whole = check_resumed(train_cosaliency.run, config, tmp_path, (2, 4), **inputs)
    load_model(whole, cosaliency_network(config))
    counts = counts_of(whole)
    pairs = sum(len(record.tags) for record in ImageIndex.read(inputs["dataset"]).split("train"))
    assert counts == {"images": 7, "groups": 2, "steps": 5, "with_target": pairs, "without_target": 0}


def test_the_learning_rate_stays_or_falls(tmp_path: Path, inputs: dict[str, Path]) -> None:
    """A falling learning rate takes the same first step as a constant one, and another second step."""
    losses = {}
    for falling in (False, True):
        out = tmp_path / str(falling)
        train_cosaliency.run(settings("icnet", falling=falling, iterations=3), out, StageRuntime(), **inputs)
        losses[falling] = (out / "losses.csv").read_text().split()[1:]
    assert losses[False][:2] == losses[True][:2] and losses[False][2] != losses[True][2]


def test_a_frozen_backbone_stays(tmp_path: Path, inputs: dict[str, Path]) -> None:
    """With factor 0 no weight of the backbone moves, while the others do."""
    config = settings("gconet_plus", backbone_factor=0.0, iterations=2)
    train_cosaliency.run(config, tmp_path, StageRuntime(), **inputs)
    torch.manual_seed(config.seed)
    start, end = cosaliency_network(config).state_dict(), cosaliency_network(config)
    load_model(tmp_path, end)
    moved = {name.split(".")[0] for name, value in end.state_dict().items() if not torch.equal(value, start[name])}
    assert "backbone" not in moved and {"affinity", "top", "enhance"} <= moved


def test_nothing_to_train_on_is_reported(tmp_path: Path, inputs: dict[str, Path]) -> None:
    """Thresholds that no pixel passes, and missing inputs, end with an error before the first step."""
    config = settings("icnet", targets={"salient": 1.0, "cam": 1.0})
    with pytest.raises(NoTargets, match="no group has two .* of cosaliency.targets, 0 are not"):
        train_cosaliency.run(config, tmp_path, StageRuntime(), **inputs)
    with pytest.raises(ValueError, match="needs a training_set, or dataset, saliency and cams"):
        train_cosaliency.run(config, tmp_path, StageRuntime(), dataset=inputs["dataset"])


def group_folder(folder: Path, *, saliency: bool) -> Path:
    """Two groups of three images with masks."""
    for number, group in enumerate(("boats", "cars")):
        for image in range(3):
            save_image(folder / "images" / group / f"x{image}.png", 10 * number + image, (40, 56))
            mask = np.zeros((40, 56))
            mask[10:30, 8 + 8 * image : 40] = 255
            save_mask(folder / "masks" / group / f"x{image}.png", mask)
            if saliency:
                save_mask(folder / "saliency" / group / f"x{image}.png", mask)
    return folder


@pytest.mark.parametrize("provider", PROVIDERS)
def test_a_folder_of_groups_trains(tmp_path: Path, provider: str) -> None:
    """Masks in group folders take the place of tags, saliency and CAM, and an incomplete folder is refused."""
    given = group_folder(tmp_path / "set", saliency=provider == "icnet")
    config = settings(provider, iterations=2)
    train_cosaliency.run(config, tmp_path / "out", StageRuntime(), training_set=given)
    counts = counts_of(tmp_path / "out")
    assert counts == {"images": 6, "groups": 2, "steps": 2, "with_target": 6, "without_target": 0}
    (given / "masks" / "cars" / "x1.png").unlink()
    with pytest.raises(BadDataset, match=r"masks/cars: 1 images have no <id>.png here: x1"):
        train_cosaliency.run(config, tmp_path / "other", StageRuntime(), training_set=given)


def test_masks_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    """A mask of 0 and 1, one of another size, and missing saliency maps are found before the first step."""
    given = group_folder(tmp_path / "set", saliency=False)
    config = settings("gconet_plus", iterations=2)
    save_mask(given / "masks" / "boats" / "x0.png", np.ones((40, 56)))
    with pytest.raises(BadDataset, match="boats/x0.png: its brightest value is 1"):
        train_cosaliency.run(config, tmp_path / "out", StageRuntime(), training_set=given)
    save_mask(given / "masks" / "boats" / "x0.png", np.full((40, 50), 255))
    with pytest.raises(BadDataset, match="is 50x40, but its image is 56x40"):
        train_cosaliency.run(config, tmp_path / "out", StageRuntime(), training_set=given)
    with pytest.raises(BadDataset, match="saliency/boats: 3 images"):
        (given / "saliency" / "boats").mkdir(parents=True)
        train_cosaliency.run(settings("icnet"), tmp_path / "out", StageRuntime(), training_set=given)


@pytest.mark.parametrize(
    ("provider", "behind"), [("icnet", ["none", "cats", "dogs"]), ("gconet_plus", ["none", "cats"])]
)
def test_masks_behind_the_maps_are_reported(
    tmp_path: Path, inputs: dict[str, Path], caplog: pytest.LogCaptureFixture, provider: str, behind: list[str]
) -> None:
    """A model names the masks behind the saliency it learned from; ICNet's maps, and a warning, those they read too."""
    for name, masks, answer in (("learned", "cats", "no"), ("used", "dogs", "yes")):
        shutil.copytree(inputs["saliency"], tmp_path / name)
        Provenance(masks, answer, 5).write(tmp_path / name)
    given = inputs | {"saliency": tmp_path / "learned"}
    train_cosaliency.run(settings(provider, iterations=1), tmp_path / "model", StageRuntime(), **given)
    given = inputs | {"saliency": tmp_path / "used", "model": tmp_path / "model"}
    predict_cosaliency.run(CosaliencyMaps(), tmp_path / "maps", StageRuntime(), **given)
    assert ("saliency from other masks (none: tags, CAMs and saliency maps; cats)" in caplog.text) == (
        provider == "icnet"
    )
    reported = Provenance.read(tmp_path / "maps", otherwise="")
    assert [one.masks.partition(":")[0] for one in reported.trainings()] == behind
    answer = "yes" if "dogs" in behind else "no"
    assert read_json(tmp_path / "maps" / "metrics.json")["masks_show_target_classes"] == answer


def test_masks_of_groups_are_what_their_folder_says(tmp_path: Path) -> None:
    """A folder of groups with a provenance.json is quoted, and one without is unknown."""
    given = group_folder(tmp_path / "set", saliency=False)
    config = settings("gconet_plus", iterations=1)
    train_cosaliency.run(config, tmp_path / "one", StageRuntime(), training_set=given)
    assert Provenance.read(tmp_path / "one", otherwise="").shows_target_classes == "unknown"
    Provenance("boats and cars", "yes").write(given)
    train_cosaliency.run(config, tmp_path / "two", StageRuntime(), training_set=given)
    assert Provenance.read(tmp_path / "two", otherwise="") == Provenance("boats and cars", "yes", 6)
    (given / "provenance.json").write_text("{")
    with pytest.raises(ValueError, match="provenance.json: cannot be read"):
        train_cosaliency.run(config, tmp_path / "three", interrupted_after(1), training_set=given)


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
    values = np.concatenate([one.ravel() for one in maps_below(tmp_path / "hard").values()])
    assert ((values < 3) | (values > 252)).mean() > 0.5


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
