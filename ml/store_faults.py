"""What the errors of disks and stores mean, where a client's own words do not tell what to do."""

from __future__ import annotations

import errno
import re

from ml.errors import ConfigurationError, StageError, TransientError

# The client of HDFS has one type of error. Its text names the exception of the NameNode, and a stack of Java's.
HDFS_ERROR = re.compile(r'RPCError\("[\w.]*\.(?P<exception>\w+)", "(?P<message>.*?)(?:\\n|")')


def explain(error: BaseException) -> StageError | None:
    """Return what to report instead of an error of a disk or a store; None if its own words are all there is."""
    if isinstance(error, PermissionError):
        return ConfigurationError(
            f"Access was denied: {error}.",
            "Check the keys in the connection of the object store, or this user's rights to the folder.",
        )
    # The answer to a request for a file's size has no text, so expired keys look like any other bad request.
    if isinstance(error, OSError) and error.errno == errno.EINVAL and "Bad Request" in str(error):
        return ConfigurationError(
            f"The object store refuses the request: {error}.", "Check whether its keys have expired."
        )
    if found := HDFS_ERROR.search(str(error)):
        return _of_hdfs(found["exception"], found["message"].rstrip("."))
    return None


def _of_hdfs(exception: str, message: str) -> StageError:
    if exception == "AccessControlException":
        return ConfigurationError(
            f"HDFS denied access: {message}.",
            "Set HADOOP_USER_NAME to a user who may, or change the rights of the folder.",
        )
    if exception == "SafeModeException":
        return TransientError(
            f"HDFS is in safe mode: {message}.",
            "It leaves safe mode by itself some time after its start, or with: hdfs dfsadmin -safemode leave",
        )
    return TransientError(f"HDFS reports {exception}: {message}.", "The task's log has the full traceback.")
