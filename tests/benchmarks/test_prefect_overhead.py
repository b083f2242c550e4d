"""What Prefect adds to the demo, from scratch and cached.

`make benchmark-prefect` prints the table, on a machine that does nothing else.
"""

from pathlib import Path

import pytest

from tests.benchmarks.prefect_overhead import EPHEMERAL, LOCAL, SERVER, Seconds, measure, table

SCRATCH, CACHED = 2, 3
"""Runs of each kind and engine."""


@pytest.mark.benchmark
def test_the_measurement_runs(tmp_path: Path) -> None:
    """With a tiny run it times each engine, and leaves one store that all of them find complete."""
    reported: list[str] = []
    found = measure(tmp_path, whole=False, scratch=1, cached=1, say=reported.append)
    assert {run: list(engines) for run, engines in found.items()} == {
        "from scratch": [LOCAL, SERVER],
        "cached": [LOCAL, SERVER, EPHEMERAL],
        "one stage": [LOCAL, SERVER, EPHEMERAL],
    }
    assert len(reported) == 8 and all(len(seconds) == 1 for engines in found.values() for seconds in engines.values())
    assert not (tmp_path / "scratch").exists()
    print(table(found))


@pytest.mark.benchmark
def test_what_prefect_adds_to_the_demo(tmp_path: Path) -> None:
    """A server that runs costs a cached run of the demo less than 10 s, and the demo from scratch less than a tenth."""
    found = measure(tmp_path, whole=True, scratch=SCRATCH, cached=CACHED, say=lambda line: print(line, flush=True))
    print(f"\n{table(found)}")
    cached, scratch = found["cached"], found["from scratch"]
    assert _least(cached[SERVER]) - _least(cached[LOCAL]) < 10
    assert _least(scratch[SERVER]) < 1.1 * _least(scratch[LOCAL])


def _least(runs: list[Seconds]) -> float:
    return min(run.clock for run in runs)


def test_the_table_shows_what_is_added() -> None:
    """Medians stand beside all figures, and the difference to the run without Prefect."""
    alone = [Seconds(0.3, 0.1), Seconds(0.2, 0.1), Seconds(9.0, 0.2)]
    served = [Seconds(2.5, 1.5), Seconds(2.0, 1.4), Seconds(2.4, 1.6)]
    lines = table({"cached": {LOCAL: alone, SERVER: served, EPHEMERAL: [Seconds(12.0, 27.0)]}}).splitlines()
    assert lines[2:] == [
        "| cached | without Prefect | 0.30 | 0.30, 0.20, 9.00 |  | 0.10 |  |",
        "| cached | running server | 2.40 | 2.50, 2.00, 2.40 | 2.10 | 1.50 | 1.40 |",
        "| cached | server for the run | 12.0 | 12.0 | 11.7 | 27.0 | 26.9 |",
    ]
