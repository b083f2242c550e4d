"""What the machine decides of a run, not its settings: never hashed.

Device and precision round differently, and nothing else here changes a result; manifests say which they were.
"""

import os
from pathlib import Path
from typing import Literal

from pydantic import Field

from tag2mask.configs.sections.section import Section

Device = Literal["auto", "cpu", "cuda"]
Precision = Literal["auto", "float32", "bfloat16"]


def available_cores() -> int:
    """Cores this process may use (its affinity, not the machine's count)."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


class Runtime(Section):
    """Where and how wide a run works."""

    root: Path = Path("artifacts")
    """Folder of the artifact store."""
    device: Device = "auto"
    """`auto` takes the GPU where there is one."""
    precision: Precision = "auto"
    """Arithmetic of the forward pass in training; `auto` takes bfloat16 where the device has instructions for it."""
    cores: int = Field(default_factory=available_cores, ge=1)
    """Cores to use in all."""
    branches: int = Field(default=0, ge=0)
    """Stages that may run side by side; 0 decides by the cores."""
    shard: int = Field(default=32, ge=1)
    """Images between two journal entries of an inference stage: at most one shard is repeated after a crash."""
    slot: str = "gpu"
    """Under Prefect: name of the concurrency limit that trainings of several runs share; "" lets them collide."""
    checkpoint_seconds: float = Field(default=60.0, gt=0)
    """Seconds of training between two checkpoints."""


def runtime_of(root: Path, device: Device, precision: Precision, cores: int | None) -> Runtime:
    """The resources that a command or a flow asks for; `cores` None takes those available."""
    given = {"root": root, "device": device, "precision": precision} | ({} if cores is None else {"cores": cores})
    return Runtime.model_validate(given)
