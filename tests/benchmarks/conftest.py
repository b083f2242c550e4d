"""What the benchmarks share."""

from collections.abc import Iterator

import pytest
import torch


@pytest.fixture
def as_in_a_run() -> Iterator[None]:
    """Determinism and threads as a stage's own process sets them."""
    threads = torch.get_num_threads()
    torch.use_deterministic_algorithms(True, warn_only=True)
    yield
    torch.use_deterministic_algorithms(False)
    torch.set_num_threads(threads)
