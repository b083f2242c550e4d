"""A real server and a real `tag2mask serve` for the tests, and a small client of the server's API."""

import os
import shutil
import signal
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from tag2mask.configs.document import commented_yaml
from tag2mask.configs.load import load_config
from tag2mask.flows.init import packaged
from tag2mask.tasks.demo.scenes import write_demo
from tests.flows.prefect_api import Api, free_port, until
from tests.flows.published_way import PUBLISHED

BROWSERS = ("chromium", "chromium-browser", "google-chrome")
SMALL = (
    *PUBLISHED,
    *(f"{section}.image_size=64" for section in ("classifier", "cams", "attention", "attention_maps", "saliency")),
    *(f"{section}.epochs=1" for section in ("classifier", "attention")),
    "classifier.accumulate_from=0",
    "cams.scales=[1.0]",
    "saliency.iterations=2",
    "segmenter.iterations=2",
    "segmenter.batch_size=2",
    "segmenter.crop_size=64",
    *(f"{section}.image_size=80" for section in ("segmenter", "prediction")),
    "mining.minimum_foreground=0",
    "masking.minimum_foreground=0",
    "refinement.iterations=1",
    "dataset.minimum_images=1",
    "dataset.val_split=null",
    "report.images=2",
)
"""Changes to the demo's settings: the published way, which has more stages, in a few seconds."""


def write_tiny(folder: Path, name: str = "tiny", *, whole: bool = False) -> Path:
    """Draw a small dataset, unless it is there, and write settings for it; the settings file.

    Args:
        folder: where to.
        name: of the run.
        whole: draw and set up the whole demo as it is installed instead, which takes minutes to run.
    """
    data = folder / "data"
    if not data.exists():
        write_demo(data, **({} if whole else {"scenes": 8, "validation": 2, "saliency": 4, "size": 80}))
    roots = (f"dataset.root={data}", f"saliency_set.root={data / 'saliency'}", f"name={name}")
    config = load_config(packaged("demo.yaml"), [*(() if whole else SMALL), *roots])
    path = folder / f"{name}.yaml"
    path.write_text(commented_yaml(config, folder), encoding="utf-8")
    return path


@dataclass
class Served:
    """A server and what `tag2mask serve` offers on it."""

    folder: Path
    api: Api
    environment: dict[str, str]
    serving: "subprocess.Popen[bytes]"

    @property
    def root(self) -> Path:
        """The store's folder."""
        return self.folder / "store"

    @property
    def slots(self) -> int:
        """How many runs hold the slot of the trainings."""
        try:
            number: int = self.api.call("v2/concurrency_limits/gpu")["active_slots"]
        except urllib.error.HTTPError:
            return 0  # not made yet
        return number

    def process_of(self, run_id: str) -> int:
        """Process that carries out a flow run."""
        found = next(_processes(run_id, b"prefect"), None)
        assert found is not None, f"no process carries out {run_id}"
        return found

    def stage_of(self, run_id: str) -> int | None:
        """Process of a stage of a flow run, which leads a group of its own; None where none is at work."""
        return next((number for number in _processes(run_id, b"forkserver") if os.getpgid(number) == number), None)


def _processes(run_id: str, word: bytes) -> Iterator[int]:
    """Processes of a flow run whose command line has a word."""
    wanted = f"PREFECT__FLOW_RUN_ID={run_id}".encode()
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            ours = wanted in (folder / "environ").read_bytes().split(b"\0")
            if ours and word in (folder / "cmdline").read_bytes():
                yield int(folder.name)
        except OSError:
            continue  # ended, or somebody else's


def environment_of(folder: Path, port: int) -> dict[str, str]:
    """Environment in which Prefect touches nothing but a folder and a port."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("PREFECT_")}
    return kept | {"PREFECT_HOME": str(folder / "prefect"), "PREFECT_API_URL": f"http://127.0.0.1:{port}/api"}


@contextmanager
def program(*arguments: str, environment: Mapping[str, str], log: Path) -> Iterator["subprocess.Popen[bytes]"]:
    """A command of ours at work in a process group of its own, ended at last."""
    command = [sys.executable, "-m", "tag2mask.flows.cli.main", *arguments]
    with log.open("ab") as file:
        process = subprocess.Popen(command, env=dict(environment), stdout=file, stderr=file, start_new_session=True)
    try:
        yield process
    finally:
        end(process)


def end(process: "subprocess.Popen[bytes]") -> None:
    """End a process in order, and whatever is left of its group by force."""
    process.terminate()
    try:
        process.wait(30)
    except subprocess.TimeoutExpired:
        pass
    try:
        os.killpg(process.pid, signal.SIGKILL)
    except ProcessLookupError:
        pass
    process.wait()


@contextmanager
def running_server(folder: Path, environment: dict[str, str], *options: str) -> Iterator[Api]:
    """`tag2mask server` of the store in a folder, on the port that the environment names."""
    api = Api(environment["PREFECT_API_URL"])
    port = api.address.removesuffix("/api").rpartition(":")[2]
    arguments = ["server", "--port", port, "--root", str(folder / "store"), *options]
    with program(*arguments, environment=environment, log=folder / "server.log") as process:
        until(lambda: api.answers(process), 600)
        yield api if "--password" in options else replace(api, headers=api.token())


@contextmanager
def serving(folder: Path, config: Path, *, cron: str | None = None) -> Iterator[Served]:
    """A server with the deployments of a settings file, and their runner."""
    environment = environment_of(folder, free_port())
    with running_server(folder, environment) as api, offering(folder, config, api, environment, cron=cron) as process:
        yield Served(folder, api, environment, process)


@contextmanager
def offering(
    folder: Path, config: Path, api: Api, environment: dict[str, str], *, cron: str | None = None
) -> Iterator["subprocess.Popen[bytes]"]:
    """`tag2mask serve` of a settings file on a server that runs."""
    arguments = ["serve", str(config), "--root", str(folder / "store"), "--reports-port", "0", "--limit", "3"]
    arguments += [] if cron is None else ["--cron", cron]
    log = folder / "serve.log"
    with program(*arguments, environment=environment, log=log) as process:
        until(lambda: _offered(api, process, log), 120)
        yield process


def _offered(api: Api, process: "subprocess.Popen[bytes]", log: Path) -> bool | None:
    assert process.poll() is None, log.read_text()
    found = api.call("deployments/filter", {})
    return True if any(d["name"].endswith("-render_report") and d["status"] == "READY" for d in found) else None


@contextmanager
def browser(*arguments: str) -> Iterator[Any]:
    """An installed chromium, started with further arguments; the test is skipped where there is none."""
    path = next(filter(None, (shutil.which(name) for name in BROWSERS)), None)
    if path is None:
        pytest.skip(f"no browser is installed (looked for {', '.join(BROWSERS)})")
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed: see the dev extra")
    with playwright.sync_playwright() as driver:
        started = driver.chromium.launch(executable_path=path, args=["--no-sandbox", *arguments])
        yield started
        started.close()
