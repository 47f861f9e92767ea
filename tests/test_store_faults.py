"""What the errors of stores mean."""

from __future__ import annotations

import pytest

from ml.errors import ConfigurationError, TransientError
from ml.store_faults import explain

NAMESPACE = "org.apache.hadoop"
STACK = r"\n\tat org.apache.hadoop.hdfs.server.namenode.FSNamesystem.startFile(FSNamesystem.java:1)"
DENIED = r"Permission denied: user=mallory, access=WRITE, inode=\"/\":root:supergroup:drwxr-xr-x"


@pytest.mark.parametrize(
    ("exception", "message", "kind", "said"),
    [
        ("security.AccessControlException", DENIED, ConfigurationError, "user=mallory, access=WRITE"),
        ("hdfs.server.namenode.SafeModeException", "Name node is in safe mode.", TransientError, "in safe mode"),
        ("hdfs.protocol.DSQuotaExceededException", "The quota is exceeded", TransientError, "DSQuotaExceeded"),
    ],
)
def test_an_error_of_hdfs_is_told_in_a_line(exception, message, kind, said):
    found = explain(RuntimeError(f'RPCError("{NAMESPACE}.{exception}", "{message}{STACK}")'))
    assert isinstance(found, kind)
    assert said in found.message
    assert "\\tat" not in str(found)
    assert found.advice


def test_other_errors_are_left_alone():
    assert explain(RuntimeError("something else")) is None
    assert explain(FileNotFoundError(2, "No such file")) is None
