"""Files are read ahead of their use, in order, and no more of them than memory allows."""

import threading

import pytest

from ml.photographs.read_ahead import read_ahead


def test_each_item_comes_in_order_with_its_content_or_its_error():
    def read(item):
        if item == 3:
            raise FileNotFoundError(item)
        return bytes([item])

    for item, content in read_ahead(range(40), read):
        if item == 3:
            with pytest.raises(FileNotFoundError):
                content()
        else:
            assert content() == bytes([item])


def test_files_are_read_while_an_earlier_one_is_used():
    read = [threading.Event() for _ in range(3)]

    def note(item):
        read[item].set()
        return b""

    contents = read_ahead(range(3), note, threads=2)
    next(contents)
    assert read[1].wait(5)


@pytest.mark.parametrize(("size", "most"), [(1, 8), (1 << 20, 4), (8 << 20, 2)])
def test_no_more_is_read_ahead_than_is_allowed(size, most):
    """Four MB may wait: four files of one MB, or one for each of the two threads; small files wait up to eight."""
    begun = []
    used = 0

    def read(item):
        begun.append(item)
        return bytes(size)

    for _, content in read_ahead(range(50), read, threads=2, bytes_ahead=4 << 20):
        assert len(begun) - used <= most
        content()
        used += 1
    assert used == len(begun) == 50
