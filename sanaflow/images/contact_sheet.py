"""Many pictures on one sheet, to be looked at."""

from collections.abc import Sequence

from PIL import Image, ImageDraw, ImageFont, ImageOps


def contact_sheet(
    pictures: Sequence[Image.Image], labels: Sequence[str], *, columns: int = 8, edge: int = 128
) -> Image.Image:
    """Draw pictures in rows, each fitted into a square of `edge` pixels with its label (cut to fit) below."""
    line, gap = 16, 6
    columns = max(1, min(columns, len(pictures)))
    rows = max(1, -(-len(pictures) // columns))
    sheet = Image.new("RGB", (columns * (edge + gap) + gap, rows * (edge + line + gap) + gap), "white")
    pen, font = ImageDraw.Draw(sheet), ImageFont.load_default(size=11)
    for i, (picture, label) in enumerate(zip(pictures, labels, strict=True)):
        x, y = gap + (i % columns) * (edge + gap), gap + (i // columns) * (edge + line + gap)
        fitted = ImageOps.contain(picture, (edge, edge))
        sheet.paste(fitted, (x + (edge - fitted.width) // 2, y + (edge - fitted.height) // 2))
        pen.text((x, y + edge), _cut(label, font, edge), fill="black", font=font)
    return sheet


def _cut(label: str, font: ImageFont.FreeTypeFont | ImageFont.ImageFont, width: int) -> str:
    text = label.splitlines()[0][:200] if label.strip() else ""
    while font.getlength(text) > width:
        text = text.rstrip("…")[:-1] + "…"
    return text
