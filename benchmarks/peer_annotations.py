"""Answer the question of extract and join_labels in DuckDB, for `benchmarks/annotations.py`.

    python benchmarks/peer_annotations.py RELEASE OUT.parquet

Like the stages: it counts the rows and the missing values of every column, counts the verified labels by class, finds
invalid boxes, and labels every Human face by the smallest person box that holds 90% of it, unless boxes of two labels
do or a verified negative contradicts the box. Prints `faces`, `labeled` and `seconds`.
"""

from __future__ import annotations

import sys
import time

import duckdb

FILES = {
    "labels": "*-annotations-human-imagelabels-boxable.csv",
    "boxes": "*-annotations-bbox.csv",
    "images": "*-images-boxable-with-rotation.csv",
}
FACE = "/m/0dzct"
LABELS = {"/m/04yx4": "male", "/m/01bl7v": "male", "/m/03bt1vf": "female", "/m/05r655": "female"}
EDGES = ("XMin", "XMax", "YMin", "YMax")
FLAGS = ("IsOccluded", "IsTruncated", "IsGroupOf", "IsDepiction", "IsInside")
LABEL_OF = "CASE LabelName " + " ".join(f"WHEN '{mid}' THEN '{label}'" for mid, label in LABELS.items()) + " END"
PERSONS = ", ".join(f"'{mid}'" for mid in LABELS)


TYPES = {
    "boxes": dict.fromkeys(("ImageID", "Source", "LabelName", "Confidence"), "VARCHAR")
    | dict.fromkeys(EDGES, "DOUBLE")
    | dict.fromkeys(FLAGS, "TINYINT")
}


def main(release: str, out: str) -> None:
    """Print the answer and the seconds it took."""
    started = time.perf_counter()
    database = duckdb.connect()
    database.execute("SET threads = 2")
    for table, files in FILES.items():  # one pass over each file
        types = f"columns={TYPES[table]}" if table in TYPES else "all_varchar=true"
        database.execute(f"CREATE TABLE {table} AS FROM read_csv('{release}/{files}', header=true, {types})")
        columns = database.execute(f"DESCRIBE {table}").fetchall()
        counts = ", ".join(missing(name, kind) for name, kind, *_ in columns)
        print(table, database.execute(f"SELECT count(*), {counts} FROM {table}").fetchone())
    by_class = "SELECT LabelName, Confidence, count(*) FROM labels GROUP BY ALL"
    print("verified labels by class", len(database.execute(by_class).fetchall()))
    database.execute(FACES)
    faces, labeled = database.execute("SELECT count(*), count(label) FROM faces").fetchone() or (0, 0)
    database.execute(f"COPY faces TO '{out}' (FORMAT parquet)")
    print("faces", faces)
    print("labeled", labeled)
    print("seconds", time.perf_counter() - started)


def missing(column: str, kind: str) -> str:
    """Return the SQL that counts the absent, empty and NaN values of a column."""
    if kind == "VARCHAR":
        return f"count(*) FILTER (coalesce({column}, '') = ''), count(*) FILTER (lower({column}) = 'nan')"
    nan = f", count(*) FILTER (isnan({column}))" if kind == "DOUBLE" else ""
    return f"count(*) - count({column}){nan}"


VALID = "0 <= XMin AND XMin < XMax AND XMax <= 1 AND 0 <= YMin AND YMin < YMax AND YMax <= 1"
HELD = """greatest(0, least(f.XMax, p.XMax) - greatest(f.XMin, p.XMin))
    * greatest(0, least(f.YMax, p.YMax) - greatest(f.YMin, p.YMin)) / ((f.XMax - f.XMin) * (f.YMax - f.YMin))"""
FACES = f"""
CREATE TABLE faces AS
WITH face AS (
    SELECT row_number() OVER () AS face, * FROM boxes
    WHERE LabelName = '{FACE}' AND IsGroupOf <> 1 AND IsDepiction <> 1 AND {VALID}
), person AS (
    SELECT *, {LABEL_OF} AS label, (XMax - XMin) * (YMax - YMin) AS area FROM boxes
    WHERE LabelName IN ({PERSONS}) AND IsGroupOf <> 1 AND IsDepiction <> 1 AND {VALID}
), veto AS (
    SELECT DISTINCT ImageID, LabelName, true AS vetoed FROM labels
    WHERE LabelName IN ({PERSONS}) AND try_cast(Confidence AS DOUBLE) = 0
), source AS (
    SELECT f.face, count(DISTINCT p.label) AS labels, arg_min(p.label, p.area) AS label,
        arg_min(p.LabelName, p.area) AS LabelName
    FROM face f JOIN person p USING (ImageID) WHERE {HELD} >= 0.9 GROUP BY f.face
)
SELECT f.face, f.ImageID, i.Subset, i.Rotation, f.XMin, f.XMax, f.YMin, f.YMax,
    CASE WHEN s.labels = 1 AND v.vetoed IS NULL THEN s.label END AS label
FROM face f JOIN images i USING (ImageID) LEFT JOIN source s USING (face)
LEFT JOIN veto v ON v.ImageID = f.ImageID AND v.LabelName = s.LabelName
"""

if __name__ == "__main__":
    main(*sys.argv[1:])
