"""A training on several devices: torchrun starts a process for each, and the stage's process listens to the first.

All ranks run the same stage.  The first writes into the stage's folder; the others write aside, below its hidden part,
what nobody reads.
"""

import json
import logging
import os
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

from tag2mask.configs.errors import UserError
from tag2mask.tasks.executors.machines import GIVEN, LAST_LINES, announced, environment_of, torchrun
from tag2mask.tasks.store.files import files_written, note_written
from tag2mask.tasks.store.journal import RESUME
from tag2mask.tasks.store.runtime import StageRuntime

RESOURCES = ("device", "precision", "threads", "devices", "shard", "journal_seconds", "checkpoint_seconds")
"""Fields of the runtime that every rank is given."""
ASIDE = "rank-"
"""Before the number of a rank, in the name of the folder where it writes aside."""
SAID = "tag2mask "
"""Before a line that the first rank says to the stage's process."""
PATIENCE = timedelta(days=7)
"""How long ranks of one machine wait for one of them; torchrun ends them all where one ends."""
APART = timedelta(minutes=30)
"""The same of several machines, where a link may be cut."""
LOOK_SECONDS = 1.0
"""How often a rank looks whether torchrun lives."""
log = logging.getLogger("tag2mask")


class RankFailed(RuntimeError):
    """A process of a training on several devices ended with an error or was killed."""


class RankRefused(UserError, RuntimeError):
    """A rank raised an error that a person can mend."""


def run_on_ranks(
    stage: str, config: Any, out: Path, runtime: StageRuntime, arguments: Mapping[str, Any], inputs: Mapping[str, Path]
) -> None:
    """Run a stage on as many processes as the runtime has devices.

    Args:
        stage: its name.
        config: its settings.
        out: its folder.
        runtime: device, devices, threads (shared by the ranks), precision, progress.
        arguments: further arguments of its `run`.
        inputs: its inputs.

    Raises:
        RankFailed: a rank failed or was killed; torchrun ends the others, and the next attempt goes on from the
            checkpoint.
        RankRefused: a rank raised an error that a person can mend.
    """
    given = {
        "stage": stage,
        "settings": [type(config).__module__, type(config).__qualname__, config.model_dump(mode="json")],
        "out": str(out.absolute()),
        "runtime": {name: getattr(runtime, name) for name in RESOURCES},
        "arguments": dict(arguments),
        "inputs": {name: str(path) for name, path in inputs.items()},
    }
    text = json.dumps(given)
    with ExitStack() as held:
        training = None
        if runtime.machines:
            training = held.enter_context(announced(out, text, runtime.machines, inputs))
        process = held.enter_context(
            subprocess.Popen(
                [*torchrun(runtime.devices, training), "-m", "tag2mask.tasks.executors.ranks"],
                env=environment_of(text, runtime.threads // runtime.devices),
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
            )
        )
        try:
            last, refusal = _listen(process.stdout or (), out, runtime)
        finally:
            process.terminate()
    if refusal:
        raise RankRefused(refusal)
    if process.returncode:
        raise RankFailed(f"a process of {stage} on {runtime.devices} devices failed:\n" + "\n".join(last))


def folder_of_rank(out: Path, rank: int) -> Path:
    """Where a rank that is not the first writes, below a stage's folder."""
    return out / RESUME / f"{ASIDE}{rank}"


def shared_folder(out: Path) -> Path:
    """The stage's folder, of whatever rank this is."""
    return out.parents[1] if out.name.startswith(ASIDE) and out.parent.name == RESUME else out


def _listen(lines: Any, out: Path, runtime: StageRuntime) -> tuple[list[str], str]:
    """Pass on what the first rank says; the last lines of all, and what a person can mend."""
    last: list[str] = []
    refusal = ""
    for line in lines:
        if not line.startswith(SAID):
            last = [*last, line.rstrip()][-LAST_LINES:]
            continue
        kind, *content = json.loads(line.removeprefix(SAID))
        if kind == "progress":
            runtime.progress(*content)
        elif kind == "log":
            logging.getLogger(content[0]).log(content[1], "%s", content[2])
        elif kind == "refused":
            refusal = content[0]
        else:
            for name in content[0]:
                note_written(out / name)
    return last, refusal


def _say(*content: object) -> None:
    print(SAID + json.dumps(content), flush=True)


class _Said(logging.Handler):
    """Sends the log of the first rank to the stage's process."""

    def emit(self, record: logging.LogRecord) -> None:
        _say("log", record.name, record.levelno, record.getMessage())


@contextmanager
def _group(device: str) -> Iterator[int]:
    """The group of all ranks; this one's number."""
    import torch
    from torch import distributed

    rank = int(os.environ["LOCAL_RANK"])
    if device == "cuda":
        torch.cuda.set_device(rank)
    torch.set_num_threads(int(os.environ["OMP_NUM_THREADS"]))
    torch.use_deterministic_algorithms(True, warn_only=True)
    # what one of them does alone, such as the features of a frozen backbone, may take hours
    together = os.environ["LOCAL_WORLD_SIZE"] == os.environ["WORLD_SIZE"]
    backend, patience = "nccl" if device == "cuda" else "gloo", PATIENCE if together else APART
    distributed.init_process_group(backend, timeout=patience)
    try:
        yield distributed.get_rank()
    finally:
        distributed.destroy_process_group()


def _end_with(parent: int) -> None:
    """End this process soon after torchrun: it starts ranks in sessions of their own, where no signal finds them."""
    while os.getppid() == parent:
        time.sleep(LOOK_SECONDS)
    os._exit(1)


def main() -> None:
    """Body of a rank."""
    import importlib

    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    threading.Thread(target=_end_with, args=(os.getppid(),), daemon=True).start()
    given = json.loads(os.environ.pop(GIVEN))
    module, name, settings = given["settings"]
    config = getattr(importlib.import_module(module), name).model_validate(settings)
    out, runtime = Path(given["out"]), StageRuntime(**given["runtime"])
    keywords = {**given["arguments"], **{name: Path(path) for name, path in given["inputs"].items()}}
    run: Callable[..., None] = importlib.import_module(f"tag2mask.tasks.{given['stage']}").run
    with _group(runtime.device) as rank:
        if rank > 0:
            run(config, folder_of_rank(out, rank), runtime, **keywords)
            return
        log.handlers, log.propagate = [_Said()], False
        log.setLevel(logging.INFO)
        reporting = replace(runtime, report=lambda done, total, note: _say("progress", done, total, note))
        try:
            with files_written(out) as written:
                run(config, out, reporting, **keywords)
        except UserError as error:
            _say("refused", str(error))
            raise
        _say("written", _names(out, sorted(written)))


def _names(out: Path, written: Sequence[Path]) -> list[str]:
    """Names below a folder of the files that belong to the result."""
    names = [path.relative_to(out).as_posix() for path in written]
    return [name for name in names if not name.startswith(".")]


if __name__ == "__main__":
    main()
