"""What Prefect adds to a run: the same command with and without it, timed from its start to its end."""

import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.flows.prefect_api import free_port
from tests.flows.served import environment_of, running_server, write_tiny

LOCAL, SERVER, EPHEMERAL = "without Prefect", "running server", "ephemeral server"
Seconds = dict[str, list[float]]


@dataclass
class Bench:
    """A dataset, its settings, and how each engine is asked for."""

    folder: Path
    config: Path
    environments: Mapping[str, Mapping[str, str]]

    def seconds(self, engine: str, store: str) -> tuple[float, str]:
        """Seconds of one run into a store, by the clock, and what it printed.

        Raises:
            CalledProcessError: the run failed.
        """
        command = [sys.executable, "-m", "tag2mask.flows.cli.main", "run", str(self.config)]
        command += ["--root", str(self.folder / store), "--engine", "local" if engine == LOCAL else "prefect"]
        started = time.monotonic()
        ran = subprocess.run(
            command, env=dict(self.environments[engine]), stdout=subprocess.PIPE, text=True, check=True
        )
        return time.monotonic() - started, ran.stdout

    def from_scratch(self, repeats: int, say: Callable[[str], None]) -> Seconds:
        """Seconds of runs into empty stores; every other pair in the other order, so that drifts of the machine cancel.

        The first store stays, as `store`, for the cached runs.
        """
        found: Seconds = {LOCAL: [], SERVER: []}
        for number in range(repeats):
            for engine in (LOCAL, SERVER) if number % 2 == 0 else (SERVER, LOCAL):
                seconds, _ = self.seconds(engine, "scratch")
                found[engine].append(seconds)
                say(f"from scratch, {engine}: {seconds:.1f} s")
                if (self.folder / "store").exists():
                    shutil.rmtree(self.folder / "scratch")
                else:
                    (self.folder / "scratch").rename(self.folder / "store")
        return found

    def cached(self, repeats: int, say: Callable[[str], None]) -> Seconds:
        """Seconds of runs that find everything, the engines in turn; the first round is not counted."""
        found: Seconds = {engine: [] for engine in self.environments}
        for number in range(repeats + 1):
            for engine in self.environments:
                seconds, reported = self.seconds(engine, "store")
                assert "stages are up to date" in reported, reported
                if number:
                    found[engine].append(seconds)
                    say(f"cached, {engine}: {seconds:.2f} s")
        return found


def measure(folder: Path, *, whole: bool, scratch: int, cached: int, say: Callable[[str], None]) -> dict[str, Seconds]:
    """Time the demo, or a tiny run, from scratch and cached.

    Args:
        folder: an empty folder for the dataset, the stores and the servers' databases.
        whole: take the demo; otherwise a tiny run.
        scratch: runs from scratch of each engine.
        cached: cached runs of each engine.
        say: is reported every figure when it comes.
    """
    config = write_tiny(folder, "demo", whole=whole)
    server = environment_of(folder / "server", free_port())
    alone = {name: value for name, value in server.items() if name != "PREFECT_API_URL"}
    ephemeral = alone | {"PREFECT_HOME": str(folder / "ephemeral" / "prefect")}
    bench = Bench(folder, config, {LOCAL: alone, SERVER: server, EPHEMERAL: ephemeral})
    (folder / "server").mkdir()
    with running_server(folder / "server", server):
        return {"from scratch": bench.from_scratch(scratch, say), "cached": bench.cached(cached, say)}


def table(found: Mapping[str, Seconds]) -> str:
    """A Markdown table of medians, and of what Prefect adds to the run without it."""
    lines = ["| run | engine | seconds, median | all | added |", "|---|---|---:|---|---:|"]
    for run, engines in found.items():
        base = statistics.median(engines[LOCAL])
        for engine, seconds in engines.items():
            added = "" if engine == LOCAL else _shown(statistics.median(seconds) - base)
            cells = (run, engine, _shown(statistics.median(seconds)), _listed(seconds), added)
            lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def _shown(seconds: float) -> str:
    return f"{seconds:.2f}" if abs(seconds) < 10 else f"{seconds:.1f}"


def _listed(seconds: Sequence[float]) -> str:
    return ", ".join(map(_shown, seconds))
