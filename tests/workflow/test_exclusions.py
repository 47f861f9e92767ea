"""The list of excluded faces is read as spreadsheets write it; anything else is refused in one sentence."""

import pytest

from ml import storage
from ml.errors import ConfigurationError
from ml.workflow.exclusions import read_excluded, write_excluded


@pytest.fixture
def listed(tmp_path):
    """Return the ids that a file with this content lists."""

    def read(content):
        (tmp_path / "list.csv").write_bytes(content)
        return read_excluded(storage.normalize(tmp_path / "list.csv"))

    return read


def test_the_ids_of_the_column_count_and_nothing_else(listed):
    assert listed(b"rank,face_id,label\n1,a-1,male\n2, a-2 ,female\n3,,male\n4,a-1,male\n") == {"a-1", "a-2"}
    assert listed("\ufeffface_id\r\na-1\r\n\r\n".encode()) == {"a-1"}, "as spreadsheets write it"
    assert listed(b"face_id\n") == frozenset()
    assert listed(b"label,face_id\nmale\nfemale,a-1\n") == {"a-1"}, "a row that is too short lists no face"


def test_a_written_list_is_read_back(tmp_path):
    uri = storage.normalize(tmp_path / "excluded.csv")
    write_excluded(uri, ["b", 'a,"1"'])
    assert read_excluded(uri) == {"b", 'a,"1"'}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", r"exclude_faces: file://.*list\.csv has no column face_id; its first line is: nothing\."),
        (b"face;label\na;male\n", r"has no column face_id; its first line is: face;label\."),
        (b"face_id\n\xe9\n", r"exclude_faces: file://.*list\.csv cannot be read: .*utf-8"),
        (b'face_id\n"a\nb\n', r"exclude_faces: file://.*list\.csv cannot be read: unexpected end of data"),
    ],
)
def test_another_file_is_refused(listed, content, message):
    with pytest.raises(ConfigurationError, match=message) as caught:
        listed(content)
    assert "column face_id" in caught.value.advice


def test_a_file_that_is_not_there_is_named(tmp_path):
    with pytest.raises(ConfigurationError, match=r"exclude_faces: there is no file file://.*/nowhere\.csv\."):
        read_excluded(storage.normalize(tmp_path / "nowhere.csv"))
    with pytest.raises(ConfigurationError, match="cannot be read"):
        read_excluded(storage.normalize(tmp_path))
    with pytest.raises(ConfigurationError, match=r"nothing://list\.csv cannot be opened"):
        read_excluded("nothing://list.csv")
