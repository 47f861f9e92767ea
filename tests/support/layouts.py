"""Write the tables of the drawn release, which is laid out as V5, as another version has them."""

import gzip
from pathlib import Path

SUBSETS = {"train": "train", "validation": "val", "test": "test"}
CLASSES = "v5/class-descriptions-boxable.csv"
TRAIN_BOXES = "2018_04/train/train-annotations-bbox.csv"
MIAP = "open_images_extended_miap/open_images_extended_miap_boxes_{}.csv"
CLICKS = tuple(f"XClick{number}{axis}" for axis in "XY" for number in range(1, 5))
ONE_LIST = "2018_04/image_ids_and_rotation.csv"
# An image that has no boxes, and classes that are not boxable: most of what the labels of all classes hold.
UNBOXED, NOT_BOXABLE = "0000000000000001", ("/m/0dgw9r", "/m/09j5n")


def labels_of(subset):
    return f"v5/{subset}-annotations-human-imagelabels-boxable.csv"


def images_of(subset):
    return f"2018_04/{subset}/{subset}-images-{'boxable-' if subset == 'train' else ''}with-rotation.csv"


def boxes_of(subset):
    return TRAIN_BOXES if subset == "train" else f"v5/{subset}-annotations-bbox.csv"


def write_layout(release: Path, target: Path, version: int, flat: bool = False, compressed: bool = False) -> Path:
    """Write a release's tables as a version has them.

    V6 and V7 come with the labels of all classes, and with the images that have no boxes: V6 in its own list for
    training, V7 in one list for all subsets.
    """
    for path, content in files_of(release, version).items():
        file = target / (Path(path).name if flat else path)
        file.parent.mkdir(parents=True, exist_ok=True)
        if compressed:
            file.with_name(f"{file.name}.gz").write_bytes(gzip.compress(content))
        else:
            file.write_bytes(content)
    return target


def files_of(release: Path, version: int) -> dict[str, bytes]:
    """Return the content of the files of a version by their official paths."""
    files = {MIAP.format(short): (release / MIAP.format(short)).read_bytes() for short in SUBSETS.values()}
    classes = (release / CLASSES).read_bytes()
    for subset, short in SUBSETS.items():
        labels, boxes, images = ((release / of(subset)).read_bytes() for of in (labels_of, boxes_of, images_of))
        if version == 4:
            folder = f"2018_04/{subset}/{subset}-annotations"
            files |= {f"{folder}-human-imagelabels-boxable.csv": labels, f"{folder}-bbox.csv": boxes}
        elif version == 5:
            files |= {labels_of(subset): labels, boxes_of(subset): boxes}
        else:
            train = subset == "train"
            files["v6/oidv6-train-annotations-bbox.csv" if train else boxes_of(subset)] = clicked(boxes, train)
            sixth = f"v{6 if train else 5}/{'oidv6-' if train else ''}{subset}-annotations-human-imagelabels.csv"
            seventh = f"v7/oidv7-{short}-annotations-human-imagelabels.csv"
            files[sixth if version == 6 else seventh] = labels + other_labels()
        if version == 7:
            listed = images if ONE_LIST not in files else images.split(b"\n", 1)[1]
            files[ONE_LIST] = files.get(ONE_LIST, b"") + listed
        elif version == 6 and subset == "train":
            files["v6/oidv6-train-images-with-labels-with-rotation.csv"] = images + unboxed_image()
        else:
            files[images_of(subset)] = images
    if version == 7:
        files[ONE_LIST] += unboxed_image()
    files |= {
        4: {"2018_04/class-descriptions-boxable.csv": classes},
        5: {CLASSES: classes},
        6: {"v6/oidv6-class-descriptions-boxable.csv": b"id,name\n" + classes.replace(b"\r\n", b"\n")},
        7: {"v7/oidv7-class-descriptions-boxable.csv": b"LabelName,DisplayName\r\n" + classes},
    }[version]
    return files


def clicked(boxes, train):
    """Return boxes with the columns that V6 adds for training."""
    if not train:
        return boxes
    head, *lines = boxes.decode().splitlines()
    return "".join(f"{line}\n" for line in [",".join((head, *CLICKS)), *(line + ",0.5" * 8 for line in lines)]).encode()


def other_labels():
    return "".join(f"{UNBOXED},verification,{mid},{n}\n" for n, mid in enumerate(NOT_BOXABLE)).encode()


def unboxed_image():
    return f"{UNBOXED},train,u,u,https://creativecommons.org/licenses/by/2.0/,u,Ann,A title,1,m,u,0.0\n".encode()
