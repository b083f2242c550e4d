"""What `serve` says before it needs a server."""

import os
from pathlib import Path

import pytest

from tag2mask.configs.load import ConfigError
from tag2mask.flows.cli.serving import NoServer, check_server, server
from tests.flows.served import free_port, write_tiny


def test_without_a_server_it_says_how_to_start_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where nothing answers, the message names the address and the command."""
    address = f"http://127.0.0.1:{free_port()}/api"
    monkeypatch.setenv("PREFECT_API_URL", address)
    with pytest.raises(NoServer) as told:
        check_server()
    assert address in str(told.value) and "tag2mask server" in str(told.value)


def test_the_server_finds_its_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The folder of the server's database is made with those above it, which Prefect itself does not do."""
    for name in [name for name in os.environ if name.startswith("PREFECT_")]:
        monkeypatch.delenv(name)
    monkeypatch.setattr(os, "environ", dict(os.environ))
    commands: list[list[str]] = []
    monkeypatch.setattr(os, "execv", lambda path, command: commands.append(command))
    server(port=4321, home=tmp_path / "not" / "there")
    assert (tmp_path / "not" / "there").is_dir() and commands[0][-2:] == ["server", "start"]
    assert os.environ["PREFECT_API_URL"] == "http://127.0.0.1:4321/api"


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
    """Two settings files with the same name would overwrite each other's deployments."""
    from tag2mask.configs.runtime import Runtime
    from tag2mask.flows.deployments import Schedule, serve_all

    path = write_tiny(tmp_path)
    with pytest.raises(ConfigError, match="tiny"):
        serve_all([path, path], Runtime(root=tmp_path / "store"), Schedule(None), 1)
