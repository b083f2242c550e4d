"""What `server` makes of its options, and what `serve` says before it needs a server."""

import inspect
import os
import socket
from pathlib import Path

import pytest
import yaml

from tag2mask.configs.load import ConfigError
from tag2mask.flows.cli import serving
from tag2mask.flows.cli.serving import NoServer, check_server, serve, server
from tag2mask.flows.serving.store_server import LOCK, announce
from tag2mask.tasks.store.store import Store
from tests.flows.prefect_api import free_port
from tests.flows.served import write_tiny


def test_without_a_server_it_says_how_to_start_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where nothing answers, the message names the address and the command."""
    address = f"http://127.0.0.1:{free_port()}/api"
    monkeypatch.setenv("PREFECT_API_URL", address)
    with pytest.raises(NoServer) as raised:
        check_server(tmp_path)
    assert address in str(raised.value) and "tag2mask server" in str(raised.value)


def test_only_a_server_that_is_named_is_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody is asked on the usual port; the server that the user's profile names is left to Prefect's client."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("PREFECT_")}
    monkeypatch.setattr(os, "environ", {**kept, "PREFECT_HOME": str(tmp_path)})
    asked: list[str] = []
    monkeypatch.setattr(serving, "answers", asked.append)
    with pytest.raises(NoServer, match=f"no Prefect server of the store {tmp_path} runs, and none is named.*\n.*"):
        check_server(tmp_path)
    (tmp_path / "profiles.toml").write_text('active = "a"\n[profiles.a]\nPREFECT_API_URL = "http://team.test/api"')
    assert check_server(tmp_path) == "http://team.test/api" and asked == ["http://team.test/api"]
    assert "PREFECT_API_URL" not in os.environ


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The arguments of Python with which `server` goes on, in an environment that names nothing of Prefect."""
    command: list[str] = []
    kept = {name: value for name, value in os.environ.items() if not name.startswith("PREFECT_")}
    monkeypatch.setattr(os, "environ", kept)
    monkeypatch.setattr(os, "execv", lambda path, arguments: command.extend(arguments))
    return command


def test_the_server_finds_its_home(tmp_path: Path, started: list[str]) -> None:
    """The folder of the server's database is made with those above it, which Prefect itself does not do."""
    port = free_port()
    server(port=port, root=tmp_path, home=tmp_path / "not" / "there")
    assert (tmp_path / "not" / "there").is_dir()
    assert ["--host", "127.0.0.1", "--port", str(port)] == started[started.index("--host") :][:4]
    assert os.environ["PREFECT_API_URL"] == f"http://127.0.0.1:{port}/api"


def test_the_server_is_guarded_by_default(tmp_path: Path, started: list[str]) -> None:
    """What is started is the guarded application, with CSRF protection, and without faith in a proxy's headers."""
    server(port=free_port(), root=tmp_path)
    assert "tag2mask.flows.serving.guarded_server:guarded_server" in started and "--no-proxy-headers" in started
    assert os.environ["PREFECT_SERVER_CSRF_PROTECTION_ENABLED"] == "true"
    assert os.environ["TAG2MASK_SERVER_STORE"] == str(tmp_path)


def test_the_server_reports_to_nobody_and_keeps_slots(tmp_path: Path, started: list[str]) -> None:
    """It is started without telemetry, and with slots that lie on the disk, so that they survive its restart."""
    server(port=free_port(), root=tmp_path)
    assert os.environ["PREFECT_SERVER_ANALYTICS_ENABLED"] == "false" and os.environ["DO_NOT_TRACK"] == "1"
    assert os.environ["PREFECT_SERVER_CONCURRENCY_LEASE_STORAGE"].endswith(".filesystem")


def test_two_runs_at_a_time_unless_told_otherwise() -> None:
    """Without `--limit` two runs are carried out at a time."""
    assert inspect.signature(serve).parameters["limit"].default == 2


def test_a_password_is_made_kept_and_laid_down(tmp_path: Path, started: list[str]) -> None:
    """Once made it is asked for at every start, until somebody says otherwise or names another one."""
    reported = {}
    for name, wanted in (("none", None), ("made", True), ("kept", None), ("off", False)):
        os.environ.pop("PREFECT_SERVER_API_AUTH_STRING", None)
        server(port=free_port(), root=tmp_path, password=wanted)
        reported[name] = os.environ.get("PREFECT_SERVER_API_AUTH_STRING")
    assert reported["none"] is None and reported["off"] is None
    assert (
        reported["made"] is not None
        and reported["made"].startswith("tag2mask:")
        and reported["kept"] == reported["made"]
    )
    os.environ["PREFECT_SERVER_API_AUTH_STRING"] = "team:words"
    server(port=free_port(), root=tmp_path, password=True)
    assert os.environ["PREFECT_SERVER_API_AUTH_STRING"] == "team:words"


def test_an_option_wins_against_the_environment(tmp_path: Path, started: list[str]) -> None:
    """Port, home and password are what was asked for; without an option they are what the environment says."""
    named, port = free_port(), free_port()
    os.environ |= {"PREFECT_SERVER_API_PORT": str(named), "PREFECT_HOME": str(tmp_path / "named")}
    server(root=tmp_path)
    assert started[started.index("--port") + 1] == str(named) and (tmp_path / "named").is_dir()
    started.clear()
    os.environ |= {"PREFECT_SERVER_API_AUTH_STRING": "team:words"}
    server(root=tmp_path, port=port, home=tmp_path / "given", password=False)
    assert started[started.index("--port") + 1] == os.environ["PREFECT_SERVER_API_PORT"] == str(port)
    assert os.environ["PREFECT_HOME"] == str(tmp_path / "given") and (tmp_path / "given").is_dir()
    assert "PREFECT_SERVER_API_AUTH_STRING" not in os.environ
    os.environ["PREFECT_SERVER_API_PORT"] = "http"
    with pytest.raises(ConfigError, match="^PREFECT_SERVER_API_PORT=http: write the number of a port"):
        server(root=tmp_path)


def test_an_empty_password_is_none(tmp_path: Path, started: list[str]) -> None:
    """An empty auth string lets nobody in from outside, and does not keep one from being made."""
    os.environ["PREFECT_SERVER_API_AUTH_STRING"] = ""
    with pytest.raises(ConfigError, match="^--allow-host team.test lets other machines in"):
        server(port=free_port(), root=tmp_path, allow_host=["team.test"])
    os.environ["PREFECT_SERVER_API_AUTH_STRING"] = ""
    server(port=free_port(), root=tmp_path, password=True)
    assert os.environ["PREFECT_SERVER_API_AUTH_STRING"].startswith("tag2mask:")


def test_nobody_is_let_in_from_outside_without_a_password(tmp_path: Path, started: list[str]) -> None:
    """Listening on the network, or behind a proxy, takes a password."""
    with pytest.raises(ConfigError, match=r"^--allow-host team.test lets other machines in.* add --password"):
        server(port=free_port(), root=tmp_path, allow_host=["team.test"])
    os.environ["PREFECT_SERVER_API_HOST"] = "0.0.0.0"
    with pytest.raises(ConfigError, match=r"^PREFECT_SERVER_API_HOST=0.0.0.0 lets other machines in"):
        server(port=free_port(), root=tmp_path)
    assert started == []
    server(port=free_port(), root=tmp_path, allow_host=["Team.test"], password=True)
    assert "--proxy-headers" in started and os.environ["TAG2MASK_SERVER_NAMES"] == "Team.test"


def test_a_port_that_is_taken_and_a_second_server_are_refused(tmp_path: Path, started: list[str]) -> None:
    """The message names the port, or where the store's server is."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(ConfigError, match=f"--port {port}: .* take another"):
            server(port=port, root=tmp_path)
    with Store(tmp_path).lock(LOCK, wait=False):
        announce(tmp_path, "http://127.0.0.1:9/api")
        with pytest.raises(ConfigError, match="running already, at http://127.0.0.1:9/api"):
            server(port=free_port(), root=tmp_path)
    assert started == []


@pytest.mark.slow
def test_a_wrong_cron_line_is_named(tmp_path: Path) -> None:
    """A cron line or time zone that does not exist is an error that shows it."""
    from tag2mask.configs.runtime import Runtime
    from tag2mask.flows.deployments import Schedule, deployments_of

    path, runtime = write_tiny(tmp_path), Runtime(root=tmp_path / "store")
    with pytest.raises(ConfigError, match=r"^--cron 'every night': write minute hour .* '0 2 \* \* \*'"):
        deployments_of(path, runtime, Schedule("every night"))
    for cron in ("0 2 * * *", None):
        with pytest.raises(ConfigError, match=r"^--timezone 'Mars/North': no such time zone; .* Europe/Madrid"):
            deployments_of(path, runtime, Schedule(cron, "Mars/North"))


@pytest.mark.slow
def test_two_files_of_one_name_are_refused(tmp_path: Path) -> None:
    """Two settings files with the same name would overwrite each other's deployments, also those of a work pool."""
    from tag2mask.configs.runtime import Runtime
    from tag2mask.flows.deployments import Schedule, pool_file, serve_all

    path, runtime = write_tiny(tmp_path), Runtime(root=tmp_path / "store")
    message = f"{path} and {path} have the same name 'tiny': give each its own `name`"
    with pytest.raises(ConfigError, match=message):
        serve_all([path, path], runtime, Schedule(None), 1)
    with pytest.raises(ConfigError, match=message):
        pool_file([path, path], runtime, Schedule(None), (), "pool")


@pytest.mark.slow
def test_a_work_pool_gets_what_serve_offers(tmp_path: Path) -> None:
    """The file has the regeneration, every stage and the collection of garbage, each with its own schedule."""
    from tag2mask.configs.runtime import Runtime
    from tag2mask.flows.deployments import Collection, Schedule, all_deployments, pool_file

    path, runtime = write_tiny(tmp_path), Runtime(root=tmp_path / "store")
    given = [path], runtime, Schedule("0 2 * * *", "Europe/Berlin"), ()
    collection = Collection("0 12 * * *", None, 5)
    entries = yaml.safe_load(pool_file(*given, "pool", collection))["deployments"]
    assert [entry["name"] for entry in entries] == [
        made.name for made in all_deployments(*given, collection, "store-of-tiny")
    ]
    planned = {entry["name"]: entry["schedules"] for entry in entries if "schedules" in entry}
    assert planned == {
        "tiny": [{"cron": "0 2 * * *", "timezone": "Europe/Berlin"}],
        "store-of-tiny": [{"cron": "0 12 * * *", "timezone": "UTC"}],
    }
    assert entries[-1]["entrypoint"] == "tag2mask.flows.garbage_collection.collect_garbage"
    assert entries[-1]["parameters"] == {"root": str(tmp_path / "store"), "keep": 5}
