"""The graph of model versions as a drawing: matplotlib's SVG, whose parts a page can find by their ids.

Columns are links of the chain, rows are versions. What several versions share is one node, at the mean of their rows.
"""

import io
import warnings

import matplotlib as mpl
import networkx as nx
import numpy as np
from matplotlib.figure import Figure
from matplotlib.patches import FancyBboxPatch, PathPatch
from matplotlib.path import Path
from scipy.optimize import isotonic_regression

COLUMNS = {
    "source": "#e8e8e8",
    "images": "#dbe9f6",
    "latents": "#d5efe6",
    "captions": "#fdf0d0",
    "run": "#ece4f5",
    "version": "#ffffff",
    "release": "#fbe0dd",
}
STEP, WIDTH, HEIGHT, LETTERS = 3.0, 2.3, 0.6, 28
INCHES = 0.74, 0.34
"""Of a unit of the drawing, across and down."""


def draw(graph: nx.DiGraph) -> str:
    """The drawing as SVG. A node's parts have its `id`, an edge's the ids of both of its nodes: 'n3-n7'."""
    places: dict[str, tuple[float, float]] = {}
    for number, column in enumerate(COLUMNS):
        nodes = [node for node, data in graph.nodes(data=True) if data["column"] == column]
        nodes.sort(key=lambda node: np.mean(graph.nodes[node]["rows"]))
        wanted = np.array([np.mean(graph.nodes[node]["rows"]) for node in nodes])
        apart = np.arange(len(nodes))
        rows = isotonic_regression(wanted - apart).x + apart if nodes else wanted  # the nearest a row or more apart
        rows = rows + 0.5 * (column == "captions")  # so that lines to the latents' right pass between
        places |= {node: (number * STEP, float(row)) for node, row in zip(nodes, rows, strict=True)}
    low, high = min((y for _, y in places.values()), default=0), max((y for _, y in places.values()), default=0)
    across, down = (len(COLUMNS) - 1) * STEP + WIDTH + 0.2, high - low + 2.2
    figure = Figure(figsize=(across * INCHES[0], down * INCHES[1]))
    axes = figure.add_axes((0, 0, 1, 1), xlim=(-0.1, across - 0.1), ylim=(high + 0.7, low - 1.5))
    axes.axis("off")
    for start, end in graph.edges:
        (x0, y0), (x1, y1) = places[start], places[end]
        color, (x0, x1) = ("#8a8a8a", (x0 + WIDTH, x1)) if x1 > x0 else ("#b3261e", (x0, x1 + WIDTH))
        middle = (x0 + x1) / 2
        curve = Path([(x0, y0), (middle, y0), (middle, y1), (x1, y1)], [Path.MOVETO, *[Path.CURVE4] * 3])
        ids = f"{graph.nodes[start]['id']}-{graph.nodes[end]['id']}"
        axes.add_patch(PathPatch(curve, fill=False, edgecolor=color, linewidth=0.8, gid=ids))
    for node, (x, y) in places.items():
        data = graph.nodes[node]
        color, corner = data.get("color", COLUMNS[data["column"]]), (x, y - HEIGHT / 2)
        style = "round,pad=0,rounding_size=0.12"
        box = FancyBboxPatch(corner, WIDTH, HEIGHT, style, facecolor=color, edgecolor="#666", linewidth=0.6)
        box.set_gid(data["id"])
        axes.add_patch(box)
        text = "".join(c if c.isprintable() else " " for c in data["label"])
        room = LETTERS - 5 * bool(data["url"])
        text = text if len(text) <= room else f"{text[: room - 1]}…"
        axes.text(x + 0.08, y, text, va="center", fontsize=7.5, gid=f"{data['id']}-label", parse_math=False)
        if data["url"] and data["url"].startswith(("http://", "https://")):
            axes.text(x + WIDTH - 0.22, y, "↗", va="center", fontsize=8, gid=f"{data['id']}-link", url=data["url"])
    for number, column in enumerate(COLUMNS):
        axes.text(number * STEP, low - 1.1, column, va="center", fontsize=9, weight="bold")
    drawn = io.StringIO()
    with warnings.catch_warnings(), mpl.rc_context({"svg.fonttype": "none", "svg.hashsalt": "sanaflow"}):
        warnings.simplefilter("ignore")  # letters that matplotlib's own font lacks; the browser has others
        figure.savefig(drawn, format="svg", metadata={"Date": None}, transparent=True)
    return drawn.getvalue().partition("<svg")[2].join(("<svg", ""))
