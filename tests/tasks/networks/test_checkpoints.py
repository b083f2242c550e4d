"""Files of work in progress that carry their digest."""

from pathlib import Path

import pytest

from tag2mask.tasks.networks.checkpoints import DamagedFile, checkpoints, read_checked, save_checkpoint, write_checked

CONTENT = bytes(range(256)) + b"\n"


@pytest.mark.parametrize("content", [CONTENT, b"", b"\n", b"a" * 70])
def test_what_was_written_comes_back(tmp_path: Path, content: bytes) -> None:
    """Any content is read back as it was written, line ends, none and many included."""
    write_checked(tmp_path / "file", content)
    assert read_checked(tmp_path / "file") == content


def test_no_bit_turns_over_unnoticed(tmp_path: Path) -> None:
    """Every bit of a file that is another, and every file that is cut short, lengthened or emptied, is refused."""
    path = tmp_path / "file"
    write_checked(path, CONTENT[:40])
    sound = path.read_bytes()
    changed = [sound[:length] for length in range(len(sound))] + [sound + b"\0"]
    for place in range(len(sound)):
        changed += [sound[:place] + bytes([sound[place] ^ 1 << bit]) + sound[place + 1 :] for bit in range(8)]
    for content in changed:
        path.write_bytes(content)
        with pytest.raises(DamagedFile, match=f"{path}: is not what was written there"):
            read_checked(path)


def test_two_checkpoints_are_kept_and_come_newest_first(tmp_path: Path) -> None:
    """After the third checkpoint the first is gone, and other files of the folder are none."""
    (tmp_path / "checkpoint.pt").touch()
    for step in (9, 10, 1000):
        save_checkpoint(tmp_path, step, str(step).encode())
    assert list(checkpoints(tmp_path)) == [(1000, b"1000"), (10, b"10")]
    assert list(checkpoints(tmp_path / "none")) == []


def test_processes_of_one_training_share_a_damaged_checkpoint(tmp_path: Path) -> None:
    """Whoever finds a damaged checkpoint deleted by another process goes on to the older one."""
    for step in (10, 20):
        save_checkpoint(tmp_path, step, str(step).encode())
    newest = max(tmp_path.iterdir())
    found = checkpoints(tmp_path)
    assert next(found) == (20, b"20")
    newest.write_bytes(b"torn")
    first, second = checkpoints(tmp_path), checkpoints(tmp_path)
    assert next(first) == (10, b"10") and not newest.exists()
    assert next(second) == (10, b"10")
