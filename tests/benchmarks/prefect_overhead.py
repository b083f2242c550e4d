"""What Prefect adds to a run: the same command with and without it, timed from its start to its end.

Times are given by the clock and, since a machine has other work, by the processor: of the command with its children,
and of the server that answers it.
"""

import os
import resource
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.flows.prefect_api import Api, free_port, until
from tests.flows.served import environment_of, program, write_tiny

LOCAL, SERVER, EPHEMERAL = "without Prefect", "running server", "server for the run"
SETTLE = 3.0
"""Seconds in which a server writes down what it heard last."""


@dataclass(frozen=True)
class Seconds:
    """Of one run."""

    clock: float
    processor: float


Runs = dict[str, list[Seconds]]


@dataclass
class Bench:
    """A dataset, its settings, and how each engine is asked for."""

    folder: Path
    config: Path
    environments: Mapping[str, Mapping[str, str]]
    server: int
    """Process of the running server."""

    def seconds(self, engine: str, store: str, *options: str) -> tuple[Seconds, str]:
        """Seconds of one run into a store, and what it printed.

        Raises:
            CalledProcessError: the run failed.
        """
        command = [sys.executable, "-m", "tag2mask.flows.cli.main", "run", str(self.config), *options]
        command += ["--root", str(self.folder / store), "--engine", "local" if engine == LOCAL else "prefect"]
        started, worked = time.monotonic(), self._processor(engine)
        ran = subprocess.run(
            command, env=dict(self.environments[engine]), stdout=subprocess.PIPE, text=True, check=True
        )
        clock = time.monotonic() - started
        if engine == SERVER:
            time.sleep(SETTLE)
        return Seconds(clock, self._processor(engine) - worked), ran.stdout

    def _processor(self, engine: str) -> float:
        """Seconds of the processor so far: of all commands that have ended and, where it is asked, of the server."""
        used = resource.getrusage(resource.RUSAGE_CHILDREN)
        own = used.ru_utime + used.ru_stime
        if engine != SERVER:
            return own
        fields = Path(f"/proc/{self.server}/stat").read_text().rpartition(")")[2].split()
        return own + (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def from_scratch(self, repeats: int, say: Callable[[str], None]) -> Runs:
        """Seconds of runs into empty stores; every other pair in the other order, so that drifts of the machine cancel.

        The first store stays, as `store`, for the cached runs.
        """
        found: Runs = {LOCAL: [], SERVER: []}
        for number in range(repeats):
            for engine in (LOCAL, SERVER) if number % 2 == 0 else (SERVER, LOCAL):
                seconds, _ = self.seconds(engine, "scratch")
                found[engine].append(seconds)
                say(f"from scratch, {engine}: {_shown(seconds.clock)} s, {_shown(seconds.processor)} of the processor")
                if (self.folder / "store").exists():
                    shutil.rmtree(self.folder / "scratch")
                else:
                    (self.folder / "scratch").rename(self.folder / "store")
        return found

    def cached(self, repeats: int, say: Callable[[str], None], *options: str) -> Runs:
        """Seconds of runs that find everything, or all but what `options` ask for, the engines in turn.

        The first round is not counted.
        """
        found: Runs = {engine: [] for engine in self.environments}
        for number in range(repeats + 1):
            for engine in self.environments:
                seconds, reported = self.seconds(engine, "store", *options)
                assert ("stages are up to date" in reported) is not bool(options), reported
                if number:
                    found[engine].append(seconds)
                    say(f"cached, {engine}: {_shown(seconds.clock)} s, {_shown(seconds.processor)} of the processor")
        return found


FORCED = ("--force", "measure_labels")
"""A short stage, which makes the same bytes again, so that what follows is found."""


def measure(folder: Path, *, whole: bool, scratch: int, cached: int, say: Callable[[str], None]) -> dict[str, Runs]:
    """Time the demo, or a tiny run, from scratch, cached, and with one short stage to build.

    Args:
        folder: an empty folder for the dataset, the stores and the servers' databases.
        whole: take the demo; otherwise a tiny run.
        scratch: runs from scratch of each engine.
        cached: cached runs of each engine.
        say: is given every figure when it comes.
    """
    config = write_tiny(folder, "demo", whole=whole)
    (folder / "server").mkdir()
    server = environment_of(folder / "server", free_port())
    alone = {name: value for name, value in server.items() if name != "PREFECT_API_URL"}
    ephemeral = alone | {"PREFECT_HOME": str(folder / "ephemeral" / "prefect")}
    api = Api(server["PREFECT_API_URL"])
    port = api.address.removesuffix("/api").rpartition(":")[2]
    arguments = ("server", "--port", port, "--root", str(folder / "server" / "store"))
    with program(*arguments, environment=server, log=folder / "server.log") as process:
        until(lambda: api.answers(process), 600)
        bench = Bench(folder, config, {LOCAL: alone, SERVER: server, EPHEMERAL: ephemeral}, process.pid)
        return {
            "from scratch": bench.from_scratch(scratch, say),
            "cached": bench.cached(cached, say),
            "one stage": bench.cached(cached, say, *FORCED),
        }


def table(found: Mapping[str, Runs]) -> str:
    """A Markdown table of medians, and of what Prefect adds to the run without it."""
    lines = [
        "| run | engine | seconds, median | all | added | of the processor | added |",
        "|---|---|---:|---|---:|---:|---:|",
    ]
    for run, engines in found.items():
        base = _median(engines[LOCAL])
        for engine, seconds in engines.items():
            here = _median(seconds)
            added = [_shown(here.clock - base.clock), _shown(here.processor - base.processor)]
            clock, processor = ["", ""] if engine == LOCAL else added
            listed = ", ".join(_shown(one.clock) for one in seconds)
            cells = (run, engine, _shown(here.clock), listed, clock, _shown(here.processor), processor)
            lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def _median(runs: Sequence[Seconds]) -> Seconds:
    return Seconds(statistics.median(run.clock for run in runs), statistics.median(run.processor for run in runs))


def _shown(seconds: float) -> str:
    return f"{seconds:.2f}" if abs(seconds) < 10 else f"{seconds:.1f}"
