"""Committed attempts with files of the test's own."""

from ml import storage
from ml.workflow import layout
from ml.workflow.manifest import Manifest, commit, list_files


def commit_attempt(root, stage, name, files, key="key", **values):
    """Commit an attempt with some files, given by path as bytes, and return its manifest."""
    uri = layout.attempt_uri(layout.key_uri(storage.normalize(root), stage, key), name)
    for path, content in files.items():
        storage.write_bytes(storage.join(uri, path), content)
    manifest = Manifest(
        stage=stage,
        attempt=name,
        key=key,
        uri=uri,
        files=list_files(uri),
        **(
            {"version": 1, "config": {}, "inputs": {}, "sources": {}, "metrics": {}, "ledger": {}, "versions": {}}
            | {"started": "2020-01-01T00:00:00+00:00", "finished": "2020-01-01T00:00:00+00:00"}
            | values
        ),
    )
    commit(layout.key_of_attempt(uri), manifest)
    return manifest
