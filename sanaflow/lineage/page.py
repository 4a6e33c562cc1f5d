"""All model versions, what they are made of and what they share, as one HTML page that needs no network."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

import networkx as nx

from sanaflow.lineage.drawing import draw
from sanaflow.lineage.graph import graph_of
from sanaflow.lineage.records import Record
from sanaflow.lineage.text import SHORT, measured, release_of

STYLE = """
body { font: 14px system-ui, sans-serif; margin: 1.5rem; color: #222 }
header { position: sticky; top: 0; background: #fff; padding: .5rem 0; border-bottom: 1px solid #ddd; z-index: 1 }
input { font: inherit; padding: .3rem .5rem; width: 24rem; max-width: 60vw }
#tip { white-space: pre-wrap; word-break: break-all; margin: .5rem 0 0; min-height: 4.2em }
#graph { overflow-x: auto } svg { min-width: 76rem; width: 100%; height: auto }
svg text { font-family: system-ui, sans-serif !important } svg a text { fill: #1a56b0 !important }
[id$="-label"] { pointer-events: none } [data-node] { cursor: pointer }
[data-node].picked path { stroke-width: 2.5px !important }
.off { opacity: .08 } tr.off { display: none }
table { border-collapse: collapse; margin: 1rem 0 } #table { overflow-x: auto }
td, th { padding: .3rem .7rem; border-bottom: 1px solid #ddd; text-align: left; vertical-align: top }
td, th { white-space: nowrap }
td.says { white-space: normal; min-width: 20rem } code { font-size: 12px }
"""
SCRIPT = """
const find = document.querySelector("input"), tip = document.querySelector("#tip"), said = tip.textContent;
const parts = Object.entries(NODES).map(([id, node]) => [id, node, [id, id + "-label", id + "-link"]
  .map(name => document.getElementById(name)).filter(part => part)]);
const edges = [...document.querySelectorAll("#graph [id]")].filter(part => /^n\\d+-n\\d+$/.test(part.id));
let picked = null;
function show() {
  const words = find.value.trim().toLowerCase();
  const on = new Set(picked ? NODES[picked].with : []);
  if (!picked) for (const node of Object.values(NODES))
    if (node.tip.toLowerCase().includes(words)) for (const other of node.with) on.add(other);
  for (const [id, , own] of parts) for (const part of own) {
    part.classList.toggle("off", !on.has(id)); part.classList.toggle("picked", id === picked); }
  for (const edge of edges) edge.classList.toggle("off", !edge.id.split("-").every(id => on.has(id)));
  for (const row of document.querySelectorAll("tr[data-row]")) row.classList.toggle("off", !on.has(row.dataset.row));
  tip.textContent = picked ? NODES[picked].tip : said;
}
for (const [id, node, own] of parts) for (const part of own) {
  part.dataset.node = id;
  const title = document.createElementNS("http://www.w3.org/2000/svg", "title");
  title.textContent = node.tip;
  part.prepend(title);
  if (!part.id.endsWith("-link")) part.onclick = () => { picked = picked === id ? null : id; show(); };
}
document.querySelector("header").hidden = false;
find.oninput = () => { picked = null; show(); };
"""


@dataclass(frozen=True)
class LineagePage:
    """A page as an artifact."""

    html: str


def lineage_page(records: Sequence[Record]) -> str:
    """A graph, in which a click on a node or a word in the box leaves what hangs together with it, and a table.

    Args:
        records: The oldest first.
    """
    graph = graph_of(records)
    ids = nx.get_node_attributes(graph, "id")
    nodes = {}
    for node, data in graph.nodes(data=True):
        together = {node} | nx.ancestors(graph, node) | nx.descendants(graph, node)
        nodes[data["id"]] = {"tip": data["tip"], "with": sorted(ids[other] for other in together)}
    rows = "".join(_row(record, ids[f"version:{record.name}"]) for record in reversed(records))
    heads = "".join(f"<th>{head}</th>" for head in HEADS)
    data = json.dumps(nodes).replace("<", "\\u003c")
    return f"""<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>Lineage</title><style>{STYLE}</style></head>
<body><h1>{len(records):,} model version{"s" if len(records) != 1 else ""}</h1>
<noscript><p>Here it only shows. <code>python -m sanaflow lineage --html lineage.html</code> writes it as a file,
in which boxes can be clicked and versions searched for.</p></noscript>
<header hidden><input type="search" placeholder="a version, digest, data set, release ..." aria-label="filter">
<p id="tip">A click on a box leaves what it came from and what came from it; a second click brings the rest back.
Red lines: training began with another version's weights.</p>
</header>
<div id="graph">{draw(graph) if records else "none yet: run pipelines.finetune"}</div>
<div id="table"><table><thead><tr>{heads}</tr></thead><tbody>{rows}</tbody></table></div>
<script>const NODES = {data};{SCRIPT}</script></body></html>
"""


HEADS = (
    *("version", "stage", "created", "run", "code", "steps", "base", "tuned", "gain"),
    *("images", "latents", "captions", "weights", "release", "decision"),
)


def _row(record: Record, node: str) -> str:
    scores = [measured(record.scores.get(name)) for name in ("base", "tuned", "gain")]
    digests = [record.data.get(name) for name in ("images", "latents", "captions")]
    cells = [
        *(escape(said) for said in (record.name, record.stage or "", record.created[:16])),
        _link(record.run or "", record.run_url),
        _digest(record.commit),
        "" if record.steps is None else f"{record.steps:,}",
        *scores,
        *(_digest(digest) for digest in (*digests, record.weights)),
        _link(release_of(record), record.release.get("url")),
        escape(record.verdict()),
    ]
    says = {"decision": ' class="says"'}
    columns = (f"<td{says.get(head, '')}>{cell}</td>" for head, cell in zip(HEADS, cells, strict=True))
    return f'<tr data-row="{node}">{"".join(columns)}</tr>'


def _digest(digest: str | None) -> str:
    return f'<code title="{escape(digest)}">{escape(digest[:SHORT])}</code>' if digest else ""


def _link(text: str, url: str | None) -> str:
    known = url is not None and url.startswith(("http://", "https://"))
    return f'<a href="{escape(str(url))}">{escape(text)}</a>' if known else escape(text)
