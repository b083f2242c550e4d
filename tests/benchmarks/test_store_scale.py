"""What the store's operations cost as a dataset grows, as a table (`make benchmark-store`)."""

import os
from pathlib import Path

import pytest

from tests.benchmarks.store_scale import CACHED_RUN, OPERATIONS, Cost, measure, table

IMAGES = tuple(map(int, os.environ.get("TAG2MASK_IMAGES", "1000 10000 100000").split()))


@pytest.mark.benchmark
def test_what_the_store_costs_as_a_dataset_grows(tmp_path: Path) -> None:
    """From the least to the most images no operation costs more than twice as much processor time an image."""
    found = {images: measure(tmp_path / str(images), images, lambda line: print(line, flush=True)) for images in IMAGES}
    print(f"\n{table(found)}")
    least, most = min(IMAGES), max(IMAGES)
    for name in OPERATIONS:
        before, after = (found[images][name].processor / images for images in (least, most))
        assert after < 2 * before or after < 1e-4, name


def test_the_table_tells_milliseconds_an_image_and_memory() -> None:
    """An operation's row holds, for each number of images, both times an image and the memory."""
    cost = Cost(seconds=2.0, processor=0.5, memory=7.6)
    lines = table({1000: dict.fromkeys((*OPERATIONS, CACHED_RUN), cost)}).splitlines()
    assert lines[4] == "| index_dataset from nothing | 2.000 (0.500), 8 |"
    assert len(lines) == 2 + len(OPERATIONS) + 1
