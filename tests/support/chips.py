"""Make the faces that stage chip cuts, without the stages before it."""

import pyarrow as pa

from ml.features.columns import ASKED, FACE_COLUMNS
from ml.photographs.opening import open_photographs
from spark_jobs.chipping import Chipping

SCHEMA = pa.schema([(column.name, column.arrow) for column in FACE_COLUMNS if column.name in ASKED])
GIVEN = {"subset": "train", "label": "male", "source": "xclick", "is_occluded": 0, "is_truncated": 0}


def face_table(rows):
    """Return the table of faces that a task gets; a value that a row lacks is a default one or NULL."""
    full = [{"face_id": row["image_id"], **GIVEN, **row} for row in rows]
    return pa.table({name: [row.get(name) for row in full] for name in SCHEMA.names}, schema=SCHEMA)


def chipping_of(folder, margin=0.2, min_face_size=32):
    """Return what tasks do with the photographs in a folder; they write their chips into its subfolder `chips`."""
    return Chipping(open_photographs(str(folder)), margin, min_face_size, f"{folder}/chips")
