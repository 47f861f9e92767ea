"""What each outcome in a ledger means, in one sentence for the pages.

`{noun}` stands for what a chip shows, such as `face`. Tests hold the outcomes equal to those that the jobs count.
"""

from __future__ import annotations

REPLACED = "replaced by a later delivery"  # in the ledger of join_labels, but no reason of a face
EXPLANATIONS: dict[str, dict[str, str]] = {
    "join_labels": {
        "labelled": "The {noun} has a label and goes on to be cut out.",
        "invalid box": "An edge of the box is outside the photograph, its edges are in the wrong order, or a flag is "
        "not 1, 0 or -1.",
        "repeated box": "Another box of the same photograph has the same edges. The {noun} is used once.",
        "group": "Annotators marked the box as a group of more than five.",
        "depiction": "Annotators marked the box as a depiction: a drawing, a statue or a doll.",
        "image not listed": "The release's table of images lacks the photograph, so its rotation and license are "
        "unknown.",
        "no person box": "No box of the labels' classes contains enough of the {noun}.",
        "two labels": "Boxes of both labels contain the {noun}, so neither label can be chosen.",
        "no image-level label": "No class of a label is verified as present in the photograph.",
        "two image-level labels": "Classes of both labels are verified as present in the photograph.",
        "contradicted by a verified negative": "The box around the {noun} is of a class that a person verified as "
        "absent from the photograph.",
        "no MIAP person box": "No person box of MIAP contains enough of the {noun}.",
        "MIAP presentation unknown": "MIAP's annotators gave the presentation of the person as unknown.",
        "over the image limit": "The label already has as many photographs as images_per_label allows.",
        REPLACED: "A later delivery has rows of the same photograph, which replace this box.",
    },
    "chip": {
        "chipped": "The {noun} was cut out and turned upright. Networks learn from these chips.",
        "image absent": "The photograph is in no delivery of the run.",
        "image unreadable": "The photograph's file is damaged, or not an image.",
        "image too large": "By its header the photograph has over 100 megapixels, so it was not decoded. MAX_PIXELS in "
        "ml/vision/images.py sets the limit.",
        "too small": "The shorter side of the box has fewer pixels than min_face_size.",
    },
    "train": {
        "trained on": "The network learns from the {noun}.",
        "excluded by exclude_faces": "The list that exclude_faces names holds the {noun}. The network does not learn "
        "from it.",
    },
}


def explain(stage: str, reason: str, noun: str) -> str:
    """Return the sentence that says what an outcome in a stage's ledger means.

    Raises:
        KeyError: The table lacks the outcome.
    """
    return EXPLANATIONS[stage][reason].format(noun=noun)
