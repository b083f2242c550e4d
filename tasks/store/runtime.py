"""What a stage is given besides its settings: resources and a place to report to.

Device, precision and the threads of a training round differently; nothing else here may change a result.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, Protocol

from tag2mask.tasks.store.parts import Part

WAITS = "waits: another run is building it"
"""Note of a stage that cannot begin yet; always shown."""
TAKEN_OVER = "was built by another run meanwhile"
"""Note of a stage that had nothing left to do when it began."""


def _silent(done: int, total: int, note: str) -> None:
    """Report nothing."""


class Earlier(Protocol):
    """The images' parts of earlier results that were made from the very same inputs."""

    def __contains__(self, image_id: str) -> bool:
        """Whether there is one of an image."""

    def take(self, image_ids: Sequence[str], out: Path) -> list[Part]:
        """Bring the parts of some images below a folder; those that were sound, with the signatures of their files."""


class NothingEarlier:
    """No earlier result."""

    def __contains__(self, image_id: str) -> bool:
        return False

    def take(self, image_ids: Sequence[str], out: Path) -> list[Part]:
        """Nothing."""
        return []


@dataclass(frozen=True)
class Cluster:
    """A Dask cluster."""

    address: str
    """Of its scheduler, such as `tls://host:8786`."""
    credentials: Mapping[str, str] = field(default_factory=dict, repr=False)
    """Keys and certificates, by Dask's names; without any, Dask's own settings say which."""


@dataclass(frozen=True)
class StageRuntime:
    """Resources of one stage."""

    device: str = "cpu"
    """`cpu` or `cuda`."""
    precision: Literal["float32", "bfloat16"] = "float32"
    """Of the forward pass in training; inference is always in float32."""
    threads: int = 1
    """Threads of trainings."""
    executor: Literal["here", "processes", "dask"] = "here"
    """Who works on images: threads of the stage's process, processes, or the workers of a Dask cluster."""
    workers: int = 1
    """Images worked on at once, each by one thread or process; a cluster has as many workers as it has."""
    devices: int = 1
    """Processes that share a training's batches, each with a device of its own."""
    machines: str = ""
    """Machines that share them, and where they meet: `2@10.0.0.1`; empty: this one alone."""
    cluster: Cluster | None = None
    """Where the executor is `dask`."""
    shard: int = 32
    """Images per journal entry."""
    journal_seconds: float = 0.0
    """Shortest time between two journal entries: forcing one to the disk takes as long as many a small image."""
    checkpoint_seconds: float = 60.0
    """Seconds between two checkpoints of a training."""
    report: Callable[[int, int, str], None] = _silent
    """Called with (steps or images done, in all, a short note such as the loss)."""
    earlier: Earlier = field(default_factory=NothingEarlier)
    """What may be taken over of earlier results."""

    def progress(self, done: int, total: int, note: str = "") -> None:
        """Report progress."""
        self.report(done, total, note)
