"""The work of one task of the job chip whose photographs are packed: cut the faces on the photographs of a shard.

A shard is read once, from start to end, by one task. Which photographs it holds shows only then, so every task gets the
list of all faces, and the driver counts those that no shard holds.
"""

from __future__ import annotations

import functools
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field

import cv2
import pyarrow as pa

from ml.errors import DataError
from ml.photographs.source import Key, Shard, photograph_name
from spark_jobs.chipping import Chipping, Outcome, by_image, chip_table, write_chips
from spark_jobs.cutting import ABSENT, Cut, cut_image

FACES_PER_FILE = 500  # about 10 MB of chips in memory


@dataclass(frozen=True)
class Asked:
    """The faces to cut, and where those of a photograph are.

    Attributes:
        faces: The faces; those of a photograph follow each other.
        places: The first row and the number of rows of each photograph.
    """

    faces: pa.Table
    places: dict[Key, tuple[int, int]]


@dataclass
class ShardOutcome:
    """The outcome of one shard.

    Attributes:
        outcome: The counts.
        found: The photographs with faces that the shard holds.
    """

    outcome: Outcome = field(default_factory=Outcome)
    found: list[Key] = field(default_factory=list)


def chip_shard(number: int, shard: Shard, faces: bytes, chipping: Chipping) -> ShardOutcome:
    """Cut the faces on the photographs of a shard and write their chips.

    Args:
        number: The shard's number.
        shard: The shard.
        faces: All faces as an Arrow stream; those of an image follow each other.
        chipping: What to do.
    """
    cv2.setNumThreads(1)  # Spark runs one worker per core
    asked, done = read_asked(faces), ShardOutcome()
    rows: list[pa.Table] = []
    cuts: list[Cut] = []
    files = 0
    for key, content in chipping.photographs.read_shard(shard, asked.places):
        done.found.append(key)
        here = asked.faces.slice(*asked.places[key])
        image = next(by_image(here))
        made = cut_image(image, functools.partial(bytes, content), chipping.margin, chipping.min_face_size)
        done.outcome.count(image, made)
        rows.append(here)
        cuts += made
        if len(cuts) >= FACES_PER_FILE:
            write_chips(chip_table(pa.concat_tables(rows), cuts), chipping, f"{number:05d}-{files:04d}")
            rows, cuts, files = [], [], files + 1
    if cuts:
        write_chips(chip_table(pa.concat_tables(rows), cuts), chipping, f"{number:05d}-{files:04d}")
    return done


@functools.lru_cache(maxsize=1)
def read_asked(faces: bytes) -> Asked:
    """Read the faces to cut; a worker keeps them for its next task."""
    table = pa.ipc.open_stream(faces).read_all()
    keys = list(map(Key, *(table.column(name).to_pylist() for name in ("subset", "image_id"))))
    starts = [row for row in range(len(keys)) if row == 0 or keys[row] != keys[row - 1]]
    ends = [*starts[1:], len(keys)]
    return Asked(table, {keys[start]: (start, end - start) for start, end in zip(starts, ends, strict=True)})


def add_up(shards: Iterable[ShardOutcome], asked: Asked, place: str) -> Outcome:
    """Add the counts of all shards, and count the faces on photographs that no shard holds.

    Args:
        shards: The outcome of each shard.
        asked: All faces.
        place: Where the shards are, for messages.

    Raises:
        DataError: A photograph is held twice.
    """
    outcome, found = Outcome(), Counter[Key]()
    for shard in shards:
        outcome.add(shard.outcome)
        found.update(shard.found)
    if twice := next((key for key, times in found.items() if times > 1), None):
        raise DataError(
            f"The photographs at {place} hold {photograph_name(*twice)} {found[twice]} times.",
            "Remove the copies; each photograph must be there once.",
        )
    for key, (start, count) in asked.places.items():
        if key not in found:
            outcome.count(next(by_image(asked.faces.slice(start, count))), [Cut(ABSENT)] * count)
    return outcome
