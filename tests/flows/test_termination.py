"""Commands that are ended from outside."""

import subprocess
import sys
from pathlib import Path

PROGRAM = """
import sys, time
from pathlib import Path
from tag2mask.flows.cli import main
from tag2mask.tasks.store.files import write_file

def half(file):
    file.write(b"half")
    file.flush()
    print("writing", flush=True)
    time.sleep(60)

main.app = lambda: write_file(Path(sys.argv[1]) / "model.onnx", half)
main.main()
"""
"""The command line, whose command takes a minute to write a file."""


def test_a_command_that_is_ended_leaves_no_part_of_a_file(tmp_path: Path) -> None:
    """SIGTERM ends a command with an error, and what it was writing is gone."""
    with subprocess.Popen(
        [sys.executable, "-c", PROGRAM, str(tmp_path)], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    ) as process:
        assert process.stdout is not None and process.stdout.readline() == "writing\n"
        assert [path.name.startswith(".") for path in tmp_path.iterdir()] == [True]
        process.terminate()
        assert process.wait(30) != 0
    assert list(tmp_path.iterdir()) == []
