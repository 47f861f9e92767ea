"""Chips are cut in stored coordinates, turned upright afterwards, and never distorted."""

import io
import struct
import zlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from ml.vision import images
from support import photographs

RED, BLUE = (250, 10, 10), (10, 10, 250)


def jpeg(array, **options):
    buffer = io.BytesIO()
    Image.fromarray(array).save(buffer, "JPEG", quality=95, **options)
    return buffer.getvalue()


@st.composite
def photograph_and_box(draw):
    width, height = draw(st.integers(8, 120)), draw(st.integers(8, 120))
    x = sorted(draw(st.lists(st.floats(0, 1), min_size=2, max_size=2, unique=True)))
    y = sorted(draw(st.lists(st.floats(0, 1), min_size=2, max_size=2, unique=True)))
    return width, height, (x[0], x[1], y[0], y[1])


@given(photograph_and_box(), st.floats(0, 1))
def test_the_square_is_centred_on_the_box_and_holds_it_with_its_margin(photo, margin):
    width, height, box = photo
    left, top, side = images.square(box, width, height, margin)
    face_width, face_height = images.box_size(box, width, height)
    assert side == pytest.approx(max(1, max(face_width, face_height) * (1 + 2 * margin)), abs=0.5)
    assert left + side / 2 == pytest.approx((box[0] + box[1]) / 2 * width, abs=1)
    assert top + side / 2 == pytest.approx((box[2] + box[3]) / 2 * height, abs=1)


@settings(max_examples=60)
@given(photograph_and_box(), st.floats(0, 1))
def test_a_cut_is_square_keeps_what_lies_inside_and_repeats_the_border(photo, margin):
    width, height, box = photo
    rng = np.random.default_rng(0)
    image = rng.integers(0, 256, (height, width, 3), dtype=np.uint8)
    left, top, side = images.square(box, width, height, margin)
    cropped = images.crop(image, left, top, side)
    rows = np.clip(np.arange(top, top + side), 0, height - 1)
    columns = np.clip(np.arange(left, left + side), 0, width - 1)
    np.testing.assert_array_equal(cropped, image[rows][:, columns])


@given(photograph_and_box(), st.sampled_from([0, 90, 180, 270]))
def test_a_chip_of_a_stored_turned_photograph_equals_the_chip_of_the_upright_one(photo, rotation):
    width, height, box = photo
    rng = np.random.default_rng(1)
    upright = rng.integers(0, 256, (height, width, 3), dtype=np.uint8)
    stored = np.rot90(upright, -rotation // 90)  # turning it by Rotation, counterclockwise, undoes this
    x_min, x_max, y_min, y_max = box
    stored_box = {
        0: (x_min, x_max, y_min, y_max),
        90: (1 - y_max, 1 - y_min, x_min, x_max),
        180: (1 - x_max, 1 - x_min, 1 - y_max, 1 - y_min),
        270: (y_min, y_max, 1 - x_max, 1 - x_min),
    }[rotation]
    expected = images.cut_chip(upright, box, 0.2)
    found = images.cut_chip(stored, stored_box, 0.2, rotation)
    assert abs(found.shape[0] - expected.shape[0]) <= 1
    if rotation == 0:
        np.testing.assert_array_equal(found, expected)


@settings(max_examples=60)
@given(st.integers(1, 40), st.integers(1, 40))
def test_enlarging_is_bilinear_between_the_centres_of_pixels(side, more):
    """As TensorFlow's resize does it, so that an exported model which resizes sees the same chips within a rounding."""
    image = np.random.default_rng(side).integers(0, 256, (side, side, 3), dtype=np.uint8)
    target = side + more
    place = np.clip((np.arange(target) + 0.5) * side / target - 0.5, 0, side - 1)
    weights = np.maximum(0, 1 - np.abs(place[:, None] - np.arange(side)))  # of each old pixel in each new one
    expected = np.einsum("yi,xj,ijc->yxc", weights, weights, image.astype(float))
    assert np.abs(images.resize(image, target) - expected).max() <= 1


@settings(max_examples=40)
@given(st.integers(1, 12), st.integers(2, 5))
def test_reducing_by_a_whole_factor_takes_means_of_squares(side, factor):
    image = np.random.default_rng(side).integers(0, 256, (side * factor, side * factor, 3), dtype=np.uint8)
    means = image.reshape(side, factor, side, factor, 3).mean(axis=(1, 3))
    assert np.abs(images.resize(image, side) - means).max() <= 0.51


def test_what_is_not_square_is_not_resized():
    with pytest.raises(ValueError, match="aspect ratio"):
        images.resize(np.zeros((40, 60, 3), np.uint8), 32)


def test_turning_upright_is_counterclockwise():
    image = np.zeros((2, 4, 3), np.uint8)
    image[0, 3] = 255  # top right goes to top left
    turned = images.turn_upright(image, 90)
    assert turned.shape == (4, 2, 3)
    assert turned[0, 0, 0] == 255


def test_decoding_gives_rgb_and_ignores_exif_orientation():
    array = np.zeros((40, 60, 3), np.uint8)
    array[:, :30], array[:, 30:] = RED, BLUE
    exif = Image.Exif()
    exif[0x0112] = 6  # turn by 90 degrees
    decoded = images.decode(jpeg(array, exif=exif.tobytes()))
    assert decoded.shape == (40, 60, 3)
    assert decoded[20, 5, 0] > 200
    assert decoded[20, 55, 2] > 200


@pytest.mark.parametrize("mode", ["L", "CMYK"])
def test_gray_and_cmyk_photographs_decode_to_rgb(mode):
    buffer = io.BytesIO()
    Image.new("RGB", (32, 24), RED).convert(mode).save(buffer, "JPEG")
    assert images.decode(buffer.getvalue()).shape == (24, 32, 3)


def test_what_is_no_whole_photograph_is_refused():
    whole = jpeg(np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8))
    for data in (b"", b"\xff\xd8\xff", b"no photograph", whole[: len(whole) // 3]):
        with pytest.raises(images.UnreadableImageError):
            images.decode(data)


@pytest.mark.parametrize("content", [b"", b"name", b"name\0"])
def test_a_png_with_a_damaged_color_profile_is_read_or_refused_as_others_are(content):
    """Pillow raises an `IndexError` for a profile without a method that comes after the pixels."""
    whole = images.encode_png(np.zeros((4, 6, 3), np.uint8))
    chunk = b"iCCP" + content
    damaged = whole[:-12] + struct.pack(">I", len(content)) + chunk + struct.pack(">I", zlib.crc32(chunk)) + whole[-12:]
    with pytest.raises(images.UnreadableImageError):
        images.decode(damaged)


@pytest.mark.parametrize("kind", ["JPEG", "CMYK", "PNG"])
def test_a_decompression_bomb_is_refused_by_its_header(monkeypatch, kind):
    """The header claims 30,000 x 30,000 pixels, and nothing is decoded."""
    if kind == "PNG":
        header = b"IHDR" + struct.pack(">IIBBBBB", 30_000, 30_000, 8, 2, 0, 0, 0)
        small = images.encode_png(np.zeros((4, 6, 3), np.uint8))
        data = small[:12] + header + struct.pack(">I", zlib.crc32(header)) + small[33:]
    else:
        buffer = io.BytesIO()
        Image.new("CMYK" if kind == "CMYK" else "RGB", (64, 64)).save(buffer, "JPEG")
        small = buffer.getvalue()
        size = small.index(b"\xff\xc0") + 5
        data = small[:size] + struct.pack(">HH", 30_000, 30_000) + small[size + 4 :]
    for decoder in ("EncodedImage.decode", "_decode_rarer"):
        monkeypatch.setattr(f"ml.vision.images.{decoder}", lambda *_: pytest.fail("it was decoded"))
    with pytest.raises(
        images.ImageTooLargeError,
        match=r"(30000 x 30000|its) pixels are more than .*MAX_PIXELS in ml/vision/images.py",
    ):
        images.decode(data)


@pytest.mark.parametrize("reduction", [1, *images.REDUCTIONS])
@pytest.mark.parametrize("size", [(64, 96), (65, 99)])
def test_decoding_reduced_divides_the_sides_and_keeps_the_picture(size, reduction):
    """The picture: red on the left, blue on the right."""
    array = np.zeros((*size, 3), np.uint8)
    array[:, : size[1] // 2], array[:, size[1] // 2 :] = RED, BLUE
    decoded = images.read_header(jpeg(array)).decode(reduction)
    assert decoded.shape == (-(-size[0] // reduction), -(-size[1] // reduction), 3)
    assert np.abs(decoded[2, 1].astype(int) - RED).max() < 20
    assert np.abs(decoded[2, -2].astype(int) - BLUE).max() < 20


@pytest.mark.parametrize("name", photographs.whole_files())
def test_odd_files_that_are_whole_are_decoded_as_stored(name):
    warnings = []
    decoded = images.decode(photographs.whole_files()[name], warnings)
    assert decoded.shape == photographs.picture().shape
    assert np.abs(decoded.astype(int) - photographs.picture()).mean() < 8
    assert warnings == []


@pytest.mark.parametrize("name", photographs.colorless_files())
def test_files_without_color_are_decoded_to_rgb(name):
    decoded = images.decode(photographs.colorless_files()[name])
    assert decoded.shape == photographs.picture().shape
    gray = np.asarray(Image.fromarray(photographs.picture()).convert("L"))
    assert np.abs(decoded.mean(axis=-1) - (photographs.picture().mean(axis=-1) if name == "GIF" else gray)).mean() < 20


@pytest.mark.parametrize("reduction", [1, 2])
@pytest.mark.parametrize("name", photographs.warned_of())
def test_a_jpeg_of_which_libjpeg_only_warns_is_decoded_and_the_warning_told(name, reduction):
    warnings = []
    decoded = images.read_header(photographs.warned_of()[name]).decode(reduction, warnings)
    assert np.abs(decoded.astype(int) - images.decode(photographs.encoded(photographs.picture()))).max() <= 1
    assert len(warnings) == 1
    assert any(word in warnings[0] for word in ("extraneous", "SOS", "revision"))


@pytest.mark.parametrize("name", photographs.damaged())
def test_a_jpeg_that_is_cut_short_is_refused_though_libjpeg_only_warns(name):
    with pytest.raises(images.UnreadableImageError):
        images.decode(photographs.damaged()[name])


def test_a_stored_chip_survives_encoding_nearly_unchanged():
    y, x = np.mgrid[0:128, 0:128]
    smooth = np.stack([x * 2, y * 2, 255 - x], axis=-1).clip(0, 255).astype(np.uint8)
    decoded = images.decode_chip(images.encode_jpeg(smooth), 128)
    assert np.abs(decoded.astype(int) - smooth).mean() < 2
