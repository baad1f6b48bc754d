"""Images from bytes: the transform, and what hostile or damaged bytes come to."""

from __future__ import annotations

import io
import struct
from contextlib import suppress

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from unimm.data.decode import Limits, decode, read_header
from unimm.data.source import Unusable

from .conftest import bomb, encoded, png

LIMITS = Limits(32, 1_000_000)


def saved(image: Image.Image, kind: str = "PNG", **more: object) -> bytes:
    stream = io.BytesIO()
    image.save(stream, kind, **more)
    return stream.getvalue()


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
def test_each_format_gives_rgb_of_the_resolution(kind):
    pixels = decode(encoded(0, 50, kind), 32, LIMITS)
    assert pixels.shape == (3, 32, 32)
    assert pixels.dtype == torch.uint8
    assert read_header(encoded(0, 50, kind)).format == kind


def test_an_image_of_the_right_size_is_left_as_it_is():
    pixels = np.random.default_rng(1).integers(0, 256, (32, 32, 3), dtype=np.uint8)
    assert np.array_equal(decode(saved(Image.fromarray(pixels)), 32, LIMITS).permute(1, 2, 0).numpy(), pixels)


def test_the_centre_is_kept():
    wide = Image.new("RGB", (300, 100), "red")
    wide.paste(Image.new("RGB", (100, 100), "blue"), (100, 0))
    pixels = decode(saved(wide), 50, LIMITS)
    assert (pixels[2] == 255)[:, 2:-2].all()
    assert pixels[2].min() > 200, "the filter looks just over the edge, as resizing first would"


def test_orientation_transparency_and_palettes_are_resolved():
    half = Image.new("RGB", (64, 64), "black")
    half.paste(Image.new("RGB", (64, 32), "white"), (0, 0))
    exif = Image.Exif()
    exif[0x0112] = 3
    assert decode(saved(half, "JPEG", exif=exif), 64, LIMITS)[:, -1].min() > 200
    assert (decode(saved(Image.new("RGBA", (64, 64), (255, 0, 0, 0))), 64, LIMITS) == 255).all()
    palette = decode(saved(Image.new("RGB", (64, 64), (10, 200, 30)).convert("P")), 64, LIMITS)
    assert palette[1].min() > 150 > palette[0].max()


SIDE = 32


@pytest.mark.parametrize(("channels", "depth"), [(1, 1), (1, 2), (1, 4), (1, 8), (1, 16), (3, 8), (3, 16)])
def test_the_colour_that_a_png_names_as_transparent_is_white(channels, depth):
    """The left half has that colour, the right half another; by the PNG specification only equal samples are clear."""
    top = 2**depth - 1
    key, other = [min(top, n + 1) * (257 if depth == 16 else 1) for n in range(channels)], [0] * channels
    bits = "".join(format(value, f"0{depth}b") for pixel in [key] * 16 + [other] * 16 for value in pixel)
    rows = (b"\0" + int(bits, 2).to_bytes(len(bits) // 8)) * SIDE
    data = png(SIDE, depth, 0 if channels == 1 else 2, rows, tRNS=struct.pack(f">{channels}H", *key))
    if channels == 1 and depth == 16:
        with pytest.raises(Unusable, match="more than 8 bits"):
            decode(data, SIDE, LIMITS)
        return
    pixels = decode(data, SIDE, LIMITS)
    assert (pixels[:, :, :14] == 255).all()
    assert (pixels[:, :, 18:] == 0).all()


@pytest.mark.parametrize("mode", ["RGB", "L", "1", "P", "LA", "RGBA", "webp", "animated webp", "animated png"])
def test_every_kind_of_transparency_stands_on_white_as_pillow_shows_it(mode):
    half = Image.new("RGB", (SIDE, SIDE), (200, 30, 30))
    half.paste((10, 10, 10), (0, 0, 16, SIDE))
    alpha = Image.new("L", (SIDE, SIDE), 255)
    alpha.paste(0, (0, 0, 16, SIDE))
    clear = half.copy()
    clear.putalpha(alpha)
    grey, two = half.convert("L"), half.quantize(4)
    frames = {"save_all": True, "append_images": [clear.rotate(180)]}
    data = {
        "RGB": lambda: saved(half, transparency=(10, 10, 10)),
        "L": lambda: saved(grey, transparency=10),
        "1": lambda: saved(grey.point(lambda value: 255 * (value > 50)).convert("1"), transparency=0),
        "P": lambda: saved(two, transparency=two.getpixel((0, 0))),
        "LA": lambda: saved(clear.convert("LA")),
        "RGBA": lambda: saved(clear),
        "webp": lambda: saved(clear, "WEBP", lossless=True),
        "animated webp": lambda: saved(clear, "WEBP", lossless=True, **frames),
        "animated png": lambda: saved(clear, **frames),
    }[mode]()
    seen = Image.open(io.BytesIO(data)).convert("RGBA")
    wanted = Image.alpha_composite(Image.new("RGBA", seen.size, "white"), seen).convert("RGB")
    pixels = decode(data, SIDE, LIMITS)
    assert (pixels[:, :, :16] == 255).all()
    assert np.array_equal(pixels.permute(1, 2, 0).numpy(), np.asarray(wanted))


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "broken"),
        (b"GIF89a" + bytes(100), "broken"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 100 100\n", "broken"),
        (encoded(1)[:-600], "broken"),
        (encoded(1, kind="JPEG")[:300], "broken"),
        (saved(Image.new("RGB", (400, 31))), "tiny"),
        (saved(Image.new("RGB", (1001, 1000))), "too_large"),
        (bomb(), "too_large"),
        (saved(Image.fromarray(np.full((64, 64), 40_000, np.uint16))), "broken"),
    ],
    ids=["empty", "gif", "postscript", "cut png", "cut jpeg", "tiny", "too large", "bomb", "16 bit"],
)
def test_what_training_cannot_use_is_named(data, reason):
    with pytest.raises(Unusable) as problem:
        decode(data, 32, LIMITS)
    assert problem.value.reason == reason
    assert str(problem.value)


@settings(max_examples=150, deadline=None)
@given(data=st.data(), kind=st.sampled_from(["JPEG", "PNG", "WEBP"]))
def test_damaged_bytes_are_unusable_or_an_image_and_nothing_else(data, kind):
    damaged = bytearray(encoded(2, 40, kind))
    for _ in range(data.draw(st.integers(1, 8))):
        damaged[data.draw(st.integers(0, len(damaged) - 1))] = data.draw(st.integers(0, 255))
    with suppress(Unusable):
        assert decode(bytes(damaged), 16, LIMITS).shape == (3, 16, 16)
