"""Training and inference stages: interrupted and resumed to the same bytes, and what they refuse."""

import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image

from tag2mask.configs.schema import Activation, Attention, Backbone, Classifier, Prediction, Saliency, Segmenter
from tag2mask.configs.section import Section
from tag2mask.tasks import (
    infer_attention,
    infer_cams,
    predict_saliency,
    train_attention,
    train_classifier,
    train_saliency,
    train_segmenter,
)
from tag2mask.tasks.common.attention_accumulation import AttentionAccumulator
from tag2mask.tasks.common.durable import read_json
from tag2mask.tasks.common.image_index import ImageIndex
from tag2mask.tasks.common.label_images import read_grey, write_grey
from tag2mask.tasks.common.model_folders import WeightsError
from tag2mask.tasks.common.networks import classifier_network, read_state, saliency_network, save_model
from tag2mask.tasks.common.runtime import StageRuntime
from tests.tasks.drawn_files import files_of
from tests.tasks.drawn_run import blocks, write_dataset, write_label_maps

pytestmark = pytest.mark.usefixtures("one_thread")

CLASSES = ("cat", "dog", "owl")
TRUNK = {"name": "squeezenet1_1", "output_stride": 16}
TAGGER: dict[str, Any] = {
    "backbone": TRUNK,
    "head_convolutions": 1,
    "head_channels": 8,
    "graph": {"normalize": True, "nodes": 4, "states": 4, "blocker_init": "zero"},
    "image_size": 64,
    "epochs": 3,
    "batch_size": 3,
    "drop_epochs": (2,),
    "accumulate_from": 1,
    "accumulate_probability": 0.1,
}
FROZEN_TRUNK = {"backbone": {"name": "resnet18", "output_stride": 32}, "backbone_factor": 0.0}
"""Its batch norms are folded while it trains, which a checkpoint must survive."""
TRAINED_TRUNK = {"backbone": {"name": "resnet18", "output_stride": 32, "freeze_batch_norm": False}}
"""Its batch norms have running statistics, which a checkpoint must hold."""
MIRRORED = {"flip": True, "optimiser": "adamw"}
"""AdamW keeps more per parameter than SGD, and which photographs are mirrored must not depend on where it stopped."""
SALIENCY: dict[str, Any] = {
    "backbone": TRUNK,
    "channels": 8,
    "key_channels": 4,
    "image_size": 64,
    "iterations": 5,
    "batch_size": 2,
}
PURIFICATORY: dict[str, Any] = {
    **{key: value for key, value in SALIENCY.items() if key != "key_channels"},
    "provider": "purificatory",
    "iterations": 6,
    "purificatory": {
        "superpixels": 20,
        "stages": [
            {"share": 0.34, "attention": False, "structural_similarity": 1.0},
            {"share": 0.33, "batch_size": 3, "main_factor": 1.0},
            {"share": 0.33, "structural_similarity": 1.0},
        ],
    },
}
"""Two steps in each of three stages that differ in losses, trained parts, batch and step size."""
SEGMENTER: dict[str, Any] = {
    "backbone": TRUNK,
    "rates": (1, 2),
    "train_scales": (1.0, 0.5),
    "crop_size": 64,
    "iterations": 5,
    "batch_size": 4,
    "micro_batch": 2,
}


class Interrupted(RuntimeError):
    """What a stage is interrupted with."""


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A dataset of seven photographs, label maps, saliency pairs, and accumulated attention."""
    folder = tmp_path_factory.mktemp("inputs")
    masks = blocks(3, 7, len(CLASSES), size=(48, 72))
    dataset = write_dataset(folder / "dataset", CLASSES, masks)
    write_label_maps(folder / "labels", "mine_objects", masks)
    for image_id, mask in masks.items():
        write_grey(folder / "pairs" / "masks" / f"{image_id}.png", np.where(mask > 0, 255, 0).astype(np.uint8))
        (folder / "pairs" / "images").mkdir(exist_ok=True)
        (folder / "pairs" / "images" / f"{image_id}.png").write_bytes((dataset / f"images/{image_id}.png").read_bytes())
    rows = {"image_id": list(masks), "file": [f"images/{image_id}.png" for image_id in masks]}
    pd.DataFrame(rows).to_csv(folder / "pairs" / "index.csv", index=False)
    index = ImageIndex.read(dataset)
    accumulator = AttentionAccumulator(index.tag_matrix(), (3, 3), 0.0)
    images = list(range(len(index)))
    logits, maps = torch.zeros(len(images), len(CLASSES)), torch.rand(len(images), len(CLASSES), 3, 3)
    accumulator.add(images, logits, maps, last_epoch=True)
    (folder / "classifier").mkdir()
    accumulator.save(folder / "classifier", index.ids)
    return {name: folder / name for name in ("dataset", "labels", "pairs", "classifier")}


def interrupted_after(step: int, **resources: Any) -> StageRuntime:
    """Resources of a stage that is interrupted once it has told of a step."""

    def report(done: int, total: int, note: str) -> None:
        if done >= step:
            raise Interrupted(f"at {done} of {total}")

    return StageRuntime(checkpoint_seconds=0.0, report=report, **resources)


Stage = Callable[..., None]


def check_resumed(stage: Stage, config: Section, folder: Path, stops: tuple[int, ...], **given: Path) -> Path:
    """Run a training undisturbed and, elsewhere, interrupted twice; their results must be the same bytes."""
    whole, parts = folder / "whole", folder / "parts"
    stage(config, whole, StageRuntime(), **given)
    for stop in stops:
        with pytest.raises(Interrupted, match=f"at {stop} "):
            stage(config, parts, interrupted_after(stop), **given)
        assert (parts / ".resume" / "checkpoint.pt").exists() and not (parts / "model.pt").exists()
    stage(config, parts, StageRuntime(), **given)
    expected, found = files_of(whole), files_of(parts)
    assert {"model.pt", "model.json", "losses.csv", "metrics.json"} <= expected.keys()
    assert found.keys() == expected.keys()
    assert [name for name in expected if found[name] != expected[name]] == []
    return whole


@pytest.mark.parametrize(
    "changes", [{}, FROZEN_TRUNK, TRAINED_TRUNK, MIRRORED], ids=["plain", "frozen", "running", "mirrored"]
)
def test_classifier_resumes_to_the_same_bytes(tmp_path: Path, inputs: dict[str, Path], changes: dict[str, Any]) -> None:
    """Network, losses and accumulated attention of a twice interrupted training equal those of an undisturbed one."""
    config = Classifier.model_validate(TAGGER | changes)
    whole = check_resumed(train_classifier.run, config, tmp_path, (2, 6), dataset=inputs["dataset"])
    assert (whole / "accumulated_attention.npz").exists()
    losses = pd.read_csv(whole / "losses.csv")
    assert losses.step.tolist() == list(range(1, 10)) and losses.loss.nunique() > 5


def test_attention_resumes_to_the_same_bytes(tmp_path: Path, inputs: dict[str, Path]) -> None:
    """The integral attention model of an interrupted training equals that of an undisturbed one."""
    config = Attention.model_validate(TAGGER)
    check_resumed(
        train_attention.run, config, tmp_path, (2, 6), dataset=inputs["dataset"], classifier=inputs["classifier"]
    )


def test_attention_starts_where_the_settings_say(tmp_path: Path, inputs: dict[str, Path]) -> None:
    """With a vanishing step size the model stays the classifier that it starts from; another network is refused."""
    train_classifier.run(
        Classifier.model_validate(TAGGER), tmp_path / "classifier", StageRuntime(), dataset=inputs["dataset"]
    )
    given = {"dataset": inputs["dataset"], "classifier": tmp_path / "classifier"}
    still = TAGGER | {"learning_rate": 1e-30, "weight_decay": 0, "start": "classifier"}
    train_attention.run(Attention.model_validate(still), tmp_path / "one", StageRuntime(), **given)
    before, after = (read_state(folder / "model.pt") for folder in (given["classifier"], tmp_path / "one"))
    assert all(torch.equal(before[name], after[name]) for name in before if "classify" in name)
    train_attention.run(Attention.model_validate(still | {"start": "trunk"}), tmp_path / "two", StageRuntime(), **given)
    other = read_state(tmp_path / "two" / "model.pt")
    assert not all(torch.equal(before[name], other[name]) for name in before if "classify" in name)
    wider = Attention.model_validate(still | {"head_channels": 12})
    with pytest.raises(WeightsError, match="does not fit the network"):
        train_attention.run(wider, tmp_path / "three", StageRuntime(), **given)


@pytest.mark.parametrize("optimiser", ["sgd", "adamw"])
def test_saliency_resumes_to_the_same_bytes(tmp_path: Path, inputs: dict[str, Path], optimiser: str) -> None:
    """The saliency network of an interrupted training equals that of an undisturbed one."""
    config = Saliency.model_validate(SALIENCY | {"optimiser": optimiser})
    check_resumed(train_saliency.run, config, tmp_path, (2, 4), saliency_set=inputs["pairs"])


@pytest.mark.parametrize("provider", ["reciprocal", "purificatory"])
def test_the_optimisers_of_saliency_differ(tmp_path: Path, inputs: dict[str, Path], provider: str) -> None:
    """Each optimiser takes steps of its own from the same start; momentum is read by SGD alone."""
    base = (SALIENCY if provider == "reciprocal" else PURIFICATORY) | {"iterations": 3}
    models = []
    for number, changes in enumerate(
        ({"optimiser": "adamw"}, {"optimiser": "adamw", "momentum": 0.5}, {}, {"momentum": 0.5})
    ):
        out = tmp_path / str(number)
        train_saliency.run(Saliency.model_validate(base | changes), out, StageRuntime(), saliency_set=inputs["pairs"])
        models.append(files_of(out)["model.pt"])
    assert models[0] == models[1] and len(set(models)) == 3


@pytest.mark.parametrize("stops", [(3, 5), (2, 4)], ids=["between", "within"])
def test_purificatory_resumes_to_the_same_bytes(
    tmp_path: Path, inputs: dict[str, Path], stops: tuple[int, ...]
) -> None:
    """The purificatory network of an interrupted training equals that of an undisturbed one, in and between stages."""
    config = Saliency.model_validate(PURIFICATORY)
    whole = check_resumed(train_saliency.run, config, tmp_path, stops, saliency_set=inputs["pairs"])
    assert read_json(whole / "model.json")["provider"] == "purificatory"


def test_segmenter_resumes_to_the_same_bytes(tmp_path: Path, inputs: dict[str, Path]) -> None:
    """The segmenter of an interrupted training equals that of an undisturbed one."""
    config = Segmenter.model_validate(SEGMENTER)
    given = {"dataset": inputs["dataset"], "labels": inputs["labels"]}
    check_resumed(train_segmenter.run, config, tmp_path, (2, 4), **given)


def test_segmenter_starts_where_the_settings_say(tmp_path: Path, inputs: dict[str, Path]) -> None:
    """With a vanishing step size the trunk stays that of the classifier it starts from; another trunk is refused."""
    train_classifier.run(
        Classifier.model_validate(TAGGER), tmp_path / "classifier", StageRuntime(), dataset=inputs["dataset"]
    )
    still = Segmenter.model_validate(SEGMENTER | {"learning_rate": 1e-30, "weight_decay": 0, "iterations": 1})
    given = {"dataset": inputs["dataset"], "labels": inputs["labels"]}
    train_segmenter.run(still, tmp_path / "one", StageRuntime(), **given, classifier=tmp_path / "classifier")
    train_segmenter.run(still, tmp_path / "two", StageRuntime(), **given)
    before, after, other = (read_state(tmp_path / name / "model.pt") for name in ("classifier", "one", "two"))
    trunk = [name for name in before if name.startswith("backbone.")]
    assert all(torch.allclose(before[name], after[f"segmenter.{name}"], rtol=0, atol=1e-20) for name in trunk)
    assert not all(torch.equal(before[name], other[f"segmenter.{name}"]) for name in trunk)
    wider = still.model_copy(update={"backbone": Backbone(name="resnet18", output_stride=16)})
    with pytest.raises(WeightsError, match="classifier/model.pt: does not fit the network: conv"):
        train_segmenter.run(wider, tmp_path / "three", StageRuntime(), **given, classifier=tmp_path / "classifier")


KILLED = """
import os, signal, sys
from pathlib import Path
import torch
from tag2mask.configs.schema import Classifier
from tag2mask.tasks import train_classifier
from tag2mask.tasks.common.runtime import StageRuntime

def report(done, total, note):
    if done == 5:
        os.kill(os.getpid(), signal.SIGKILL)

torch.set_num_threads(1)
config = Classifier.model_validate_json(sys.argv[1])
runtime = StageRuntime(checkpoint_seconds=0.0, report=report)
train_classifier.run(config, Path(sys.argv[2]), runtime, dataset=Path(sys.argv[3]))
"""


@pytest.mark.slow
def test_a_killed_training_resumes_to_the_same_bytes(tmp_path: Path, inputs: dict[str, Path]) -> None:
    """A training whose process was killed in mid-epoch ends, in another process, with the bytes of a whole one."""
    config = Classifier.model_validate(TAGGER)
    train_classifier.run(config, tmp_path / "whole", StageRuntime(), dataset=inputs["dataset"])
    arguments = [config.model_dump_json(), str(tmp_path / "killed"), str(inputs["dataset"])]
    process = subprocess.run([sys.executable, "-c", KILLED, *arguments], check=False, timeout=200)
    assert process.returncode == -signal.SIGKILL
    assert (tmp_path / "killed" / ".resume" / "checkpoint.pt").exists()
    train_classifier.run(config, tmp_path / "killed", StageRuntime(), dataset=inputs["dataset"])
    assert files_of(tmp_path / "killed") == files_of(tmp_path / "whole")


def test_a_damaged_checkpoint_starts_over(tmp_path: Path, inputs: dict[str, Path]) -> None:
    """A checkpoint that a failing disk cut short costs the steps done, not the result."""
    config = Saliency.model_validate(SALIENCY)
    train_saliency.run(config, tmp_path / "whole", StageRuntime(), saliency_set=inputs["pairs"])
    with pytest.raises(Interrupted):
        train_saliency.run(config, tmp_path / "parts", interrupted_after(3), saliency_set=inputs["pairs"])
    checkpoint = tmp_path / "parts" / ".resume" / "checkpoint.pt"
    checkpoint.write_bytes(checkpoint.read_bytes()[:1000])
    train_saliency.run(config, tmp_path / "parts", StageRuntime(), saliency_set=inputs["pairs"])
    assert files_of(tmp_path / "parts") == files_of(tmp_path / "whole")


def test_ignored_photographs_train_nothing_and_are_counted(tmp_path: Path, inputs: dict[str, Path]) -> None:
    """The segmenter leaves out what is ignored throughout, says how many, and refuses a set without a label."""
    config = Segmenter.model_validate(SEGMENTER | {"iterations": 1})
    labels = {path.stem: read_grey(path) for path in inputs["labels"].glob("*.png")}
    ignored = {image_id: np.full_like(pixels, 255) for image_id, pixels in labels.items()}
    some = write_label_maps(tmp_path / "some", "mine_objects", ignored | dict(list(labels.items())[:2]))
    none = write_label_maps(tmp_path / "none", "mine_objects", ignored)
    train_segmenter.run(config, tmp_path / "out", StageRuntime(), dataset=inputs["dataset"], labels=some)
    assert read_json(tmp_path / "out" / "metrics.json") == {"images": 2, "left_out": 5, "steps": 1}
    with pytest.raises(train_segmenter.NoLabels, match="all 7 label maps is ignored"):
        train_segmenter.run(config, tmp_path / "out", StageRuntime(), dataset=inputs["dataset"], labels=none)


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
    """A photograph alone has the class maps it has in a batch, up to one grey level of rounding."""
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


def test_weights_that_do_not_fit_are_named(tmp_path: Path, inputs: dict[str, Path]) -> None:
    """A weights file of another architecture is refused with the file and the first keys that do not fit."""
    weights = tmp_path / "weights.pt"
    torch.save({"features.0.weight": torch.zeros(2, 3, 3, 3), "strange": torch.zeros(1)}, weights)
    config = Classifier.model_validate(TAGGER | {"backbone": {**TRUNK, "weights": str(weights)}})
    with pytest.raises(WeightsError) as refusal:
        train_classifier.run(config, tmp_path / "out", StageRuntime(), dataset=inputs["dataset"], weights=weights)
    message = str(refusal.value)
    assert message.startswith(f"{weights}: these are not torchvision's weights of squeezenet1_1: ")
    for part in ("missing (features.0.bias", "1 unexpected (strange)", "features.0.weight (2, 3, 3, 3) instead of"):
        assert part in message


def write_maps(folder: Path, dataset: Path) -> Path:
    """A folder of saliency maps that fits a dataset."""
    for number, record in enumerate(ImageIndex.read(dataset)):
        write_grey(folder / f"{record.image_id}.png", np.full(record.size, 20 * number, np.uint8))
    return folder


def test_a_folder_of_maps_is_taken_over(tmp_path: Path, inputs: dict[str, Path]) -> None:
    """Maps the user brings are the saliency, cut off at the threshold, and their complement is the background."""
    maps = write_maps(tmp_path / "maps", inputs["dataset"])
    config = Prediction(threshold=0.2)
    predict_saliency.run(config, tmp_path / "out", StageRuntime(), dataset=inputs["dataset"], maps=maps)
    values = [int(np.unique(read_grey(path)).item()) for path in sorted((tmp_path / "out/saliency").glob("*.png"))]
    rest = [int(np.unique(read_grey(path)).item()) for path in sorted((tmp_path / "out/background").glob("*.png"))]
    assert values == [0, 0, 0, 60, 80, 100, 120]
    assert rest == [255, 235, 215, 195, 175, 155, 135]


def test_missing_maps_are_listed(tmp_path: Path, inputs: dict[str, Path]) -> None:
    """Photographs without a map stop the stage before it writes, and the message lists them."""
    maps = write_maps(tmp_path / "maps", inputs["dataset"])
    for image_id in ("p02", "p05"):
        (maps / f"{image_id}.png").unlink()
    with pytest.raises(predict_saliency.BadMaps, match=r"2 of 7 saliency maps <id>.png are missing: p02, p05$"):
        predict_saliency.run(Prediction(), tmp_path / "out", StageRuntime(), dataset=inputs["dataset"], maps=maps)
    assert not (tmp_path / "out").exists()


def test_maps_of_another_size_are_listed(tmp_path: Path, inputs: dict[str, Path]) -> None:
    """Maps of another size than their photograph are listed with both sizes."""
    maps = write_maps(tmp_path / "maps", inputs["dataset"])
    Image.new("L", (10, 20)).save(maps / "p03.png")
    with pytest.raises(predict_saliency.BadMaps, match=r"1 saliency maps .*: p03 \(10x20, photograph 72x48\)$"):
        predict_saliency.run(Prediction(), tmp_path / "out", StageRuntime(), dataset=inputs["dataset"], maps=maps)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("stop", [1, 3, 4, 6])
@pytest.mark.parametrize("settings", [SALIENCY, PURIFICATORY], ids=["reciprocal", "purificatory"])
def test_interrupted_saliency_resumes_to_the_same_bytes(
    tmp_path: Path, inputs: dict[str, Path], settings: dict[str, Any], stop: int
) -> None:
    """Saliency maps of the photographs' sizes are the same bytes wherever their prediction was interrupted."""
    config = Saliency.model_validate(settings)
    torch.manual_seed(4)
    network = saliency_network(config)
    content = config.model_dump(mode="json", exclude=set(config.unread))
    save_model(tmp_path / "model", network, {"kind": "saliency", "config": content})
    given = {"dataset": inputs["dataset"], "model": tmp_path / "model"}
    prediction = Prediction(flip=True, batch_size=3)
    predict_saliency.run(prediction, tmp_path / "whole", StageRuntime(shard=4), **given)
    with pytest.raises(Interrupted):
        predict_saliency.run(prediction, tmp_path / "parts", interrupted_after(stop, shard=4), **given)
    predict_saliency.run(prediction, tmp_path / "parts", StageRuntime(shard=4), **given)
    assert files_of(tmp_path / "parts") == files_of(tmp_path / "whole")
    for record in ImageIndex.read(inputs["dataset"]):
        assert read_grey(tmp_path / "whole/background" / f"{record.image_id}.png").shape == record.size
