"""The whole method on a Dask cluster of three worker processes, by the commands of docs/scale.md, while workers die."""

import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import pytest
import yaml
from distributed import Client, Security

from tag2mask.tasks.catalog import CATALOG
from tag2mask.tasks.demo.scenes import write_demo
from tests.flows.prefect_api import free_port
from tests.small_run import SCENES, write_settings

pytestmark = [pytest.mark.serving, pytest.mark.timeout(1500), pytest.mark.xdist_group("dask")]
ROOT = Path(__file__).parents[3]
PATIENCE = 400.0
"""Seconds for anything to come about."""
ATTEMPTS = 5
"""Runs in which a short stage may be missed."""


def blocks(language: str) -> list[str]:
    """Blocks of code of docs/scale.md."""
    text = (ROOT / "docs" / "scale.md").read_text(encoding="utf-8")
    return re.findall(rf"^```{language}\n(.*?)^```", text, re.S | re.M)


def command(start: str, folder: Path, port: int) -> list[str]:
    """The command of docs/scale.md that begins so, for the cluster of this test and the settings in a folder."""
    lines = [line.partition("  #")[0].strip() for block in blocks("sh") for line in block.splitlines()]
    line = next(line for line in lines if line.startswith(start))
    line = line.replace("scheduler-host:8786", f"127.0.0.1:{port}").replace("scheduler-host", "127.0.0.1")
    line = line.replace("--port 8786", f"--port {port}").replace("127.0.0.1:8787", "127.0.0.1:0")
    line = line.replace("--nworkers 4", "--nworkers 3").replace("mine.yaml", str(folder / "small.yaml"))
    program, *rest = shlex.split(line)
    return [str(Path(sys.executable).with_name(Path(program).name)) if "/" in program else program, *rest]


@contextmanager
def started(arguments: list[str], folder: Path, log: str) -> Iterator["subprocess.Popen[bytes]"]:
    """A program in a group of its own, which is ended at the end."""
    with (
        (folder / log).open("wb") as out,
        subprocess.Popen(
            arguments,
            cwd=folder,
            stdout=out,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            env={**os.environ, "DASK_CONFIG": "dask.yaml"},
        ) as process,
    ):
        try:
            yield process
        finally:
            os.killpg(process.pid, signal.SIGTERM)
            try:
                process.wait(15)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)


def eventually(what: Callable[[], object]) -> None:
    """Wait until something holds."""
    until = time.monotonic() + PATIENCE
    while not what():
        assert time.monotonic() < until, "it did not come about"
        time.sleep(0.05)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Drawn scenes, settings, Dask's settings and a certificate."""
    made = tmp_path_factory.mktemp("dask")
    write_demo(made / "data", **SCENES)
    write_settings(made)
    (made / "dask.yaml").write_text(blocks("yaml")[0])
    subprocess.run(command("openssl", made, 0), cwd=made, check=True, capture_output=True)
    return made


@pytest.fixture
def client(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Client]:
    """A client of a scheduler with three worker processes, started as docs/scale.md says."""
    port = free_port()
    tls = yaml.safe_load(blocks("yaml")[0])["distributed"]["comm"]["tls"]
    keys = {"tls_ca_file": tls["ca-file"], "tls_client_cert": "dask.crt", "tls_client_key": "dask.key"}
    security = Security(require_encryption=True, **{name: str(folder / file) for name, file in keys.items()})
    with ExitStack() as held:
        held.enter_context(started(command(".venv/bin/dask scheduler", folder, port), folder, "scheduler.log"))
        held.enter_context(started(command(".venv/bin/dask worker", folder, port), folder, "workers.log"))
        address = f"tls://127.0.0.1:{port}"
        found = held.enter_context(Client(address, security=security, timeout=PATIENCE, set_as_default=False))
        found.wait_for_workers(3, timeout=PATIENCE)
        yield found


def run_command(folder: Path, client: Client, root: str) -> list[str]:
    """The command that runs on the cluster, with a store of its own."""
    port = int(client.scheduler.address.rpartition(":")[2])
    line = command(".venv/bin/tag2mask run mine.yaml --executor dask --dask tls", folder, port)
    return [*line, "--root", root, "--cores", "2", "--precision", "float32", "--engine", "local"]


def digests(root: Path) -> dict[str, str]:
    """`stage/key` -> digest of all bytes; the report tells how long stages took."""
    found = {f"{p.parent.parent.name}/{p.parent.name}": p for p in root.glob("[!.]*/*/manifest.json")}
    return {name: json.loads(p.read_text())["digest"] for name, p in found.items() if "report" not in name}


def at_work(client: Client) -> dict[str, list[str]]:
    """Stage -> workers that have a shard of it; nothing where the scheduler is busy with a worker that is gone."""
    found: dict[str, list[str]] = {}
    try:
        processing = client.processing()
    except OSError:
        return {}
    for worker, keys in processing.items():
        for key in keys:
            found.setdefault(str(key).partition("-")[0], []).append(worker)
    return found


def run_while_workers_die(folder: Path, client: Client, killed: set[str]) -> None:
    """Run on the cluster, and kill a worker in each stage that is seen at work and was not killed in before."""
    with started(run_command(folder, client, "dask"), folder, "run.log") as process:
        while process.poll() is None:
            for stage, workers in at_work(client).items():
                if stage not in killed:
                    with suppress(OSError, ValueError):  # it was gone already
                        for pid in client.run(os.getpid, workers=workers[:1], on_error="ignore").values():
                            os.kill(pid, signal.SIGKILL)
                            killed.add(stage)
            time.sleep(0.02)
    assert process.returncode == 0, (folder / "run.log").read_text()


def test_a_worker_killed_in_every_stage_changes_no_byte(folder: Path, client: Client) -> None:
    """With a worker killed in each stage of the DAG, the run ends well and its artifacts are those of one process."""
    here = ["--executor", "here", "--root", "here", "--cores", "2", "--precision", "float32", "--engine", "local"]
    program = [sys.executable, "-m", "tag2mask.flows.cli.main", "run", "small.yaml"]
    subprocess.run([*program, *here], cwd=folder, check=True, capture_output=True)
    spread = {stage for name in digests(folder / "here") if CATALOG[stage := name.partition("/")[0]].spread}
    killed: set[str] = set()
    for _ in range(ATTEMPTS):
        run_while_workers_die(folder, client, killed)
        assert digests(folder / "dask") == digests(folder / "here")
        for stage in spread - killed:  # over before it was seen at work: once more
            shutil.rmtree(folder / "dask" / stage)
        if killed == spread:
            return
    pytest.fail(f"never seen at work: {spread - killed}")


def test_a_killed_run_leaves_no_shard_at_work(folder: Path, client: Client) -> None:
    """A run that is killed is dropped by the scheduler: soon no worker has a shard, and the same command goes on."""
    with started(run_command(folder, client, "killed"), folder, "killed.log") as process:
        eventually(lambda: at_work(client))
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        eventually(lambda: not at_work(client))
    with started(run_command(folder, client, "killed"), folder, "killed.log") as process:
        assert process.wait(600) == 0, (folder / "killed.log").read_text()
