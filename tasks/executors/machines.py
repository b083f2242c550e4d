"""Trainings that several machines share: what is to be done lies in the store, where the others look for it.

`<root>/.trainings/<stage>-<key>.json` stands there while a training goes on, and its lock is held.  The machines meet
by torchrun's static rendezvous at an address of the first one, which is number 0 and writes.
"""

import json
import logging
import os
import secrets
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from tag2mask.configs.errors import UserError
from tag2mask.configs.runtime import MACHINES
from tag2mask.tasks.executors.fellows import Origin, UnlikeWorker, fault_of_this_process, origin
from tag2mask.tasks.store.files import read_json, write_json
from tag2mask.tasks.store.locks import hold

GIVEN = "TAG2MASK_RANK"
"""Environment variable of a rank: what it is to do, in JSON."""
TRAININGS = ".trainings"
"""Folder of the store with what is to be shared."""
LOOK_SECONDS = 1.0
LAST_LINES = 12
"""Of what torchrun and its processes say, where one ended with an error."""
log = logging.getLogger("tag2mask")


class BadMachines(UserError, ValueError):
    """A machine cannot take part; the message says why."""


@dataclass(frozen=True)
class SharedTraining:
    """A training that waits for other machines, or goes on with them."""

    token: str
    """Unlike any other's."""
    machines: int
    address: str
    """Of the first machine."""
    port: int
    given: str
    """What each rank is to do, JSON; see `ranks`."""
    seen: Origin
    """What every machine must see."""

    @classmethod
    def read(cls, path: Path) -> "SharedTraining":
        """Read what `announced` wrote."""
        content = read_json(path)
        seen = content.pop("seen")
        versions = tuple((str(name), str(release)) for name, release in seen["versions"])
        inputs = tuple(Path(one) for one in seen["inputs"])
        return cls(**content, seen=Origin(seen["host"], versions, Path(seen["token"]), inputs))


@contextmanager
def announced(out: Path, given: str, machines: str, inputs: Mapping[str, Path]) -> Iterator[SharedTraining]:
    """Put a training down in the store as long as it lasts.

    Args:
        out: the folder that the stage writes, `<root>/.work/<stage>/<key>`.
        given: what each rank is to do.
        machines: `2@10.0.0.1`; see `MACHINES`.
        inputs: what the stage reads.
    """
    found = MACHINES.fullmatch(machines)
    assert found is not None  # checked where it was asked for
    path = out.parents[2] / TRAININGS / f"{out.parent.name}-{out.name}.json"
    with origin(out, tuple(inputs.values())) as seen, hold(path.with_suffix(".lock")):
        training = SharedTraining(secrets.token_hex(8), int(found[1]), found[2], _free_port(), given, seen)
        write_json(path, json.loads(json.dumps(asdict(training), default=str)))
        log.info("%s waits for %d more machines: tag2mask join", out.parent.name, training.machines - 1)
        try:
            yield training
        finally:
            path.unlink(missing_ok=True)


def torchrun(devices: int, training: SharedTraining | None = None, number: int = 0) -> list[str]:
    """The command, without what its processes run, for the devices of one machine.

    Args:
        devices: processes on this machine.
        training: what several machines share; None: this machine is alone.
        number: of this machine; 0 writes.
    """
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", str(devices)]
    if training is None:
        return [*command, "--standalone"]
    place = ["--master-addr", training.address, "--master-port", str(training.port)]
    return [*command, "--nnodes", str(training.machines), "--node-rank", str(number), *place]


def environment_of(given: str, threads: int) -> dict[str, str]:
    """Environment of torchrun's processes; torch takes `threads` in each."""
    found = {**os.environ, GIVEN: given, "OMP_NUM_THREADS": str(max(1, threads))}
    found["PYTHONPATH"] = os.pathsep.join(path or os.getcwd() for path in sys.path)
    return found


def take_part(root: Path, number: int, devices: int, threads: int) -> Iterator[str]:
    """Take part in the trainings of a store, one after the other, for ever; what to say of each.

    Args:
        root: folder of the store, under the path that the first machine has.
        number: of this machine, from 1 on, unlike that of any other.
        devices: processes here.
        threads: of all of them together.

    Raises:
        BadMachines: there are not so many machines.
        UnlikeWorker: this machine has another release, or does not see the store or an input under the same path.
    """
    known: set[str] = set()
    while True:
        for path in sorted((root.absolute() / TRAININGS).glob("*.json")):
            training = _going_on(path)
            if training is None or training.token in known:
                continue
            known.add(training.token)
            _check(training, number)
            yield f"{path.stem}: takes part as machine {number}"
            command = [*torchrun(devices, training, number), "-m", "tag2mask.tasks.executors.ranks"]
            # kept back, since torchrun complains even of a first machine that was done a moment earlier
            kept: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
            environment = environment_of(training.given, threads // devices)
            with subprocess.Popen(command, env=environment, **kept) as process:
                try:
                    said, _ = process.communicate()
                finally:
                    process.terminate()  # also where this command is ended: torchrun ends its ranks
            if process.returncode == 0:
                yield f"{path.stem}: done"
            else:
                last = "\n".join(said.splitlines()[-LAST_LINES:])
                yield f"{path.stem}: ended with an error, and the next one is waited for:\n{last}"
        time.sleep(LOOK_SECONDS)


def _going_on(path: Path) -> SharedTraining | None:
    """The training of a file; None where it has ended, or whoever announced it is gone."""
    try:
        with hold(path.with_suffix(".lock"), wait=False):
            path.unlink(missing_ok=True)
            return None
    except BlockingIOError:
        pass
    try:
        return SharedTraining.read(path)
    except FileNotFoundError:
        return None


def _check(training: SharedTraining, number: int) -> None:
    if number >= training.machines:
        raise BadMachines(
            f"--number {number}: the run has {training.machines} machines; the others are 1 to {training.machines - 1}"
        )
    if fault := fault_of_this_process(training.seen):
        raise UnlikeWorker(f"{socket.gethostname()} {fault}")


def _free_port() -> int:
    with socket.socket() as one:
        one.bind(("", 0))
        return int(one.getsockname()[1])
