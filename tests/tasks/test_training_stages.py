"""Training stages: interrupted and resumed to the same bytes, and what they refuse."""

import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

from tag2mask.configs.schema import Attention, Backbone, Classifier, Saliency, Segmenter
from tag2mask.tasks import train_attention, train_classifier, train_saliency, train_segmenter
from tag2mask.tasks.dataset.image_index import ImageIndex
from tag2mask.tasks.dataset.label_maps import read_labels
from tag2mask.tasks.networks.factory import read_state
from tag2mask.tasks.networks.model_folder import WeightsError
from tag2mask.tasks.store.files import read_json
from tag2mask.tasks.store.runtime import StageRuntime
from tag2mask.tasks.training.accumulated_attention import AttentionAccumulator, LacksImages
from tests.tasks.drawn_files import files_of
from tests.tasks.drawn_run import write_label_maps
from tests.tasks.interruption import Interrupted, check_resumed, interrupted_after
from tests.tasks.small_stages import (
    BACKBONE,
    FROZEN_BACKBONE,
    MIRRORED,
    PURNET,
    SALIENCY,
    SEGMENTER,
    TAGGER,
    TRAINED_BACKBONE,
    write_inputs,
)

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A dataset of seven images, label maps, saliency pairs, and accumulated attention."""
    return write_inputs(tmp_path_factory.mktemp("inputs"))


@pytest.mark.parametrize(
    "changes",
    [{}, FROZEN_BACKBONE | {"feature_copies": 0}, TRAINED_BACKBONE, MIRRORED],
    ids=["plain", "frozen", "running", "mirrored"],
)
def test_classifier_resumes_to_the_same_bytes(tmp_path: Path, inputs: dict[str, Path], changes: dict[str, Any]) -> None:
    """Network, losses and accumulated attention of a twice interrupted training equal those of an undisturbed one."""
    config = Classifier.model_validate(TAGGER | changes)
    whole = check_resumed(train_classifier.run, config, tmp_path, (2, 6), dataset=inputs["dataset"])
    assert (whole / "accumulated_attention.npz").exists()
    losses = pd.read_csv(whole / "losses.csv")
    assert losses.step.tolist() == list(range(1, 10)) and losses.loss.nunique() > 5


@pytest.mark.parametrize("stage", ["classifier", "attention"])
def test_features_are_computed_once(tmp_path: Path, inputs: dict[str, Path], stage: str) -> None:
    """A frozen backbone sees each image once; a training interrupted then, and later, goes on to the same bytes."""
    run = train_classifier.run if stage == "classifier" else train_attention.run
    kind = Classifier if stage == "classifier" else Attention
    config = kind.model_validate(TAGGER | FROZEN_BACKBONE | {"flip": True})
    given = {name: inputs[name] for name in ("dataset", *(["classifier"] if stage == "attention" else []))}
    reported: list[tuple[int, int, str]] = []
    run(config, tmp_path / "whole", StageRuntime(report=lambda *report: reported.append(report)), **given)
    assert [done for done, _, note in reported if note == "features"] == list(range(8))
    assert [done for done, total, note in reported if note.startswith("loss") and total == 9] == list(range(1, 10))
    parts = tmp_path / "parts"

    def stop(at: int, of: int) -> StageRuntime:
        def report(done: int, total: int, note: str) -> None:
            if (done, total) == (at, of):
                raise Interrupted(f"at {done} of {total}")

        return StageRuntime(checkpoint_seconds=0.0, report=report, shard=2)

    with pytest.raises(Interrupted, match="at 3 of 7"):
        run(config, parts, stop(3, 7), **given)
    with pytest.raises(Interrupted, match="at 5 of 9"):
        run(config, parts, stop(5, 9), **given)
    features = sorted((parts / ".resume" / "features").glob("*.npy"))
    assert len(features) == 7
    features[4].write_bytes(features[3].read_bytes())  # a failing disk: its digest is no longer the journaled one
    reported.clear()
    run(config, parts, StageRuntime(report=lambda *report: reported.append(report)), **given)
    assert [done for done, _, note in reported if note == "features"] == [6, 7]
    assert files_of(parts) == files_of(tmp_path / "whole")


def test_attention_resumes_to_the_same_bytes(tmp_path: Path, inputs: dict[str, Path]) -> None:
    """The integral attention model of an interrupted training equals that of an undisturbed one."""
    config = Attention.model_validate(TAGGER)
    check_resumed(
        train_attention.run, config, tmp_path, (2, 6), dataset=inputs["dataset"], classifier=inputs["classifier"]
    )


def test_attention_starts_where_the_settings_say(tmp_path: Path, inputs: dict[str, Path]) -> None:
    """With a vanishing learning rate the model stays the classifier that it starts from; another network is refused."""
    train_classifier.run(
        Classifier.model_validate(TAGGER), tmp_path / "classifier", StageRuntime(), dataset=inputs["dataset"]
    )
    given = {"dataset": inputs["dataset"], "classifier": tmp_path / "classifier"}
    still = TAGGER | {"learning_rate": 1e-30, "weight_decay": 0, "start": "classifier"}
    train_attention.run(Attention.model_validate(still), tmp_path / "one", StageRuntime(), **given)
    before, after = (read_state(folder / "model.pt") for folder in (given["classifier"], tmp_path / "one"))
    assert all(torch.equal(before[name], after[name]) for name in before if "classify" in name)
    train_attention.run(
        Attention.model_validate(still | {"start": "backbone"}), tmp_path / "two", StageRuntime(), **given
    )
    other = read_state(tmp_path / "two" / "model.pt")
    assert not all(torch.equal(before[name], other[name]) for name in before if "classify" in name)
    wider = Attention.model_validate(still | {"head_channels": 12})
    with pytest.raises(WeightsError, match="does not fit the network"):
        train_attention.run(wider, tmp_path / "three", StageRuntime(), **given)


def test_a_classifier_that_lacks_images_or_tags_is_refused(tmp_path: Path, inputs: dict[str, Path]) -> None:
    """Images added or tagged anew since the classifier was trained are counted before anything is trained."""
    index = ImageIndex.read(inputs["dataset"])
    other = index.tag_matrix().copy()
    other[3] = 1 - other[3]
    folder, config = tmp_path / "classifier", Attention.model_validate(TAGGER)
    folder.mkdir()
    for tags, ids, said in (
        (index.tag_matrix()[:5], index.ids[:5], f"lacks 2 of 7 training images, the first is {index.ids[5]}"),
        (other, index.ids, f"has other tags for 1 of 7 training images, the first is {index.ids[3]}"),
    ):
        AttentionAccumulator(tags, (3, 3), 0.0).save(folder, ids)
        with pytest.raises(LacksImages, match=f"npz: {said}: .* run without --retrain never"):
            train_attention.run(config, tmp_path / "out", StageRuntime(), dataset=inputs["dataset"], classifier=folder)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
def test_saliency_resumes_to_the_same_bytes(tmp_path: Path, inputs: dict[str, Path], optimizer: str) -> None:
    """The saliency network of an interrupted training equals that of an undisturbed one."""
    config = Saliency.model_validate(SALIENCY | {"optimizer": optimizer})
    check_resumed(train_saliency.run, config, tmp_path, (2, 4), saliency_set=inputs["pairs"])


@pytest.mark.parametrize("provider", ["reciprocal", "purnet"])
def test_the_optimizers_of_saliency_differ(tmp_path: Path, inputs: dict[str, Path], provider: str) -> None:
    """Each optimizer takes steps of its own from the same start; momentum is read by SGD alone."""
    base = (SALIENCY if provider == "reciprocal" else PURNET) | {"iterations": 3}
    models = []
    for number, changes in enumerate(
        ({"optimizer": "adamw"}, {"optimizer": "adamw", "momentum": 0.5}, {}, {"momentum": 0.5})
    ):
        out = tmp_path / str(number)
        train_saliency.run(Saliency.model_validate(base | changes), out, StageRuntime(), saliency_set=inputs["pairs"])
        models.append(files_of(out)["model.pt"])
    assert models[0] == models[1] and len(set(models)) == 3


def test_the_loss_on_the_map_trains_another_network(tmp_path: Path, inputs: dict[str, Path]) -> None:
    """Each form of it adds to the loss and steers elsewhere; at weight 0 it changes nothing."""
    losses, models = [], []
    for number, changes in enumerate(
        ({}, {"map_loss": "mean", "map_loss_weight": 0.0}, {"map_loss": "mean"}, {"map_loss": "difference"})
    ):
        out, config = tmp_path / str(number), Saliency.model_validate(SALIENCY | {"iterations": 2} | changes)
        train_saliency.run(config, out, StageRuntime(), saliency_set=inputs["pairs"])
        models.append(files_of(out)["model.pt"])
        losses.append(float((out / "losses.csv").read_text().splitlines()[1].split(",")[1]))
    assert models[0] == models[1] and len(set(models)) == 3
    assert losses[0] == losses[1] < min(losses[2:])


@pytest.mark.parametrize("stops", [(3, 5), (2, 4)], ids=["between", "within"])
def test_purnet_resumes_to_the_same_bytes(tmp_path: Path, inputs: dict[str, Path], stops: tuple[int, ...]) -> None:
    """The purnet network of an interrupted training equals that of an undisturbed one, in and between stages."""
    config = Saliency.model_validate(PURNET)
    whole = check_resumed(train_saliency.run, config, tmp_path, stops, saliency_set=inputs["pairs"])
    assert read_json(whole / "model.json")["provider"] == "purnet"


@pytest.mark.parametrize(
    "changes",
    [{}, {"backbone_factor": 0.0, "optimizer": "adamw"}, {"paste_objects": 0.5}],
    ids=["plain", "frozen", "pasted"],
)
def test_segmenter_resumes_to_the_same_bytes(tmp_path: Path, inputs: dict[str, Path], changes: dict[str, Any]) -> None:
    """The segmenter of an interrupted training equals that of an undisturbed one."""
    config = Segmenter.model_validate(SEGMENTER | changes)
    given = {"dataset": inputs["dataset"], "labels": inputs["labels"]}
    check_resumed(train_segmenter.run, config, tmp_path, (2, 4), **given)


def test_segmenter_starts_where_the_settings_say(tmp_path: Path, inputs: dict[str, Path]) -> None:
    """With a vanishing rate the backbone, or the segmenter, stays what it started from; another network is refused."""
    train_classifier.run(
        Classifier.model_validate(TAGGER), tmp_path / "classifier", StageRuntime(), dataset=inputs["dataset"]
    )
    still = Segmenter.model_validate(SEGMENTER | {"learning_rate": 1e-30, "weight_decay": 0, "iterations": 1})
    given = {"dataset": inputs["dataset"], "labels": inputs["labels"]}
    train_segmenter.run(still, tmp_path / "one", StageRuntime(), **given, classifier=tmp_path / "classifier")
    train_segmenter.run(still, tmp_path / "two", StageRuntime(), **given)
    before, after, other = (read_state(tmp_path / name / "model.pt") for name in ("classifier", "one", "two"))
    backbone = [name for name in before if name.startswith("backbone.")]
    assert all(torch.allclose(before[name], after[f"segmenter.{name}"], rtol=0, atol=1e-20) for name in backbone)
    assert not all(torch.equal(before[name], other[f"segmenter.{name}"]) for name in backbone)
    train_segmenter.run(still.replaced(seed=1), tmp_path / "next", StageRuntime(), **given, segmenter=tmp_path / "one")
    following = read_state(tmp_path / "next" / "model.pt")
    assert all(torch.allclose(after[name], value, rtol=0, atol=1e-20) for name, value in following.items())
    wider = still.model_copy(update={"backbone": Backbone(name="resnet18", output_stride=16)})
    for start in ("classifier", "segmenter"):
        before_it = {start: tmp_path / ("one" if start == "segmenter" else start)}
        with pytest.raises(WeightsError, match=r"model.pt: does not fit the network: .*conv1"):
            train_segmenter.run(wider, tmp_path / "three", StageRuntime(), **given, **before_it)


KILLED = """
import os, signal, sys
from pathlib import Path
import torch
from tag2mask.configs.schema import Classifier
from tag2mask.tasks import train_classifier
from tag2mask.tasks.store.runtime import StageRuntime

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
    assert list((tmp_path / "killed" / ".resume").glob("checkpoint-*"))
    train_classifier.run(config, tmp_path / "killed", StageRuntime(), dataset=inputs["dataset"])
    assert files_of(tmp_path / "killed") == files_of(tmp_path / "whole")


def test_damaged_checkpoints_start_over(tmp_path: Path, inputs: dict[str, Path]) -> None:
    """Checkpoints that a failing disk cut short cost the steps done, not the result."""
    config = Saliency.model_validate(SALIENCY)
    train_saliency.run(config, tmp_path / "whole", StageRuntime(), saliency_set=inputs["pairs"])
    with pytest.raises(Interrupted):
        train_saliency.run(config, tmp_path / "parts", interrupted_after(3), saliency_set=inputs["pairs"])
    for checkpoint in (tmp_path / "parts" / ".resume").glob("checkpoint-*"):
        checkpoint.write_bytes(checkpoint.read_bytes()[:1000])
    train_saliency.run(config, tmp_path / "parts", StageRuntime(), saliency_set=inputs["pairs"])
    assert files_of(tmp_path / "parts") == files_of(tmp_path / "whole")


def test_ignored_images_train_nothing_and_are_counted(tmp_path: Path, inputs: dict[str, Path]) -> None:
    """The segmenter leaves out what is ignored throughout, says how many, and refuses a set without a label."""
    config = Segmenter.model_validate(SEGMENTER | {"iterations": 1})
    labels = {path.stem: read_labels(path) for path in inputs["labels"].glob("*.png")}
    ignored = {image_id: np.full_like(pixels, 255) for image_id, pixels in labels.items()}
    some = write_label_maps(tmp_path / "some", "mine_objects", ignored | dict(list(labels.items())[:2]))
    none = write_label_maps(tmp_path / "none", "mine_objects", ignored)
    train_segmenter.run(config, tmp_path / "out", StageRuntime(), dataset=inputs["dataset"], labels=some)
    assert read_json(tmp_path / "out" / "metrics.json") == {"images": 2, "left_out": 5, "steps": 1}
    with pytest.raises(train_segmenter.NoLabels, match="all 7 label maps is ignored; lower minimum_foreground of the"):
        train_segmenter.run(config, tmp_path / "out", StageRuntime(), dataset=inputs["dataset"], labels=none)


def test_weights_that_do_not_fit_are_named(tmp_path: Path, inputs: dict[str, Path]) -> None:
    """A weights file of another architecture is refused with the file and the first keys that do not fit."""
    weights = tmp_path / "weights.pt"
    torch.save({"features.0.weight": torch.zeros(2, 3, 3, 3), "strange": torch.zeros(1)}, weights)
    config = Classifier.model_validate(TAGGER | {"backbone": {**BACKBONE, "weights": str(weights)}})
    with pytest.raises(WeightsError) as refusal:
        train_classifier.run(config, tmp_path / "out", StageRuntime(), dataset=inputs["dataset"], weights=weights)
    message = str(refusal.value)
    assert message.startswith(f"{weights}: these are not torchvision's weights of squeezenet1_1: ")
    for part in ("missing (features.0.bias", "1 unexpected (strange)", "features.0.weight (2, 3, 3, 3) instead of"):
        assert part in message
