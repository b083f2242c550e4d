"""Every stage against a plain implementation of the published one, on the same inputs.

`make benchmark-stages` prints the table of docs/computers.md.  TAG2MASK_BENCHMARK_IMAGES names a folder of images to
take instead of drawn ones.
"""

import os
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import torch

from tag2mask.configs.schema import Activation, Classifier
from tests.benchmarks import stage_speed, step_waiting
from tests.benchmarks.stage_inputs import make_inputs
from tests.benchmarks.stage_speed import Timing, table, timed

HAS_PYDENSECRF = find_spec("pydensecrf") is not None
IMAGES = Path(os.environ["TAG2MASK_BENCHMARK_IMAGES"]) if "TAG2MASK_BENCHMARK_IMAGES" in os.environ else None
WEIGHTS = {"tf_efficientnet_lite0": "packaged", "resnet18": "none"}
"""Backbone -> its weights."""
HEAD: dict[str, Any] = {"head_convolutions": 0, "graph": {"normalize": True, "blocker_init": "zero"}}


@pytest.fixture
def one_core() -> Iterator[None]:
    """One thread, as a stage's process on one core has."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def classifier(name: str) -> Classifier:
    """Settings of a classifier."""
    backbone = {"name": name, "output_stride": 16, "weights": WEIGHTS.get(name, "none")}
    return Classifier.model_validate({"backbone": backbone, **HEAD})


@pytest.fixture(scope="module")
def timings() -> Iterator[list[Timing]]:
    """What the benchmarks have measured, printed as one table at the end."""
    found: list[Timing] = []
    yield found
    if found:
        print(f"\n\n{table(found)}\n")


@pytest.mark.benchmark
@pytest.mark.usefixtures("one_core")
def test_mining_and_masking_are_identical_and_faster(tmp_path: Path, timings: list[Timing]) -> None:
    """Both write the bytes of their plain counterparts in less time."""
    inputs = make_inputs(tmp_path / "inputs", 44, images=IMAGES)
    for comparison in (stage_speed.mining(inputs), stage_speed.masking(inputs)):
        timings.append(timed(comparison, tmp_path / "work", rounds=3))
        assert timings[-1].different == 0 and timings[-1].ratio > 1


@pytest.mark.benchmark
@pytest.mark.usefixtures("one_core")
@pytest.mark.skipif(not HAS_PYDENSECRF, reason="pydensecrf, the counterpart, is not installed")
@pytest.mark.parametrize(("classes", "count"), [(20, 3), (80, 2)])
def test_the_crf_of_present_classes_is_faster(tmp_path: Path, timings: list[Timing], classes: int, count: int) -> None:
    """It differs from the counterpart's, over all classes, in fewer than two pixels in a thousand."""
    inputs = make_inputs(tmp_path / "inputs", count, images=IMAGES, classes=classes)
    timings.append(timed(stage_speed.refinement(inputs), tmp_path / "work", rounds=2))
    assert timings[-1].different < 0.002 and timings[-1].ratio > 1


@pytest.mark.benchmark
@pytest.mark.usefixtures("one_core")
@pytest.mark.parametrize("name", WEIGHTS)
def test_class_maps_are_equal_and_faster(tmp_path: Path, timings: list[Timing], name: str) -> None:
    """Fewer than one pixel in a thousand differs, where a cell was cut off to the level beside."""
    inputs = make_inputs(tmp_path / "inputs", 4, images=IMAGES)
    config = Activation(image_size=320, scales=(1.0, 1.5), flip=True)
    timings.append(timed(stage_speed.class_maps(inputs, classifier(name), config), tmp_path / "work", rounds=2))
    assert timings[-1].different < 0.001 and timings[-1].most <= 2 and timings[-1].ratio > 1


@pytest.mark.benchmark
@pytest.mark.usefixtures("one_core")
def test_a_training_step_hardly_waits_for_its_batch(tmp_path: Path) -> None:
    """Ours waits for a smaller share of a step than a loader that is asked in turn."""
    plain, ours = step_waiting.compare(make_inputs(tmp_path, 8, images=IMAGES), epochs=4)
    print(f"\nwaiting for data, share of a step: plain {plain.share:.1%}, ours {ours.share:.1%}")
    assert ours.share < plain.share


@pytest.mark.benchmark
def test_memory_and_cores_of_the_crf(tmp_path: Path) -> None:
    """Three times as many images take no more memory; a second core is printed as what it brings by the clock."""
    few, inputs = make_inputs(tmp_path / "few", 11, images=IMAGES), make_inputs(tmp_path / "inputs", 33, images=IMAGES)
    peaks = [stage_speed.peak_memory(chosen, tmp_path / "work") for chosen in (few, inputs)]
    print(f"\nCRF, peak memory: {peaks[0]:.0f} MiB for 11 images, {peaks[1]:.0f} MiB for 33")
    print(f"CRF with two workers: {stage_speed.gain_of_two_cores(few, tmp_path / 'work'):.2f} times as fast")
    assert peaks[1] < 1.1 * peaks[0]


@pytest.mark.usefixtures("one_core")
def test_the_counterparts_give_the_same_maps(tmp_path: Path) -> None:
    """On a few small images both sides of every comparison write the same maps."""
    inputs = make_inputs(tmp_path / "inputs", 3, sizes=((75, 100), (66, 100), (100, 75)))
    config = Activation(image_size=64, scales=(1.0, 1.5), flip=True)
    found = [
        timed(comparison, tmp_path / "work", rounds=1)
        for comparison in (
            stage_speed.mining(inputs),
            stage_speed.masking(inputs),
            stage_speed.class_maps(inputs, classifier("squeezenet1_1"), config),
        )
    ]
    assert [timing.different for timing in found[:2]] == [0, 0]
    assert found[2].most <= 1  # a cell that rounding takes to the level beside is many pixels of so small a grid
    assert len(table(found).splitlines()) == 5
