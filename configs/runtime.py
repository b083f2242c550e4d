"""What the machine decides of a run, not its settings: never hashed.

Device and precision round differently, and nothing else here changes a result; manifests say which they were.
"""

import os
import re
from pathlib import Path
from typing import Literal

from pydantic import Field

from tag2mask.configs.errors import UserError
from tag2mask.configs.sections.section import Section

Device = Literal["auto", "cpu", "cuda"]
Precision = Literal["auto", "float32", "bfloat16"]
Executor = Literal["here", "processes", "dask"]
LOCAL = re.compile(r"local(?::(\d+))?")
MACHINES = re.compile(r"([2-9]|[1-9]\d+)@([^\s@/:]+)")
"""How many machines, and an address of the first: `2@10.0.0.1`."""
ADDRESS = re.compile(r"(?:tcp|tls|ws|wss|ucx)://[^\s/]+:\d+")


class BadResource(UserError, ValueError):
    """Resources that do not go together; the message names the option and what to write."""


def available_cores() -> int:
    """Cores this process may use (its affinity, not the machine's count)."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


class Runtime(Section):
    """Where and how wide a run works."""

    root: Path = Path("artifacts")
    """Folder of the artifact store."""
    executor: Executor = "here"
    """Who works on images: threads of each stage's process, processes, or the workers of a Dask cluster."""
    dask: str = ""
    """Of the executor `dask`: `local` or `local:4` starts workers on this machine; or a scheduler's `tls://host:8786`."""
    device: Device = "auto"
    """`auto` takes the GPU where there is one."""
    precision: Precision = "auto"
    """Precision of the forward pass in training; `auto` takes bfloat16 where the device has instructions for it."""
    cores: int = Field(default_factory=available_cores, ge=1)
    """Cores to use in all."""
    branches: int = Field(default=0, ge=0)
    """Stages that may run side by side; 0 decides by the cores."""
    shard: int = Field(default=32, ge=1)
    """Images between two journal entries of an inference stage: at most one shard is repeated after a crash."""
    devices: int = Field(default=1, ge=1)
    """Processes that share the batches of a training, each on a GPU of its own, or on a part of the cores."""
    machines: str = ""
    """Of trainings: how many machines share them, and an address of this one where they meet: `2@10.0.0.1`; the others
    run `tag2mask join`.  Empty: this one alone."""
    slot: str = "gpu"
    """Under Prefect: name of the concurrency limit that trainings of several runs share; "" lets them collide."""
    checkpoint_seconds: float = Field(default=60.0, gt=0)
    """Seconds of training between two checkpoints."""

    @property
    def local_workers(self) -> int | None:
        """Workers to start on this machine; None for a cluster that is there."""
        found = LOCAL.fullmatch(self.dask)
        return None if found is None else int(found[1] or self.cores)


def runtime_of(
    root: Path,
    device: Device,
    precision: Precision,
    cores: int | None,
    executor: Executor = "here",
    dask: str = "",
    devices: int = 1,
    machines: str = "",
) -> Runtime:
    """The resources that a command or a flow asks for; `cores` None takes those available.

    Raises:
        BadResource: `dask` is no address, or given to another executor; `machines` is not written as it should be.
    """
    if machines and not MACHINES.fullmatch(machines):
        raise BadResource(f"--machines {machines}: write how many and an address of this one, such as 2@10.0.0.1")
    if dask and executor != "dask":
        raise BadResource(f"--dask {dask}: is for --executor dask, but the executor is {executor!r}")
    if executor == "dask":
        dask = dask or "local"
        found = LOCAL.fullmatch(dask)
        if not ADDRESS.fullmatch(dask) and (found is None or found[1] == "0"):
            raise BadResource(f"--dask {dask}: write local, local:4 or an address such as tls://host:8786")
    given: dict[str, object] = {"root": root, "device": device, "precision": precision}
    given |= {"executor": executor, "dask": dask, "devices": devices, "machines": machines}
    return Runtime.model_validate(given | ({} if cores is None else {"cores": cores}))
