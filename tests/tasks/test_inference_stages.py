"""Inference stages: interrupted and resumed to the same bytes, alone as in a batch, and what they refuse."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from tag2mask.configs.schema import Activation, Classifier, Prediction, Saliency
from tag2mask.tasks import infer_attention, infer_cams, predict_saliency
from tag2mask.tasks.dataset.image_index import ImageIndex
from tag2mask.tasks.dataset.label_maps import read_gray, write_gray
from tag2mask.tasks.networks.factory import classifier_network, save_model
from tag2mask.tasks.networks.model_folder import WeightsError
from tag2mask.tasks.store.runtime import StageRuntime
from tag2mask.tasks.systems.registry import saliency_network
from tests.tasks.drawn_files import files_of
from tests.tasks.interruption import Interrupted, interrupted_after
from tests.tasks.small_stages import CLASSES, PURNET, SALIENCY, TAGGER, write_inputs

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A dataset of seven images, label maps, saliency pairs, and accumulated attention."""
    return write_inputs(tmp_path_factory.mktemp("inputs"))


def classifier_folder(folder: Path, classes: tuple[str, ...] = CLASSES, **changes: Any) -> Path:
    """A model folder of an untrained classifier."""
    config = Classifier.model_validate(TAGGER | changes)
    torch.manual_seed(2)
    network = classifier_network(config, len(classes))
    save_model(
        folder, network, {"kind": "classifier", "classes": list(classes), "config": config.model_dump(mode="json")}
    )
    return folder


def maps_below(folder: Path) -> dict[str, np.ndarray]:
    """Image id -> class maps."""
    return {path.stem: np.load(path)["maps"] for path in sorted(folder.glob("*.npz"))}


@pytest.mark.parametrize("stop", [1, 3, 4, 6])
def test_interrupted_inference_resumes_to_the_same_bytes(tmp_path: Path, inputs: dict[str, Path], stop: int) -> None:
    """Class maps are the same bytes wherever their inference was interrupted, and finished ones are not redone."""
    model = classifier_folder(tmp_path / "model")
    config = Activation(image_size=64, scales=(1.0, 1.5), flip=True, batch_size=3)
    given = {"dataset": inputs["dataset"], "model": model}
    infer_cams.run(config, tmp_path / "whole", StageRuntime(shard=4), **given)
    with pytest.raises(Interrupted):
        infer_cams.run(config, tmp_path / "parts", interrupted_after(stop, shard=4), **given)
    counts: list[int] = []
    resumed = StageRuntime(shard=4, report=lambda done, total, note: counts.append(done))
    infer_cams.run(config, tmp_path / "parts", resumed, **given)
    assert counts[-1] == 7 and stop - 4 < counts[0] <= stop
    assert files_of(tmp_path / "parts") == files_of(tmp_path / "whole")
    assert all(maps.any() for maps in maps_below(tmp_path / "whole").values())


def test_class_maps_do_not_depend_on_the_batch(tmp_path: Path, inputs: dict[str, Path]) -> None:
    """An image alone has the class maps it has in a batch, up to one gray level of rounding."""
    model = classifier_folder(tmp_path / "model")
    for size in (1, 7):
        config = Activation(image_size=64, batch_size=size)
        infer_cams.run(config, tmp_path / str(size), StageRuntime(), dataset=inputs["dataset"], model=model)
    single, batch = maps_below(tmp_path / "1"), maps_below(tmp_path / "7")
    assert single.keys() == batch.keys() and len(single) == 7
    for image_id, maps in single.items():
        assert maps.shape == batch[image_id].shape
        assert np.abs(maps.astype(int) - batch[image_id].astype(int)).max() <= 1


def test_no_positive_evidence_gives_a_map_of_zeros(tmp_path: Path, inputs: dict[str, Path]) -> None:
    """A classifier that says nothing leaves all maps zero, one for each tag."""
    model = classifier_folder(tmp_path / "model", class_init="zero")
    config = Activation(image_size=64)
    infer_cams.run(config, tmp_path / "cams", StageRuntime(), dataset=inputs["dataset"], model=model)
    index = ImageIndex.read(inputs["dataset"])
    maps = maps_below(tmp_path / "cams")
    assert {record.image_id: len(record.tags) for record in index} == {i: len(m) for i, m in maps.items()}
    assert not any(planes.any() for planes in maps.values())


def test_a_model_for_other_classes_is_refused(tmp_path: Path, inputs: dict[str, Path]) -> None:
    """A classifier trained for other classes is refused with both lists."""
    model = classifier_folder(tmp_path / "model", ("cat", "dog"))
    with pytest.raises(WeightsError, match=r"2 classes \(cat, dog\), but the dataset has 3 \(cat, dog, owl\)"):
        infer_cams.run(Activation(), tmp_path / "out", StageRuntime(), dataset=inputs["dataset"], model=model)


def test_a_model_of_another_kind_is_refused(tmp_path: Path, inputs: dict[str, Path]) -> None:
    """A classifier's folder is no attention or saliency model, and the message names both kinds."""
    given = {"dataset": inputs["dataset"], "model": classifier_folder(tmp_path / "model")}
    with pytest.raises(WeightsError, match="'classifier' model; a 'saliency' model is needed"):
        predict_saliency.run(Prediction(), tmp_path / "out", StageRuntime(), **given)
    with pytest.raises(WeightsError, match="'classifier' model; a "):
        infer_attention.run(Activation(), tmp_path / "out", StageRuntime(), **given)


def write_maps(folder: Path, dataset: Path) -> Path:
    """A folder of saliency maps that fits a dataset."""
    for number, record in enumerate(ImageIndex.read(dataset)):
        write_gray(folder / f"{record.image_id}.png", np.full(record.size, 20 * number, np.uint8))
    return folder


def test_a_folder_of_maps_is_taken_over(tmp_path: Path, inputs: dict[str, Path]) -> None:
    """Maps the user brings are the saliency, cut off at the threshold, and their complement is the background."""
    maps = write_maps(tmp_path / "maps", inputs["dataset"])
    config = Prediction(threshold=0.2)
    predict_saliency.run(config, tmp_path / "out", StageRuntime(), dataset=inputs["dataset"], maps=maps)
    values = [int(np.unique(read_gray(path)).item()) for path in sorted((tmp_path / "out/saliency").glob("*.png"))]
    rest = [int(np.unique(read_gray(path)).item()) for path in sorted((tmp_path / "out/background").glob("*.png"))]
    assert values == [0, 0, 0, 60, 80, 100, 120]
    assert rest == [255, 235, 215, 195, 175, 155, 135]


def test_missing_maps_are_listed(tmp_path: Path, inputs: dict[str, Path]) -> None:
    """Images without a map stop the stage before it writes, and the message lists them."""
    maps = write_maps(tmp_path / "maps", inputs["dataset"])
    for image_id in ("p02", "p05"):
        (maps / f"{image_id}.png").unlink()
    with pytest.raises(predict_saliency.BadMaps, match=r"2 of 7 saliency maps <id>.png are missing: p02, p05$"):
        predict_saliency.run(Prediction(), tmp_path / "out", StageRuntime(), dataset=inputs["dataset"], maps=maps)
    assert not (tmp_path / "out").exists()


def test_maps_of_another_size_are_listed(tmp_path: Path, inputs: dict[str, Path]) -> None:
    """Maps of another size than their image are listed with both sizes."""
    maps = write_maps(tmp_path / "maps", inputs["dataset"])
    Image.new("L", (10, 20)).save(maps / "p03.png")
    with pytest.raises(predict_saliency.BadMaps, match=r"1 saliency maps .*: p03 \(10x20, image 72x48\)$"):
        predict_saliency.run(Prediction(), tmp_path / "out", StageRuntime(), dataset=inputs["dataset"], maps=maps)
    assert not (tmp_path / "out").exists()


def test_maps_of_0_and_1_are_refused(tmp_path: Path, inputs: dict[str, Path]) -> None:
    """Masks of 0 and 1 in place of maps would make everything background: they are reported, with the remedy."""
    maps = write_maps(tmp_path / "maps", inputs["dataset"])
    for path in maps.glob("*.png"):
        write_gray(path, (read_gray(path) > 50).astype(np.uint8))
    with pytest.raises(predict_saliency.BadMaps, match="no map is brighter than 1; .* multiply 0/1 masks by 255"):
        predict_saliency.run(Prediction(), tmp_path / "out", StageRuntime(), dataset=inputs["dataset"], maps=maps)


def saliency_folder(folder: Path, settings: dict[str, Any]) -> Path:
    """A model folder of an untrained saliency network."""
    config = Saliency.model_validate(settings)
    torch.manual_seed(4)
    network = saliency_network(config)
    content = config.model_dump(mode="json", exclude=set(config.left_out))
    save_model(folder, network, {"kind": "saliency", "config": content})
    return folder


def test_scores_and_scales_make_the_map_that_they_say(tmp_path: Path, inputs: dict[str, Path]) -> None:
    """Of foreground F and background B of one size, and of their means over three, the map is that of the score."""
    given = {"dataset": inputs["dataset"], "model": saliency_folder(tmp_path / "model", SALIENCY)}
    means: dict[str, dict[str, np.ndarray]] = {}
    for scales in ((1.0,), (0.75,), (1.25,), (1.0, 0.75, 1.25)):
        found = {}
        for score in ("difference", "mean", "foreground"):
            config = Prediction(score=score, scales=scales)
            out = tmp_path / f"{score}-{scales}"
            predict_saliency.run(config, out, StageRuntime(), **given)
            found[score] = read_gray(out / "saliency" / "p00.png").astype(float)
            background = read_gray(out / "background" / "p00.png").astype(float)
        assert np.abs(found["mean"] - (found["foreground"] + 255 - background) / 2).max() <= 1.01
        assert np.abs(found["difference"] - np.maximum(found["foreground"] - background, 0)).max() <= 2
        means[str(scales)] = found
    one, small, large, all_three = (found["foreground"] for found in means.values())
    assert np.abs(one - small).max() > 0 and np.abs((one + small + large) / 3 - all_three).mean() <= 1.5


@pytest.mark.parametrize("stop", [1, 3, 4, 6])
@pytest.mark.parametrize("settings", [SALIENCY, PURNET], ids=["reciprocal", "purnet"])
def test_interrupted_saliency_resumes_to_the_same_bytes(
    tmp_path: Path, inputs: dict[str, Path], settings: dict[str, Any], stop: int
) -> None:
    """Saliency maps of the images' sizes are the same bytes wherever their prediction was interrupted."""
    given = {"dataset": inputs["dataset"], "model": saliency_folder(tmp_path / "model", settings)}
    prediction = Prediction(flip=True, batch_size=3)
    predict_saliency.run(prediction, tmp_path / "whole", StageRuntime(shard=4), **given)
    with pytest.raises(Interrupted):
        predict_saliency.run(prediction, tmp_path / "parts", interrupted_after(stop, shard=4), **given)
    predict_saliency.run(prediction, tmp_path / "parts", StageRuntime(shard=4), **given)
    assert files_of(tmp_path / "parts") == files_of(tmp_path / "whole")
    for record in ImageIndex.read(inputs["dataset"]):
        assert read_gray(tmp_path / "whole/background" / f"{record.image_id}.png").shape == record.size
