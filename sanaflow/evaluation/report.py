"""The scores as one HTML page with the pictures in it; needs no network to be viewed."""

import base64
import io
from html import escape

import pandas as pd
from PIL import Image, ImageOps

from sanaflow.evaluation.gallery import Gallery

STYLE = """
body { font: 14px system-ui, sans-serif; margin: 1.5rem; color: #222 }
table { border-collapse: collapse; margin: 1rem 0 }
td, th { padding: .3rem .8rem; border-bottom: 1px solid #ddd; text-align: right }
td:first-child, th:first-child { text-align: left }
td:has(img) { text-align: center }
.gain { color: #187a2f } .loss { color: #b3261e }
"""


def scores_page(scores: pd.DataFrame, summary: pd.DataFrame, gallery: Gallery, *, judge: str) -> str:
    """Summary first, then every prompt with base and tuned side by side, the largest gain on top."""
    picture_of = {
        (row.label, row.prompt, row.seed): picture
        for row, picture in zip(gallery.rows.itertuples(), gallery.pictures, strict=True)
    }
    models = [name for name in ("base", "tuned", "ema") if name in scores]
    ordered = scores.assign(gain=scores["tuned"] - scores["base"]).sort_values("gain", ascending=False)
    rows = "".join(
        f"<tr><td>{escape(s.prompt)}</td><td>{s.seed}</td>"
        + "".join(f"<td>{_image(picture_of[m, s.prompt, s.seed])}<br>{getattr(s, m):.2f}</td>" for m in models)
        + f"{_gain(s.gain)}</tr>"
        for s in ordered.itertuples()
    )
    totals = "".join(
        f"<tr><td>{name}</td>{''.join(f'<td>{_number(value)}</td>' for value in row)}</tr>"
        for name, row in summary.iterrows()
    )
    caveat = (
        " This is a small stand-in: its scores can't be compared with published ones." if judge == "packaged" else ""
    )
    return f"""<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>CLIP scores</title><style>{STYLE}</style></head>
<body><h1>CLIP scores</h1>
<p>100 times the cosine between prompt and picture, by <b>{escape(judge)}</b>; same prompts, seeds and initial noise
for both.{caveat} <b>low</b> and <b>high</b> are the 95 % interval of the mean. A picture's <b>margin</b> is its score
with its own prompt less the mean of its scores with the others.</p>
<table><tr><th></th>{"".join(f"<th>{column}</th>" for column in summary.columns)}</tr>{totals}</table>
<table><tr><th>prompt</th><th>seed</th>{"".join(f"<th>{name}</th>" for name in models)}<th>gain</th></tr>{rows}</table>
</body></html>
"""


def _number(value: float) -> str:
    return "" if pd.isna(value) else f"{value:.2f}"


def _gain(gain: float) -> str:
    return f'<td class="{"gain" if gain > 0 else "loss"}">{gain:+.2f}</td>'


def _image(picture: Image.Image, edge: int = 128) -> str:
    small = ImageOps.contain(picture, (edge, edge))
    buffer = io.BytesIO()
    small.save(buffer, "JPEG", quality=90)
    data = base64.b64encode(buffer.getvalue()).decode()
    return f'<img alt="" width="{small.width}" height="{small.height}" src="data:image/jpeg;base64,{data}">'
