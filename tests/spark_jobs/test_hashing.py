"""Hashes of columns: of each value and row alone, whatever stands beside it."""

import pyarrow as pa
from hypothesis import given
from hypothesis import strategies as st

from spark_jobs.hashing import hash_rows, hash_texts

SCHEMA = pa.schema([("text", pa.string()), ("share", pa.float64()), ("flag", pa.int8())])
ROWS = st.fixed_dictionaries(
    {
        "text": st.none() | st.text(max_size=20),
        "share": st.none() | st.floats(allow_nan=False),
        "flag": st.none() | st.integers(-128, 127),
    }
)


def hashed(rows, seed=0):
    return hash_rows(pa.Table.from_pylist(rows, SCHEMA), seed).tolist()


@given(st.lists(ROWS, max_size=10), st.integers(0, 5))
def test_a_row_s_hash_depends_on_its_values_alone(rows, seed):
    assert hashed(rows, seed) == [value for row in rows for value in hashed([row], seed)]


@given(ROWS, ROWS)
def test_rows_that_differ_have_other_hashes(one, other):
    same = all(repr(one[name]) == repr(other[name]) for name in SCHEMA.names)
    assert (hashed([one]) == hashed([other])) == same


def test_another_seed_gives_other_hashes_and_chunks_do_not_matter():
    texts = pa.chunked_array([["a", "0123456789abcdef"], [], [None, "longer than two words of eight"]])
    assert not set(hash_texts(texts)) & set(hash_texts(texts, 1))
    assert hash_texts(texts).tolist() == hash_texts(pa.chunked_array([texts.combine_chunks()])).tolist()
    assert hash_texts(texts[1:]).tolist() == hash_texts(texts).tolist()[1:]
