"""The set-up's data: photographs of handwritten digits, made from scikit-learn's data set; the same each time.

The images to classify show digits that the model has never seen: no image of the data set is used for both.
"""

from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from .imaging import find_digit
from .model import Pixels, scaled

CANVAS = 72
PER_LABEL = 10
"""Images of each digit to classify: 100 in all."""


@dataclass(frozen=True, slots=True)
class Split:
    """The data set in two parts that share nothing: 8 x 8 pixels from 0 to 16, and labels."""

    training: NDArray[np.float64]
    training_labels: NDArray[np.int64]
    unseen: NDArray[np.float64]
    unseen_labels: NDArray[np.int64]


def split(seed: int) -> Split:
    """Put ten images of each digit aside, to be classified."""
    from sklearn.datasets import load_digits  # noqa: PLC0415 - the set-up only

    digits, labels = load_digits(return_X_y=True)
    order = np.random.default_rng(seed).permutation(len(labels))
    aside = np.concatenate([order[labels[order] == label][:PER_LABEL] for label in range(10)])
    aside = np.random.default_rng(seed).permutation(aside)
    rest = np.setdiff1d(order, aside)
    return Split(digits[rest], labels[rest], digits[aside], labels[aside])


def training_images(parts: Split, seed: int) -> Pixels:
    """Photograph the training images, and prepare them as `preprocess` does."""
    chance = np.random.default_rng((seed, 1))
    return scaled([find_digit(photograph(digit, chance))[1] for digit in parts.training])


def write_images(parts: Split, seed: int, folder: Path, corrupt: int) -> dict[str, int]:
    """Write the images to classify, one of them cut off; return their names with the right labels."""
    chance, labels = np.random.default_rng((seed, 2)), {}
    for number, (digit, label) in enumerate(
        zip(parts.unseen, parts.unseen_labels, strict=True), start=1
    ):
        target = BytesIO()
        photograph(digit, chance).save(target, "PNG")
        data = target.getvalue()
        name = f"image-{number:03}.png"
        (folder / name).write_bytes(data[: len(data) // 2] if number == corrupt else data)
        labels[name] = int(label)
    return labels


def photograph(digit: NDArray[np.float64], chance: np.random.Generator) -> Image.Image:
    """Put a digit on a canvas: size, place, rotation, colours and noise by chance."""
    side = int(chance.integers(32, 43))
    ink = Image.fromarray((digit.reshape(8, 8) * 255 / 16).astype(np.uint8))
    ink = ink.resize((side, side), Image.Resampling.BICUBIC)
    ink = ink.rotate(chance.uniform(-15, 15), Image.Resampling.BICUBIC, expand=True)
    mask = np.zeros((CANVAS, CANVAS, 1), dtype=np.float32)
    left, top = chance.integers(3, CANVAS - np.array(ink.size) - 15)
    mask[top : top + ink.height, left : left + ink.width, 0] = np.asarray(ink) / 255
    # The background goes from one colour to another, and the ink is brighter than both.
    first, second = chance.uniform(20, 110, (2, 3)).astype(np.float32)
    slope = np.linspace(0, 1, CANVAS, dtype=np.float32)[:, None, None]
    background = np.broadcast_to(first * (1 - slope) + second * slope, (CANVAS, CANVAS, 3))
    if chance.random() < 1 / 2:
        background = background.transpose(1, 0, 2)
    colour = chance.uniform(190, 255, 3).astype(np.float32)
    pixels = background * (1 - mask) + colour * mask
    pixels = pixels + 9 * chance.standard_normal(pixels.shape, dtype=np.float32)
    return Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8))
