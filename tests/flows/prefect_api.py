"""The API of a Prefect server as the tests ask it."""

import json
import socket
import subprocess
import time
import urllib.error
import urllib.request
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any

ENDED = {"COMPLETED", "FAILED", "CANCELLED", "CRASHED"}


def free_port() -> int:
    """A port of the loopback that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@dataclass
class Api:
    """The server's REST interface."""

    address: str
    """`http://…/api`."""
    headers: Mapping[str, str] = field(default_factory=dict)

    def call(self, path: str, content: object = None, method: str = "") -> Any:
        """Send JSON to a path and read the answer."""
        request = urllib.request.Request(
            f"{self.address}/{path}",
            data=None if content is None else json.dumps(content).encode(),
            headers={"Content-Type": "application/json", **self.headers},
            method=method or ("GET" if content is None else "POST"),
        )
        text = _answer(request)
        return json.loads(text) if text else None

    def answers(self, process: "subprocess.Popen[bytes]") -> bool | None:
        """Whether the server is there yet; None where not."""
        assert process.poll() is None, "the server ended; see server.log"
        try:
            return True if self.call("health") else None
        except (urllib.error.URLError, OSError):
            return None

    def token(self) -> dict[str, str]:
        """Headers without which our server takes no change."""
        client = str(uuid.uuid4())
        return {"Prefect-Csrf-Client": client, "Prefect-Csrf-Token": self.call(f"csrf-token?client={client}")["token"]}

    def deployment(self, name: str) -> Any:
        """A deployment by `flow/deployment`."""
        return self.call(f"deployments/name/{name}")

    def start(self, name: str, **parameters: object) -> str:
        """Start a run of a deployment; its id."""
        found = self.deployment(name)
        content = {"parameters": parameters, "state": {"type": "SCHEDULED"}}
        run_id: str = self.call(f"deployments/{found['id']}/create_flow_run", content)["id"]
        return run_id

    def run(self, run_id: str) -> Any:
        """A flow run."""
        return self.call(f"flow_runs/{run_id}")

    def ended(self, run_id: str, seconds: float = 120) -> Any:
        """A flow run after it ended."""
        return until(lambda: run if (run := self.run(run_id))["state_type"] in ENDED else None, seconds)

    def tasks(self, run_id: str) -> dict[str, Any]:
        """Node -> task run of a flow run; they are written a little later than they happen."""
        chosen = {"flow_runs": {"id": {"any_": [run_id]}}}
        return {run["name"].split()[0]: run for run in self.call("task_runs/filter", chosen)}

    def ended_tasks(self, run_id: str) -> dict[str, Any]:
        """Node -> task run, after all of them are written as ended."""

        def look() -> dict[str, Any] | None:
            found = self.tasks(run_id)
            return found if found and all(r["state_type"] in {*ENDED, "PENDING"} for r in found.values()) else None

        time.sleep(2)
        return until(look, 60)

    def artifacts(self, run_id: str) -> dict[str, Any]:
        """Key -> artifact of a flow run."""
        chosen = {"flow_runs": {"id": {"any_": [run_id]}}}
        return {found["key"]: found for found in self.call("artifacts/filter", chosen)}

    def logs(self, run_id: str) -> list[str]:
        """Lines of a run's log, in order."""
        content = {"logs": {"flow_run_id": {"any_": [run_id]}}, "sort": "TIMESTAMP_ASC"}
        return [line["message"] for line in self.call("logs/filter", content)]

    def set_state(self, run_id: str, kind: str) -> None:
        """Put a run into a state, as the UI's buttons do."""
        self.call(f"flow_runs/{run_id}/set_state", {"state": {"type": kind}})


def _answer(request: urllib.request.Request) -> bytes:
    """What a server answers; one on SQLite that says it is busy is asked again, as Prefect's own client does."""
    for _ in range(20):
        try:
            with urllib.request.urlopen(request, timeout=60) as answer:
                found: bytes = answer.read()
                return found
        except urllib.error.HTTPError as error:
            if error.code != HTTPStatus.SERVICE_UNAVAILABLE:
                raise
        time.sleep(1)
    raise AssertionError(f"{request.full_url} stays busy")


def until(look: Callable[[], Any], seconds: float) -> Any:
    """What `look` finds, asked for until it is there."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        found = look()
        if found is not None:
            return found
        time.sleep(0.3)
    raise AssertionError(f"nothing came within {seconds:.0f} s")
