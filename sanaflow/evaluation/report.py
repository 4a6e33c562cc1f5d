"""The scores as one HTML page with pictures and plots in it; needs no network to be viewed."""

import base64
import io
from collections.abc import Mapping, Sequence
from html import escape

import pandas as pd
import torch
from PIL import Image, ImageOps

from sanaflow.evaluation.plots import plot_gains, plot_likeness
from sanaflow.evaluation.scores import MODELS, summarise

STYLE = """
body { font: 14px system-ui, sans-serif; margin: 1.5rem; color: #222; max-width: 72rem }
table { border-collapse: collapse; margin: 1rem 0 }
td, th { padding: .3rem .8rem; border-bottom: 1px solid #ddd; text-align: right }
td:first-child, th:first-child { text-align: left }
td:has(img) { text-align: center }
th.sorts { cursor: pointer } th.sorts:hover { text-decoration: underline }
.gain { color: #187a2f } .loss { color: #b3261e } img.plot { max-width: 100% }
"""
SORT = """
for (const head of document.querySelectorAll("th.sorts")) head.onclick = () => {
  const body = head.closest("table").tBodies[0], place = head.cellIndex;
  const turn = head.dataset.turn = -(head.dataset.turn || 1);
  const value = row => { const text = row.cells[place].dataset.value ?? row.cells[place].innerText;
    return isNaN(text) || text === "" ? text : +text; };
  [...body.rows].sort((a, b) => (value(a) > value(b) ? 1 : -1) * -turn).forEach(row => body.append(row));
};
"""
CHECKS = """
<p><b>distance_to_held_out</b> and <b>distance_to_training</b>: how far all drawn pictures are from real ones, by CLIP's
embeddings (maximum mean discrepancy; 0: not to be told apart). <b>likeness</b>: mean cosine of pictures of different
prompts; well above the base's, the model draws one thing whatever it is asked: it is collapsing.
<b>nearest_training</b>: cosine of the drawn picture that is most like one that was trained on; near 1, it was learned
by heart. Real pictures are compared as the autoencoder gives them back.</p>
"""


def scores_page(
    scores: pd.DataFrame,
    checks: pd.DataFrame,
    drawn: Mapping[str, Sequence[Image.Image]],
    *,
    judge: str,
    nearest_pictures: Sequence[Image.Image],
    embedded: Mapping[str, torch.Tensor],
) -> str:
    """Summary first, then groups, checks and plots, then every prompt with the models side by side.

    Args:
        scores: `ClipScores.scores`, before or after it is one.
        checks: `ClipScores.checks`.
        drawn: Each model's pictures, one a row of `scores`.
        judge: Name of the CLIP model.
        nearest_pictures: The training picture most like each tuned one.
        embedded: CLIP's embeddings of `drawn`.
    """
    caveat = (
        " This is a small stand-in: its scores can't be compared with published ones." if judge == "packaged" else ""
    )
    groups = [(name, rows) for name, rows in scores.groupby("group", sort=False)]
    by_group = "".join(f"<h2>{escape(str(name))}</h2>{_table(summarise(rows))}" for name, rows in groups)
    return f"""<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>CLIP scores</title><style>{STYLE}</style></head>
<body><h1>CLIP scores</h1>
<p>100 times the cosine between prompt and picture, by <b>{escape(judge)}</b>; same prompts, seeds and initial noise
for all.{caveat} <b>low</b> and <b>high</b> are the 95 % interval of the mean. A picture's <b>margin</b> is its score
with its own prompt less the mean of its scores with the others.</p>
{_table(summarise(scores))}
{_plot(plot_gains(scores))}
{by_group if len(groups) > 1 else ""}
<h1>Against real pictures, and each other</h1>
{CHECKS}{_table(checks.set_index("model"), digits=3)}
{_plot(plot_likeness(embedded))}
<h1>Every prompt</h1>
<p>The largest gain first; click a head to sort by it.</p>
{_prompts(scores, drawn, nearest_pictures)}
<script>{SORT}</script></body></html>
"""


def _prompts(
    scores: pd.DataFrame, drawn: Mapping[str, Sequence[Image.Image]], nearest_pictures: Sequence[Image.Image]
) -> str:
    models = [model for model in MODELS if model in drawn]
    heads = "".join(
        f'<th class="sorts">{head}</th>' for head in ("prompt", "seed", *models, "gain", "nearest trained on")
    )
    rows = ""
    gains = scores["tuned"] - scores["base"]
    for i in gains.sort_values(ascending=False).index:
        row = scores.loc[i]
        cells = "".join(
            f'<td data-value="{row[model]}">{_image(drawn[model][i])}<br>{row[model]:.2f}</td>' for model in models
        )
        sign = "gain" if gains[i] > 0 else "loss"
        alike = (
            f'<td data-value="{row["tuned_nearest"]}">{_image(nearest_pictures[i])}<br>{row["tuned_nearest"]:.2f}</td>'
        )
        rows += (
            f"<tr><td>{escape(row['prompt'])}</td><td>{row['seed']}</td>{cells}"
            f'<td class="{sign}">{gains[i]:+.2f}</td>{alike}</tr>'
        )
    return f"<table><thead><tr>{heads}</tr></thead><tbody>{rows}</tbody></table>"


def _table(frame: pd.DataFrame, *, digits: int = 2) -> str:
    heads = "".join(f"<th>{column}</th>" for column in frame.columns)
    rows = "".join(
        f"<tr><td>{name}</td>{''.join(f'<td>{_number(value, digits)}</td>' for value in row)}</tr>"
        for name, row in frame.iterrows()
    )
    return f"<table><tr><th></th>{heads}</tr>{rows}</table>"


def _number(value: float, digits: int) -> str:
    return "" if pd.isna(value) else f"{value:.{digits}f}"


def _plot(png: bytes) -> str:
    return f'<img class="plot" alt="" src="data:image/png;base64,{base64.b64encode(png).decode()}">'


def _image(picture: Image.Image, edge: int = 128) -> str:
    small = ImageOps.contain(picture, (edge, edge))
    buffer = io.BytesIO()
    small.save(buffer, "JPEG", quality=90)
    data = base64.b64encode(buffer.getvalue()).decode()
    return f'<img alt="" width="{small.width}" height="{small.height}" src="data:image/jpeg;base64,{data}">'
