"""The picture: a contact sheet of all images, with what was predicted."""

from collections.abc import Mapping
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

COLUMNS = 10
GAP = 6
HEAD = 34
RED = (205, 45, 45)


def draw(
    out: Path, predictions: Mapping[str, tuple[int, float]], labels: Mapping[str, int]
) -> Path:
    """Draw the sheet: annotated images, those with a wrong label in a red frame, the corrupt one as a red cross."""
    tiles = [_tile(out, image, label, predictions.get(image)) for image, label in labels.items()]
    side = tiles[0].width + GAP
    rows = -(-len(tiles) // COLUMNS)
    sheet = Image.new("RGB", (GAP + COLUMNS * side, HEAD + rows * side + GAP), "white")
    drawing = ImageDraw.Draw(sheet)
    for place, (tile, (image, label)) in enumerate(zip(tiles, labels.items(), strict=True)):
        row, column = divmod(place, COLUMNS)
        left, top = GAP + column * side, HEAD + row * side
        if image in predictions and predictions[image][0] != label:
            frame = (left - 3, top - 3, left + tile.width + 2, top + tile.height + 2)
            drawing.rectangle(frame, fill=RED)
        sheet.paste(tile, (left, top))
    right = sum(label == labels[image] for image, (label, _) in predictions.items())
    title = (
        f"{len(labels)} images: {right} right, {len(predictions) - right} wrong (red frame),"
        f" {len(labels) - len(predictions)} corrupt (red cross); amber: less sure, for review"
    )
    drawing.text((GAP, 9), title, fill="black", font=ImageFont.load_default(14))
    target = out / "picture.png"
    # 64 colours are enough for a page, and a quarter of the bytes.
    sheet.quantize(64).save(target, optimize=True)
    return target


def _tile(out: Path, image: str, label: int, prediction: tuple[int, float] | None) -> Image.Image:
    if prediction is None:
        with Image.open(out / "images" / image) as corrupt:
            tile = Image.new("RGB", corrupt.size, (235, 235, 235))
        drawing, side = ImageDraw.Draw(tile), tile.width - 1
        drawing.line((0, 0, side, side), RED, 3)
        drawing.line((0, side, side, 0), RED, 3)
        drawing.text((4, side - 12), "corrupt", fill="black")
        return tile
    with Image.open(out / "annotated" / image) as annotated:
        tile = annotated.convert("RGB")
    if prediction[0] != label:
        ImageDraw.Draw(tile).text((4, 2), f"is {label}", fill="white")
    return tile
