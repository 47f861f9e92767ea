"""Croissant: a description of an export for machines, made and checked with `mlcroissant`."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

import mlcroissant as mlc
import pyarrow as pa

from ml import storage
from ml.export import coco, hugging_face, image_folder
from ml.export.credits import ATTRIBUTION, OPEN_IMAGES, licenses_of
from ml.export.formats import Format
from ml.export.source import FLAGS, Source
from ml.export.written import Written
from ml.report.dataset_card import dataset_name

CROISSANT = "croissant.json"
ANNOTATIONS_LICENSE = "https://creativecommons.org/licenses/by/4.0/"
CITATION = (
    "@article{OpenImages, author = {Kuznetsova, Alina and others}, title = {The Open Images Dataset V4: Unified image "
    "classification, object detection, and visual relationship detection at scale}, journal = {IJCV}, year = {2020}}"
)
Resource: TypeAlias = mlc.FileObject | mlc.FileSet
_TYPES = {
    pa.string(): mlc.DataType.TEXT,
    pa.float64(): mlc.DataType.FLOAT,
    **dict.fromkeys((pa.int8(), pa.int32(), pa.int64()), mlc.DataType.INTEGER),
}
_TEXT, _WHOLE, _NUMBER, _PICTURE = (
    *(mlc.DataType.TEXT, mlc.DataType.INTEGER, mlc.DataType.FLOAT, mlc.DataType.IMAGE_OBJECT),
)


@dataclass(frozen=True)
class _Column:
    """A field of a record set: its name, its type, and where its value is."""

    name: str
    type: str
    extract: mlc.Extract
    transform: mlc.Transform | None = None


def write_croissant(form: Format, source: Source, written: Written, folder: Path) -> None:
    """Write `croissant.json` about the files of a folder, and check that `mlcroissant` accepts it."""
    resources, sets = _DESCRIBED[form](written)
    attribution = mlc.FileObject(
        id=ATTRIBUTION,
        name=ATTRIBUTION,
        description="Author, title, license and landing page of each photograph.",
        content_url=ATTRIBUTION,
        encoding_formats=[mlc.EncodingFormat.CSV],
        sha256=storage.file_digest(storage.normalize(folder / ATTRIBUTION)),
    )
    credits = ("photograph", "author", "title", "license", "landing_page")
    columns = [_Column(name, _TEXT, mlc.Extract(column=name)) for name in credits]
    subject = source.subject
    metadata = mlc.Metadata(
        name=dataset_name(source.run.config),
        description=f"{source.run.config.chip_class} of Open Images, labeled by {subject.title}. {subject.statement} "
        f"{subject.limits}".strip(),
        version="1.0.0",
        date_published=source.made,
        url=OPEN_IMAGES,
        license=[ANNOTATIONS_LICENSE, *(license.url for license in licenses_of(written.photographs) if license.url)],
        cite_as=CITATION,
        data_use_cases=[f"The data may be used {subject.purpose}."],
        data_limitations=[f"The data must not be used {use}." for use in subject.must_not],
        distribution=[*resources, attribution],
        record_sets=[*sets, _record_set("photographs", "photograph", attribution, columns)],
    )
    text = json.dumps(metadata.to_json(), indent=2, ensure_ascii=False)
    (folder / CROISSANT).write_text(text + "\n", encoding="utf-8")
    mlc.Dataset(jsonld=folder / CROISSANT)  # raises if the description is not valid


def _files(name: str, description: str, includes: str, format_: str) -> mlc.FileSet:
    return mlc.FileSet(id=name, name=name, description=description, includes=[includes], encoding_formats=[format_])


def _record_set(name: str, key: str, resource: Resource, columns: Iterable[_Column]) -> mlc.RecordSet:
    """Return a record set whose fields are all in one resource, so that readers can stream it."""
    fields = []
    for column in columns:
        place = {"file_set": resource.id} if isinstance(resource, mlc.FileSet) else {"file_object": resource.id}
        source = mlc.Source(**place, extract=column.extract, transforms=[column.transform] if column.transform else [])
        fields.append(mlc.Field(id=f"{name}/{column.name}", name=column.name, data_types=[column.type], source=source))
    return mlc.RecordSet(id=name, name=name, key=[f"{name}/{key}"], fields=fields)


def _coco(written: Written) -> tuple[Sequence[Resource], Sequence[mlc.RecordSet]]:
    """Describe the lists of the JSON files; each is a resource of its own, because they differ in length."""
    kinds = {
        "images": {
            **{"id": _WHOLE, "file_name": _TEXT, "width": _WHOLE, "height": _WHOLE, "rotation": _WHOLE},
            **{"open_images_id": _TEXT, "author": _TEXT, "title": _TEXT, "landing_page": _TEXT, "license": _WHOLE},
        },
        "annotations": {
            **{"id": _WHOLE, "image_id": _WHOLE, "category_id": _WHOLE, "bbox": mlc.DataType.BOUNDING_BOX},
            **{"area": _NUMBER, "face_id": _TEXT, "source": _TEXT},
            **dict.fromkeys(("iscrowd", *FLAGS, "is_group_of", "is_depiction"), _WHOLE),
        },
    }
    resources, sets = [], []
    for kind, types in kinds.items():
        files = _files(f"{kind}-files", f"COCO JSON, for its {kind}.", coco.coco_file("*"), mlc.EncodingFormat.JSON)
        columns = [_Column(name, type_, mlc.Extract(json_path=f"{kind}[*].{name}")) for name, type_ in types.items()]
        resources.append(files)
        sets.append(_record_set(kind, "id", files, columns))
    return resources, sets


def _image_folder(written: Written) -> tuple[Sequence[Resource], Sequence[mlc.RecordSet]]:
    """Describe images and metadata as two record sets, because a reader would have to hold all images to join them."""
    pictures = _files("image-files", "Upright square chips.", "*/*.jpg", mlc.EncodingFormat.JPG)
    tables = _files("metadata-files", "Metadata of the chips.", f"*/{image_folder.METADATA}", mlc.EncodingFormat.CSV)
    path = mlc.Extract(file_property=mlc.FileProperty.fullpath)
    chips = [
        _Column("face_id", _TEXT, path, mlc.Transform(regex=r"^.*/(.*)\.jpg$")),
        _Column("image", _PICTURE, mlc.Extract(file_property=mlc.FileProperty.content)),
        _Column(written.divided_by, _TEXT, path, mlc.Transform(regex=r"^([^/]*)/")),
        _Column("label_folder", _TEXT, path, mlc.Transform(regex=r"^[^/]*/([^/]*)/")),
    ]
    faces = [_Column(name, _TEXT, mlc.Extract(column=name)) for name in image_folder.COLUMNS]
    return [pictures, tables], [
        _record_set("chips", "face_id", pictures, chips),
        _record_set("faces", "face_id", tables, faces),
    ]


def _hugging_face(written: Written) -> tuple[Sequence[Resource], Sequence[mlc.RecordSet]]:
    shards = _files("parquet-files", "Shards of chips.", "data/*.parquet", mlc.EncodingFormat.PARQUET)
    image = _Column("image", _PICTURE, mlc.Extract(column="image"), mlc.Transform(json_path="bytes"))
    path = mlc.Extract(file_property=mlc.FileProperty.fullpath)
    part = _Column(written.divided_by, _TEXT, path, mlc.Transform(regex=rf"^data/({'|'.join(written.parts)})-"))
    others = [
        _Column(field.name, _TYPES[field.type], mlc.Extract(column=field.name))
        for field in hugging_face.SCHEMA
        if field.name not in ("image", "subset") or (field.name == "subset" and part.name != "subset")
    ]
    return [shards], [_record_set("chips", "face_id", shards, [image, part, *others])]


_DESCRIBED = {Format.COCO: _coco, Format.IMAGE_FOLDER: _image_folder, Format.HUGGING_FACE: _hugging_face}
