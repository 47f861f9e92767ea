"""Create a bucket unless it exists: `make_bucket.py NAME`; the store and its keys are in the variables `AWS_*`."""

from __future__ import annotations

import sys

import s3fs


def main(name: str) -> None:
    store = s3fs.S3FileSystem()
    if not store.exists(name):
        store.mkdir(name)


if __name__ == "__main__":
    main(sys.argv[1])
