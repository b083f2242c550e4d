"""Arrays on disk, read by many threads at once."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from zipfile import BadZipFile

import numpy as np
import pytest

from tag2mask.tasks.dataset.arrays import map_array, read_arrays, read_scores, write_scores


def test_many_threads_read_what_was_written(tmp_path: Path) -> None:
    """Archives and mapped arrays are read by eight threads as by one."""
    scores = np.random.default_rng(0).random((3, 5, 7)).astype(np.float16)
    write_scores(tmp_path / "a.npz", scores, np.arange(3, dtype=np.uint8))
    np.save(tmp_path / "b.npy", scores)

    def read(_: int) -> bool:
        found = read_arrays(tmp_path / "a.npz")
        same = np.array_equal(found["scores"], scores) and np.array_equal(found["numbers"], [0, 1, 2])
        return same and np.array_equal(map_array(tmp_path / "b.npy"), scores)

    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(read, range(2000)))
    assert np.array_equal(read_scores(tmp_path / "a.npz", (5, 7))[0], scores.astype(np.float32))


def test_what_is_no_archive_is_refused(tmp_path: Path) -> None:
    """Another file, and pickled objects, are not read."""
    (tmp_path / "a.npz").write_bytes(b"no archive")
    with pytest.raises(BadZipFile):
        read_arrays(tmp_path / "a.npz")
    np.savez(tmp_path / "b.npz", objects=np.array([{}], dtype=object))
    with pytest.raises(ValueError, match="allow_pickle=False"):
        read_arrays(tmp_path / "b.npz")
