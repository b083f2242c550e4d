"""The same server on PostgreSQL, which a team takes; skipped where it is not installed."""

import getpass
import os
import pwd
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.flows.prefect_api import free_port
from tests.flows.served import Served, environment_of, offering, running_server, write_tiny

pytestmark = [pytest.mark.serving, pytest.mark.timeout(600)]
NOBODY = "postgres"
"""User that Debian's package makes; PostgreSQL refuses to work for root."""


def program_of(name: str) -> str | None:
    """Path of one of PostgreSQL's programs, which Debian keeps out of the way."""
    kept = sorted(Path("/usr/lib/postgresql").glob(f"*/bin/{name}"))
    return str(kept[-1]) if kept else shutil.which(name)


def as_user(*command: str) -> None:
    """Run one of its programs, not as root."""
    user = pwd.getpwnam(NOBODY).pw_name if os.geteuid() == 0 else None
    subprocess.run(command, check=True, user=user, cwd="/", stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


@pytest.fixture
def database(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Address of an empty database that lives as long as the test."""
    control, create = program_of("pg_ctl"), program_of("initdb")
    if control is None or create is None:
        pytest.skip("PostgreSQL is not installed")
    folder = Path(f"/tmp/tag2mask-postgres-{os.getpid()}")  # a short name: its socket's path has a limit
    folder.mkdir(mode=0o700)
    user = getpass.getuser()
    try:
        if os.geteuid() == 0:
            user = NOBODY
            shutil.chown(folder, NOBODY)
        data, port = str(folder / "data"), free_port()
        as_user(create, "--pgdata", data, "--auth", "trust", "--username", user)
        options = f"-c listen_addresses=127.0.0.1 -p {port} -k {folder}"
        as_user(control, "--pgdata", data, "--options", options, "--log", str(folder / "log"), "--wait", "start")
        try:
            where = ("--host", str(folder), "--port", str(port), "--username", user)
            as_user(program_of("createuser") or "createuser", *where, "prefect")
            as_user(program_of("createdb") or "createdb", *where, "--owner", "prefect", "prefect")
            yield f"postgresql+asyncpg://prefect@127.0.0.1:{port}/prefect"
        finally:
            as_user(control, "--pgdata", data, "--mode", "immediate", "--wait", "stop")
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def test_the_regeneration_runs_on_postgresql(database: str, tmp_path: Path) -> None:
    """A server on PostgreSQL takes the deployments and carries out a stage."""
    config = write_tiny(tmp_path)
    environment = environment_of(tmp_path, free_port())
    environment["PREFECT_SERVER_DATABASE_CONNECTION_URL"] = database
    with running_server(tmp_path, environment) as api, offering(tmp_path, config, api, environment) as process:
        served = Served(tmp_path, api, environment, process)
        run_id = api.start("index_dataset/tiny-index_dataset", downstream=False)
        run = api.ended(run_id)
        assert run["state_type"] == "COMPLETED", run["state"]["message"]
        assert served.api.ended_tasks(run_id)["index_dataset"]["state_name"] == "Completed"
    assert not list((tmp_path / "prefect").glob("*.db"))
