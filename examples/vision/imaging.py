"""What happens to pixels: decode a PNG, find the digit in it, mark it."""

from functools import cache
from io import BytesIO

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFilter, UnidentifiedImageError

SIDE = 8
"""Pixels of a digit's side, as in scikit-learn's data set."""
RIM = 3
"""Pixels along each edge that show nothing but background."""
GREEN, AMBER = (40, 160, 80), (230, 150, 20)

Box = tuple[int, int, int, int]


class CorruptImage(ValueError):  # noqa: N818 - what it is, as `non_retryable` reads
    """The bytes are no image, only a part of one, or show nothing; they will not get better."""


def decode(data: bytes) -> Image.Image:
    """Decode all of an image; raise CorruptImage with the decoder's reason."""
    try:
        image = Image.open(BytesIO(data))
        image.load()
    except (
        *(UnidentifiedImageError, OSError, SyntaxError),
        Image.DecompressionBombError,
    ) as error:
        raise CorruptImage(f"{error} ({len(data):,} bytes)") from error
    return image.convert("RGB")


def find_digit(image: Image.Image) -> tuple[Box, list[int]]:
    """Return where the digit is, and its 8 x 8 pixels from 0 to 255, row by row; raise CorruptImage if there is none."""
    contrast = _without_background(np.asarray(image, dtype=np.float32))
    if not contrast.any():
        raise CorruptImage("nothing stands out from the background")
    strong = np.argwhere(contrast > 0.45 * contrast.max())
    (top, left), (bottom, right) = strong.min(axis=0), strong.max(axis=0) + 1
    box = (int(left), int(top), int(right), int(bottom))
    ink = Image.fromarray(contrast).crop(box)
    side = max(ink.size)
    square = Image.new("L", (side, side))
    square.paste(ink, ((side - ink.width) // 2, (side - ink.height) // 2))
    small = np.asarray(square.resize((SIDE, SIDE), Image.Resampling.BOX), dtype=np.float64)
    return box, (small * 255 / max(small.max(), 1)).round().astype(int).ravel().tolist()


def _without_background(pixels: NDArray[np.float32]) -> NDArray[np.uint8]:
    """Return how far each pixel is from the background: a slope of colour, as the image's rim shows it."""
    height, width, _ = pixels.shape
    plane, rim, fit = _geometry(height, width)
    colours = pixels.reshape(-1, 3)
    difference = colours - plane @ (fit @ colours[rim])
    distance = np.sqrt(np.einsum("ij,ij->i", difference, difference)).reshape(height, width)
    # A mean over 3 x 3 pixels takes most of the noise away, and little of the strokes.
    whole = Image.fromarray(np.minimum(distance, 255).astype(np.uint8))
    return np.asarray(whole.filter(ImageFilter.BoxBlur(1)))


@cache
def _geometry(
    height: int, width: int
) -> tuple[NDArray[np.float32], NDArray[np.bool_], NDArray[np.float32]]:
    """Return the plane's terms at each pixel, which pixels are the rim, and the least squares fit to them."""
    rows, columns = (grid.ravel() for grid in np.mgrid[0:height, 0:width])
    plane = np.stack([np.ones(rows.size), rows, columns], axis=1)
    rim = (rows < RIM) | (rows >= height - RIM) | (columns < RIM) | (columns >= width - RIM)
    return plane.astype(np.float32), rim, np.linalg.pinv(plane[rim]).astype(np.float32)


def annotate(data: bytes, box: Box, caption: str, warn: bool) -> bytes:
    """Return the image as a PNG with the box and the caption drawn on it."""
    image, colour = decode(data), AMBER if warn else GREEN
    drawing = ImageDraw.Draw(image)
    drawing.rectangle(box, outline=colour)
    drawing.rectangle((0, image.height - 13, image.width, image.height), fill=colour)
    drawing.text((3, image.height - 12), caption, fill="white")
    target = BytesIO()
    image.save(target, "PNG")
    return target.getvalue()
