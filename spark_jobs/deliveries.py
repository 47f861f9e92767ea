"""Combine several deliveries: a later delivery of an image replaces its rows and its photograph."""

from __future__ import annotations

from collections.abc import Sequence

import pyarrow as pa
import pyarrow.compute as pc

from spark_jobs.lookups import find, key, take

PHOTOGRAPHS = "photographs"  # the listings of the deliveries' photographs, as a table of whole images


def current(rows: pa.Table, held: pa.Table, table: str) -> pa.Table:
    """Drop an image's rows if a later delivery has rows of the same image.

    Args:
        rows: Rows with columns image_id and delivery.
        held: The images that have rows in a delivery, by table: columns table, image_id and delivery.
        table: The table that has the rows.
    """
    held = held.filter(pc.equal(held.column("table"), table))
    if not len(held):
        return rows
    by_image = held.group_by("image_id", use_threads=False).aggregate(
        [("delivery", "max"), ("delivery", "count_distinct")]
    )
    several = by_image.filter(pc.greater(by_image.column("delivery_count_distinct"), 1))
    newest = take(several.column("delivery_max"), find(rows.column("image_id"), several.column("image_id")))
    return rows.filter(pc.or_(newest.is_null(), pc.equal(rows.column("delivery"), newest).fill_null(True)))


def locate(faces: pa.Table, images: pa.Table, photographs: pa.Table, deliveries: Sequence[str]) -> pa.ChunkedArray:
    """Return for each face the newest delivery that holds its photograph.

    If no listing names the photograph, the delivery is the one whose table `images` lists the image.

    Args:
        faces: Faces with columns image_id and subset.
        images: The table `images`, with each image's rows from the newest delivery that has any.
        photographs: The listings of the deliveries: columns image_id, subset and delivery.
        deliveries: The names of the run's deliveries, oldest first.
    """
    if len(deliveries) == 1:
        return pa.chunked_array([pa.repeat(deliveries[0], len(faces))])
    found = []
    for holding in (photographs, images):
        newest = holding.group_by(["image_id", "subset"], use_threads=False).aggregate([("delivery", "max")])
        places = find(key(faces, "image_id", "subset"), key(newest, "image_id", "subset"))
        found.append(take(newest.column("delivery_max"), places))
    return pc.coalesce(*found)
