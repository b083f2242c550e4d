"""Where parts of images lie, in memory that does not grow with the length of ids."""

from array import array

BITS = 48
"""Of a place in a file; the others are the file's number."""
LEAST = 16
ALL = 2**64 - 1


class Places:
    """Image id -> (number of a file, place in it), in 24 to 48 bytes an image.

    Ids are known by 64 bits of their hash: whoever reads what lies at a place has to see whether it is of that id.
    """

    def __init__(self) -> None:
        self._marks, self._values = _empty(LEAST), _empty(LEAST)
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def __contains__(self, image_id: str) -> bool:
        return self.get(image_id) is not None

    def get(self, image_id: str) -> tuple[int, int] | None:
        """(number of the file, place in it) of an id."""
        value = self._values[self._slot(hash(image_id) & ALL)]
        return divmod(value - 1, 2**BITS) if value else None

    def add(self, image_id: str, number: int, place: int) -> bool:
        """Keep a place, unless the id has one; whether it is kept."""
        mark = hash(image_id) & ALL
        slot = self._slot(mark)
        if self._values[slot]:
            return False
        self._marks[slot], self._values[slot] = mark, (number << BITS) + place + 1
        self._count += 1
        if 3 * self._count > 2 * len(self._marks):
            self._grow()
        return True

    def _slot(self, mark: int) -> int:
        """Where a mark stands, or would stand."""
        last = len(self._marks) - 1
        slot = mark & last
        while self._values[slot] and self._marks[slot] != mark:
            slot = (slot + 1) & last
        return slot

    def _grow(self) -> None:
        marks, values = self._marks, self._values
        self._marks, self._values = _empty(2 * len(marks)), _empty(2 * len(marks))
        for mark, value in zip(marks, values, strict=True):
            if value:
                slot = self._slot(mark)
                self._marks[slot], self._values[slot] = mark, value


def _empty(slots: int) -> "array[int]":
    return array("Q", bytes(8 * slots))
