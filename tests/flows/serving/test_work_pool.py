"""The same deployments in a work pool: `prefect.yaml`, and a worker that carries out a run of it."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from tag2mask.flows.serving.settings import set_prefect_defaults
from tests.flows.prefect_api import free_port, until
from tests.flows.served import end, environment_of, running_server, write_tiny

ROOT = Path(__file__).parents[3]
DEMO = ["configs/demo.yaml", "--cron", "0 2 * * *", "--set", "dataset.root=artifacts/.demo-data"]
DEMO += ["--set", "saliency_set.root=artifacts/.demo-data/saliency"]


def printed(*arguments: str, folder: Path) -> str:
    """What the command `prefect-yaml` prints in a folder."""
    command = [sys.executable, "-m", "tag2mask.flows.cli.main", "prefect-yaml", *arguments]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=True).stdout


@pytest.mark.slow
def test_the_repository_s_file_is_what_the_command_writes() -> None:
    """`prefect.yaml` is up to date with the stages and the demo's settings, and names no place of this machine."""
    text = (ROOT / "prefect.yaml").read_text(encoding="utf-8")
    fresh = yaml.safe_load(printed(*DEMO, folder=ROOT))
    assert yaml.safe_load(text) == fresh, "write it anew: make prefect.yaml"
    assert str(ROOT) not in text


@pytest.mark.serving
@pytest.mark.timeout(600)
def test_a_worker_carries_out_a_stage(tmp_path: Path) -> None:
    """`prefect deploy --all` takes the file, and a process worker runs a stage of it."""
    set_prefect_defaults()
    config, environment = write_tiny(tmp_path), environment_of(tmp_path, free_port())
    environment = {**os.environ, **environment, "PWD": str(tmp_path)}
    (tmp_path / "prefect.yaml").write_text(printed(config.name, "--root", "store", folder=tmp_path))

    def prefect(*arguments: str) -> None:
        command = [sys.executable, "-m", "prefect", "--no-prompt", *arguments]
        subprocess.run(command, cwd=tmp_path, env=environment, check=True, capture_output=True, timeout=120)

    with running_server(tmp_path, environment) as api:
        prefect("work-pool", "create", "--type", "process", "tag2mask")
        prefect("deploy", "--all")
        command = [sys.executable, "-m", "prefect", "worker", "start", "--pool", "tag2mask"]
        with (tmp_path / "worker.log").open("wb") as log:
            worker = subprocess.Popen(
                command, cwd=tmp_path, env=environment, stdout=log, stderr=log, start_new_session=True
            )
        try:
            run_id = api.start("index_dataset/tiny-index_dataset", downstream=False)
            run = api.ended(run_id, 180)
            assert run["state_type"] == "COMPLETED", run["state"]["message"]
        finally:
            end(worker)
        assert until(lambda: api.tasks(run_id) or None, 30).keys() == {"index_dataset"}
    assert len(list((tmp_path / "store" / "index_dataset").iterdir())) == 1
