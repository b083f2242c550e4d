"""What a stage is given besides its settings: resources and a place to report to.

Device and precision round differently; nothing else here may change a result.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

WAITS = "waits: another run is building it"
"""Note of a stage that cannot begin yet; always shown."""
TAKEN_OVER = "was built by another run meanwhile"
"""Note of a stage that had nothing left to do when it began."""


def _silent(done: int, total: int, note: str) -> None:
    """Report nothing."""


@dataclass(frozen=True)
class StageRuntime:
    """Resources of one stage."""

    device: str = "cpu"
    """`cpu` or `cuda`."""
    precision: Literal["float32", "bfloat16"] = "float32"
    """Arithmetic of the forward pass in training; inference is always in float32."""
    threads: int = 1
    """Threads of torch."""
    workers: int = 1
    """Images worked on at once, each by one thread or process (the CRF, the prior)."""
    shard: int = 32
    """Images per journal entry."""
    checkpoint_seconds: float = 60.0
    """Seconds between two checkpoints of a training."""
    report: Callable[[int, int, str], None] = _silent
    """Told (steps or images done, in all, a short note such as the loss)."""
    earlier: Mapping[str, Mapping[str, Path]] = field(default_factory=dict)
    """Image id -> {relative name: file} of an earlier result made from the very same inputs for that image."""

    def progress(self, done: int, total: int, note: str = "") -> None:
        """Report progress."""
        self.report(done, total, note)
