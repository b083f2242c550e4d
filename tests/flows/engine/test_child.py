"""Stages in processes of their own: their crash is survived, their parent's death ends them."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tag2mask.tasks.executors.processes import loading_environment

ROOT = Path(__file__).parents[3]


@contextmanager
def program(folder: Path, *settings: str, **environment: str) -> Iterator[subprocess.Popen[str]]:
    """The program that runs the toy DAG in child processes, in a session of its own."""
    command = [sys.executable, "-m", "tests.flows.toy_program", str(folder), *settings]
    pipes: dict[str, int] = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    given = os.environ | environment
    with subprocess.Popen(command, cwd=ROOT, env=given, text=True, start_new_session=True, **pipes) as process:
        try:
            yield process
        finally:
            process.kill()


def stage_processes(folder: Path) -> set[int]:
    """Process ids that the toy stages wrote down."""
    log = folder / "log.txt"
    return {int(line.split()[2]) for line in log.read_text().splitlines()} if log.exists() else set()


def alive(pid: int) -> bool:
    """Whether a process exists and is not just waiting to be reaped."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def wait_until_dead(pids: set[int], seconds: float = 10.0) -> set[int]:
    """Those of the processes that outlive some seconds."""
    end = time.monotonic() + seconds
    while (left := {pid for pid in pids if alive(pid)}) and time.monotonic() < end:
        time.sleep(0.05)
    return left


def wait_for_line(process: subprocess.Popen[str], *starts: str) -> None:
    """Read the program's output until every one of these beginnings of a line has come."""
    assert process.stdout is not None
    missing = set(starts)
    for line in process.stdout:
        missing -= {start for start in missing if line.startswith(start)}
        if not missing:
            return
    raise AssertionError(f"the program ended without {missing}: {process.communicate()[1]}")


def test_stages_run_in_their_own_processes_and_crashes_are_reported(tmp_path: Path) -> None:
    """A killed stage fails with its signal and what to lower; an error comes over whole; the rest runs."""
    with program(tmp_path, "left=die", "right_child=fail") as process:
        out, err = process.communicate(timeout=60)
    lines = out.splitlines()
    assert {line for line in lines if line.startswith("end")} == {
        "end right built",
        "end left failed",
        "end left_child not run",
        "end right_child failed",
        "end join not run",
    }, err
    assert "progress right 1 4 begun" in lines
    assert "failure right_child right_child cannot be done; do something else" in lines
    killed = next(line for line in lines if line.startswith("failure left "))
    assert killed == (
        "failure left its process was killed by SIGKILL: the machine's memory may have run out; "
        "lower toy_read.batch_size (now 8)"
    )
    assert len(stage_processes(tmp_path)) == 3
    assert os.getpid() not in stage_processes(tmp_path)


def test_killed_run_leaves_no_process(tmp_path: Path) -> None:
    """When the run is killed with SIGKILL, its stages end by themselves."""
    with program(tmp_path, "left_child=wait", "right_child=wait") as process:
        wait_for_line(process, "progress left_child 1", "progress right_child 1")
        stages = {pid for pid in stage_processes(tmp_path) if alive(pid)}
        assert len(stages) >= 2
        process.send_signal(signal.SIGKILL)
        assert not wait_until_dead(stages)


def test_interrupted_run_ends_its_stages_and_goes_on_later(tmp_path: Path) -> None:
    """SIGTERM ends the stages within seconds; the next run builds only what is missing."""
    with program(tmp_path, "join=wait") as process:
        wait_for_line(process, "progress join 1")
        process.send_signal(signal.SIGTERM)
        _, err = process.communicate(timeout=10)
        assert "KeyboardInterrupt" in err
        assert not wait_until_dead(stage_processes(tmp_path))
    with program(tmp_path) as process:
        out, err = process.communicate(timeout=60)
    ends = [line for line in out.splitlines() if line.startswith("end")]
    assert ends[-1] == "end join built", err
    assert [line.split()[-1] for line in ends[:-1]] == ["cached"] * 4


def test_ctrl_c_while_the_children_are_prepared_is_quiet(tmp_path: Path) -> None:
    """The server that forks the stages says nothing when Ctrl-C comes during its imports, which take seconds."""
    marker = tmp_path / "importing"
    (tmp_path / "slow_import.py").write_text(
        f"import pathlib, time\npathlib.Path({str(marker)!r}).touch()\ntime.sleep(2)\n"
    )
    with program(tmp_path, PYTHONPATH=f"{ROOT}:{tmp_path}", TOY_PRELOADED="slow_import") as process:
        end = time.monotonic() + 60
        while not marker.exists() and time.monotonic() < end:
            time.sleep(0.05)
        os.killpg(process.pid, signal.SIGINT)
        _, err = process.communicate(timeout=30)
    assert "KeyboardInterrupt" in err and "slow_import" not in err


def test_what_libraries_of_stages_read_when_they_are_loaded(monkeypatch: pytest.MonkeyPatch) -> None:
    """Stages' threads do not spin and memory is kept, unless the user chose; the run's own environment stays."""
    monkeypatch.delenv("OMP_WAIT_POLICY", raising=False)
    monkeypatch.delenv("MALLOC_MMAP_MAX_", raising=False)
    monkeypatch.setenv("MALLOC_TOP_PAD_", "4096")
    monkeypatch.setenv("KMP_BLOCKTIME", "20")
    monkeypatch.setenv("OPENBLAS_NUM_THREADS", "4")
    before = dict(os.environ)
    names = ("OMP_WAIT_POLICY", "KMP_BLOCKTIME", "OPENBLAS_NUM_THREADS", "MALLOC_MMAP_MAX_", "MALLOC_TOP_PAD_")
    with loading_environment():
        seen = [os.environ[name] for name in names]
    assert seen == ["passive", "20", "1", "0", "4096"] and dict(os.environ) == before
