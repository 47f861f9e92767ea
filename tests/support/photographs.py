"""Encode one picture as cameras, programs and accidents do: odd files that are whole, and damaged ones."""

import io
import struct
import zlib

import numpy as np
from PIL import Image

SOI, EOI = b"\xff\xd8", b"\xff\xd9"


def picture(height=96, width=128):
    """Soft shapes, which survive any encoding nearly unchanged."""
    y, x = np.mgrid[0:height, 0:width]
    return np.stack([x * 255 / width, y * 255 / height, 255 - x * 255 / width], axis=-1).astype(np.uint8)


def encoded(pixels, kind="JPEG", mode="RGB", **options):
    buffer = io.BytesIO()
    quality = {} if kind in ("PNG", "GIF") else {"quality": 95}
    Image.fromarray(pixels).convert(mode).save(buffer, kind, **{**quality, **options})
    return buffer.getvalue()


def with_stray_bytes(jpeg):
    """Some bytes between the picture and the end: libjpeg warns of extraneous bytes."""
    return jpeg[:-2] + bytes(9) + jpeg[-2:]


def with_odd_scan(jpeg):
    """A scan that ends at coefficient 0 of 63, as some phones write it: libjpeg warns of invalid SOS parameters."""
    scan = jpeg.index(b"\xff\xda")
    last = scan + 2 + struct.unpack(">H", jpeg[scan + 2 : scan + 4])[0] - 2
    return jpeg[:last] + b"\0" + jpeg[last + 1 :]


def of_an_unknown_revision(jpeg):
    """JFIF 9, of which libjpeg warns as soon as it reads the header."""
    revision = jpeg.index(b"JFIF\0") + 5
    return jpeg[:revision] + b"\x09" + jpeg[revision + 1 :]


def warned_of():
    """The files that libjpeg warns of and decodes."""
    whole = encoded(picture())
    return {
        "extraneous bytes": with_stray_bytes(whole),
        "odd scan": with_odd_scan(whole),
        "unknown revision": of_an_unknown_revision(whole),
    }


def whole_files():
    """The other files that hold the whole picture, in color."""
    pixels = picture()
    whole = encoded(pixels)
    exif = Image.Exif()
    exif[0x0112] = 6  # turn by 90 degrees
    return {
        "progressive": encoded(pixels, progressive=True),
        "CMYK": encoded(pixels, mode="CMYK"),
        "MPO": encoded(pixels, "MPO", save_all=True, append_images=[Image.fromarray(pixels[::-1])]),
        "restart markers": encoded(pixels, restart_marker_blocks=2),
        "fill bytes": SOI + b"\xff\xff\xff" + whole[2:],
        "trailing bytes": whole + bytes(40),
        "PNG": encoded(pixels, "PNG"),
        "WebP": encoded(pixels, "WEBP"),
        "EXIF orientation": encoded(pixels, exif=exif.tobytes()),
    }


def colorless_files():
    """The files that hold the picture without its colors, or with few."""
    pixels = picture()
    return {
        "gray": encoded(pixels, mode="L"),
        "gray with alpha": encoded(pixels, "PNG", mode="LA"),
        "GIF": encoded(pixels, "GIF", mode="P"),
    }


def damaged():
    """The files that are cut short, though libjpeg only warns of them."""
    whole = encoded(picture())
    half = len(whole) // 2
    return {
        "without its end": whole[:-2],
        "cut": whole[:half],
        "cut and ended": whole[:half] + EOI,
    }


def bomb(side=30_000):
    """A small PNG whose header claims a picture of many pixels."""
    small = encoded(picture(4, 6), "PNG")
    header = b"IHDR" + struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
    return small[:12] + header + struct.pack(">I", zlib.crc32(header)) + small[33:]
