"""The annotation files: read by column name, and typed."""

from pyspark.testing import assertDataFrameEqual

from ml import storage
from spark_jobs import annotations, extract


def write_csv(path, header, *lines):
    path.write_text("\n".join([header, *lines]) + "\n")
    return {"train": str(path)}


def read(spark, files):
    return annotations.read_csv(spark, {subset: storage.normalize(path) for subset, path in files.items()})


def test_null_empty_and_nan_are_counted_each_by_itself(spark, tmp_path):
    files = write_csv(tmp_path / "t.csv", "ImageID,Author,Size", "a,,1", 'b,"",nan', 'c," ",NaN', 'd,"x, ""y""",2')
    table = read(spark, files)
    counts = table.agg(*extract.null_counts(["ImageID", "Author", "Size"])).first().asDict()
    assert counts == {
        **{"null.ImageID": 0, "empty.ImageID": 0, "nan.ImageID": 0},
        **{"null.Author": 1, "empty.Author": 2, "nan.Author": 0},
        **{"null.Size": 0, "empty.Size": 0, "nan.Size": 2},
    }
    assert table.where("ImageID = 'd'").first().Author == 'x, "y"'


def test_columns_are_read_by_name_and_a_missing_rotation_is_unknown(spark, tmp_path):
    header = "Title,ImageID,Subset,OriginalLandingURL,License,Author,More"
    files = write_csv(tmp_path / "t.csv", header, "t,a,train,u,l,w,1")
    images_table = annotations.type_images(read(spark, files))
    row = images_table.first()
    assert (row.image_id, row.title, row.author, row.rotation) == ("a", "t", "w", None)


BOX_HEADER = (
    "ImageID,Source,LabelName,Confidence,XMin,XMax,YMin,YMax,IsOccluded,IsTruncated,IsGroupOf,IsDepiction,IsInside"
)


def test_a_box_is_valid_or_not(spark, tmp_path):
    cases = [
        ("0.1,0.2,0.1,0.2", "0,0,0,0,0", True),
        ("0,1,0,1", "-1,-1,-1,-1,-1", True),
        ("0.2,0.1,0.1,0.2", "0,0,0,0,0", False),
        ("-0.2,1.4,0.1,0.2", "0,0,0,0,0", False),
        ("nan,0.5,0.1,0.2", "0,0,0,0,0", False),
        (",0.5,0.1,0.2", "0,0,0,0,0", False),
        ("XMin,XMax,YMin,YMax", "IsOccluded,IsTruncated,IsGroupOf,IsDepiction,IsInside", False),
        ("0.1,0.2,0.1,0.2", "2,0,0,0,0", False),
        ("0.1,0.2,0.1,0.2", "0,0,,0,0", False),
    ]
    lines = [f"{number},xclick,/m/0dzct,1,{edges},{flags}" for number, (edges, flags, _) in enumerate(cases)]
    files = write_csv(tmp_path / "b.csv", BOX_HEADER, *lines)
    boxes = annotations.type_boxes(read(spark, files))
    found = {row.image_id: row.valid for row in boxes.collect()}
    assert found == {str(number): valid for number, (*_, valid) in enumerate(cases)}


def test_an_image_with_both_verdicts_for_a_class_has_the_negative_one(spark, tmp_path):
    files = write_csv(
        tmp_path / "l.csv",
        "ImageID,Source,LabelName,Confidence",
        *("a,v,/m/1,1", "a,c,/m/1,0", "b,v,/m/1,1", "c,v,/m/1,x"),
    )
    labels = annotations.type_labels(read(spark, files))
    assertDataFrameEqual(
        labels.select("image_id", "positive", "rows"),
        spark.createDataFrame(
            [("a", False, 2), ("b", True, 1), ("c", None, 1)], "image_id string, positive boolean, rows long"
        ),
    )


MIAP_HEADER = (
    "ImageID,LabelName,Confidence,XMin,XMax,YMin,YMax,IsOccluded,IsTruncated,IsGroupOf,IsDepictionOf,IsInsideOf,"
    "GenderPresentation,AgePresentation"
)


def test_miap_boxes_are_typed_and_words_that_are_none_of_miaps_are_null(spark, tmp_path):
    files = write_csv(
        tmp_path / "m.csv",
        MIAP_HEADER,
        "a,/m/01g317,1,0.1,0.2,0.3,0.4,0,1,-1,1,0,Predominantly Feminine,Older",
        "b,/m/01g317,1,0.1,0.2,0.4,0.3,0,0,0,0,0,female,",
    )
    people = annotations.type_miap(read(spark, files))
    first, second = (row.asDict() for row in people.orderBy("image_id").collect())
    flags = {"is_occluded": 0, "is_truncated": 1, "is_group_of": -1, "is_depiction": 1, "is_inside": 0}
    words = {"gender_presentation": "Predominantly Feminine", "age_presentation": "Older"}
    edges = {"x_min": 0.1, "x_max": 0.2, "y_min": 0.3, "y_max": 0.4}
    assert first == {"image_id": "a", "subset": "train", "mid": "/m/01g317", "valid": True, **flags, **words, **edges}
    assert (second["valid"], second["gender_presentation"], second["age_presentation"]) == (False, None, None)
