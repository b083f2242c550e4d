"""Images a second of every stage that goes image by image, as a table (`make benchmark-executors`)."""

import os
from pathlib import Path

import pytest

from tests.benchmarks.executor_rates import WAYS, Made, measure, table

SETTINGS = Path(__file__).parents[2] / "configs" / "voc-mini.yaml"
IMAGES = tuple(map(int, os.environ.get("TAG2MASK_IMAGES", "20 120").split()))


@pytest.mark.benchmark
def test_two_workers_are_faster_than_one(tmp_path: Path) -> None:
    """Two workers take less time than one for every stage that takes more than 20 ms an image."""
    few, many = IMAGES
    found = measure(tmp_path, (few, many), SETTINGS)
    print(f"\n{table(found)}")
    slow = {stage: ways for stage, ways in found.items() if ways["here"].seconds > 0.02 * ways["here"].images}
    assert all(ways["two workers"].seconds < ways["one worker"].seconds for ways in slow.values())


def test_the_table_tells_rates_and_what_an_image_takes_on_disk() -> None:
    """A stage's row holds time, bytes and files an image, rates of each way, and what a second worker gains."""
    times = dict(zip(WAYS, (50.0, 52.0, 26.0), strict=True))
    found = {
        "refine_cams": {way: Made(images=100, seconds=taken, bytes=250_000, files=100) for way, taken in times.items()}
    }
    assert table(found).splitlines()[2] == "| `refine_cams` | 500.0 | 2.5 | 1 | 2.0 | 1.9 | 3.8 | 2.00 |"
