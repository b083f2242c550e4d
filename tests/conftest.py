"""What all tests share: one thread per process, Prefect away from the user's home, and the seconds of each file."""

import os

os.environ["OMP_NUM_THREADS"] = "1"  # before torch is loaded, which reads it once; the tests' processes share the cores

import shutil
import tempfile
from collections import Counter, defaultdict
from collections.abc import Callable
from pathlib import Path

import pytest

from tag2mask.configs.runtime import available_cores
from tag2mask.flows.serving.settings import set_prefect_defaults
from tag2mask.tasks.store.locks import hold
from tests.small_run import SmallRun, make_small_run

MOST_PROCESSES = 4
"""A process of tests and the stages that it starts hold more than 1 GB at times."""


def pytest_addoption(parser: pytest.Parser) -> None:
    """Let the seconds of each file be asked for."""
    parser.addoption("--file-times", action="store_true", help="print the seconds that each file's tests took")


def pytest_configure(config: pytest.Config) -> None:
    """Set Prefect's environment before anything imports it: it is read once.  Each process of the tests has its own."""
    os.environ["PREFECT_HOME"] = tempfile.mkdtemp(prefix="tag2mask-prefect-")
    os.environ.pop("PREFECT_API_URL", None)
    set_prefect_defaults()


def pytest_unconfigure(config: pytest.Config) -> None:
    """Remove Prefect's home."""
    shutil.rmtree(os.environ["PREFECT_HOME"], ignore_errors=True)


def pytest_xdist_auto_num_workers(config: pytest.Config) -> int:
    """Processes of `-n auto`: one for each core that may be used, up to four."""
    return min(available_cores(), MOST_PROCESSES)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put the files with most slow tests first: begun last, a long one would be waited for."""
    slow = Counter(item.path for item in items if item.get_closest_marker("slow"))
    items.sort(key=lambda item: -slow[item.path])


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """With `--file-times`, a line per file: its seconds by the clock, fixtures included, and its number of tests."""
    if not config.getoption("file_times"):
        return
    seconds, tests = defaultdict[str, float](float), defaultdict[str, set[str]](set)
    reports = (report for found in terminalreporter.stats.values() for report in found)
    for report in reports:
        if isinstance(report, pytest.TestReport):
            file = report.nodeid.partition("::")[0]
            seconds[file] += report.duration
            tests[file].add(report.nodeid)
    terminalreporter.section("seconds of each file")
    for file in sorted(seconds, key=seconds.__getitem__, reverse=True):
        terminalreporter.write_line(f"{seconds[file]:8.1f}  {len(tests[file]):4d} tests  {file}")
    terminalreporter.write_line(f"{sum(seconds.values()):8.1f}  {sum(map(len, tests.values())):4d} tests in all")


def built_once(factory: pytest.TempPathFactory, name: str, build: Callable[[Path], None]) -> Path:
    """A folder that all processes of a test session share: the first that asks builds it, the others wait for it."""
    alone = os.environ.get("PYTEST_XDIST_WORKER") is None
    shared = factory.getbasetemp() if alone else factory.getbasetemp().parent
    folder, done = shared / name, shared / f"{name}.done"
    with hold(shared / ".locks" / name):
        if not done.exists():
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir()
            build(folder)
            done.touch()
    return folder


@pytest.fixture(scope="session")
def small_run(tmp_path_factory: pytest.TempPathFactory) -> SmallRun:
    """A finished run of the whole method on a few drawn scenes: to be read, or copied and changed."""
    return SmallRun(built_once(tmp_path_factory, "small_run", make_small_run))
