"""What the tests of several stages share."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from tests.tasks.drawn_files import save_image, write_tags
from tests.tasks.indexed_folder import TAGS


@pytest.fixture
def one_thread() -> Iterator[None]:
    """Let torch compute in one thread: small networks are faster so, and the order of sums is fixed."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture
def raw(tmp_path: Path) -> Path:
    """A folder of five images with tags."""
    for seed, image_id in enumerate(TAGS):
        save_image(tmp_path / "raw" / "photos" / f"{image_id}.jpg", seed, (12, 16 + seed))
    write_tags(tmp_path / "raw" / "labels.csv", TAGS)
    return tmp_path / "raw"
