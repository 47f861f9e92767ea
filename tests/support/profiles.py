"""Make profiles of a run's data."""

import numpy as np

from ml.features.histograms import EDGES
from ml.flow.profile import DataProfile, Histogram


def histogram(column, values):
    """Return the histogram of some values with the edges of a column."""
    edges = EDGES[column]
    bins = np.searchsorted(edges, values, side="right")
    return Histogram(edges=edges, counts=tuple(np.bincount(bins, minlength=len(edges) + 1).tolist()))


def make_profile(faces=4000, seed=0, size=120.0, light=0.5, male=0.5, deliveries=("2024-01-01",), **changes):
    """Draw the faces of a run's data and return their profile."""
    random = np.random.default_rng(seed)
    count = round(faces * male)
    values = {
        "run_id": "earlier",
        "as_of": "2024-02-01T00:00:00+00:00",
        "deliveries": {name: f"digest of {name}" for name in deliveries},
        "settings": {"chip_class": "Human face", "min_face_size": 32},
        "rows": {"classes": 601, "labels": 10 * faces, "boxes": 4 * faces, "images": faces},
        "categories": {
            "labels": {"female": faces - count, "male": count},
            "splits": {"train": faces // 2, "validation": faces // 4, "test": faces // 4},
            "outcomes": {"labelled": faces, "no person box": faces // 2, "ambiguous": faces // 10},
            "classes": {"Person": 2 * faces, "Human face": faces, "Tree": faces // 3},
            "agreement": {"agree": faces * 9 // 10, "disagree": faces // 10},
        },
        "histograms": {
            "face_px": histogram("face_px", random.lognormal(np.log(size), 0.6, faces)),
            "brightness": histogram("brightness", random.normal(light, 0.12, faces)),
        },
    }
    return DataProfile.model_validate({**values, **changes})


def together(one, other):
    """Return the profile of the data of two deliveries."""
    added = {
        name: {each: counts.get(each, 0) + other.categories[name].get(each, 0) for each in counts}
        for name, counts in one.categories.items()
    }
    return one.model_copy(
        update={
            "run_id": "later",
            "as_of": "2024-03-01T00:00:00+00:00",
            "deliveries": {**one.deliveries, **other.deliveries},
            "rows": {n: c if n == "classes" else c + other.rows[n] for n, c in one.rows.items()},
            "categories": added,
            "histograms": {
                name: Histogram(
                    edges=found.edges, counts=tuple(np.add(found.counts, other.histograms[name].counts).tolist())
                )
                for name, found in one.histograms.items()
            },
        }
    )
