"""Write a small release in the layout of Open Images V5 whose faces are drawn cartoons.

Served over HTTP or opened as a folder, it replaces both official hosts, so that the whole pipeline can run without the
published photographs. It has the official names, folders and columns, including MIAP's, and the quirks of the published
files that mislead a reader: people of different labels on one image, faces that no single person box explains, unknown
flags, labels verified as absent, images stored rotated, files absent or truncated. `ml.sample.people` describes what
the faces show. `truth.csv` holds the true label of each face; only tests may read it.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from ml.disk import whole_folder
from ml.errors import ConfigurationError
from ml.sample.scenes import KIND_OF_SCENE, add_scene, image_id_of, subset_of
from ml.sample.tables import Tables, write_tables


@dataclass(frozen=True)
class SampleSummary:
    """The counts of a written release.

    Of the listed `images`, `absent` have no file and `cut_short` have a truncated file. `photographs` counts the JPEG
    files, truncated ones included, `faces` the Human face boxes, and `kinds` the faces by kind.
    """

    out: Path
    images: int
    photographs: int
    absent: int
    cut_short: int
    turned: int
    faces: int
    kinds: dict[str, int]
    megabytes: float

    def __str__(self) -> str:
        kinds = ", ".join(f"{count} {kind}" for kind, count in self.kinds.items())
        images = f"{self.images} images ({self.turned} turned, {self.absent} absent, {self.cut_short} cut short)"
        return f"{self.out}: {images}, {self.faces} faces ({kinds}), {self.megabytes} MB"


def write_sample_release(out: str | Path, scenes: int = 240, seed: int = 0) -> SampleSummary:
    """Write a drawn release; the same scenes and seed give the same bytes.

    Scene n does not depend on the number of scenes; about 70% are train, 15% validation and 15% test. With 60 scenes or
    more, every kind of planted fault occurs. The folder is created atomically.

    Args:
        out: Folder to create; it may exist if it is empty.
        scenes: Number of images to list, at least 10. The default, 240, gives about 480 faces in some 15 MB.
        seed: Seed of all randomness, at least 0.

    Raises:
        ConfigurationError: `out` is a file or not empty, `scenes` is below 10, or `seed` is negative.
    """
    out = Path(out).resolve()
    if scenes < 10:
        raise ConfigurationError(f"scenes = {scenes}: a sample release needs at least 10.")
    if seed < 0:
        raise ConfigurationError(f"seed = {seed}: the seed must not be negative.")
    tables, turned, absent, cut_short = Tables(), 0, 0, 0
    with whole_folder(out) as folder:
        for number in range(scenes):
            jpeg, rotation = add_scene(tables, number, seed)
            name = folder / subset_of(number, seed) / f"{image_id_of(number, seed)}.jpg"
            name.parent.mkdir(exist_ok=True)
            turned += rotation != 0
            if number % 100 == 21:  # listed, but absent
                absent += 1
            elif number % 100 == 37:
                cut_short += 1
                name.write_bytes(jpeg[: len(jpeg) // 3])
            else:
                name.write_bytes(jpeg)
        write_tables(folder, tables)
        size = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    kinds = [str(row[-1]) for row in tables.truth]
    return SampleSummary(
        out=out,
        images=scenes,
        photographs=scenes - absent,
        absent=absent,
        cut_short=cut_short,
        turned=turned,
        faces=len(kinds),
        kinds={kind: kinds.count(kind) for kind in ("labelled", *dict.fromkeys(KIND_OF_SCENE.values()))},
        megabytes=round(size / 1e6, 1),
    )
