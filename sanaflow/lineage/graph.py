"""Records of model versions as a graph: what each is made of, and what they share."""

import re
from collections.abc import Sequence

import networkx as nx

from sanaflow.lineage.records import Record, parent_of
from sanaflow.lineage.text import SHORT, measured, release_of

OWN_NAME = r"^\w+-(\d{4}_\d\d_\d\d)-(\d\d_\d\d)_\d\d_\d+$"
"""Of runs that ZenML names: pipeline, day, time."""


def graph_of(records: Sequence[Record]) -> nx.DiGraph:
    """Nodes have a `column`, a short `label`, a `tip` in full, a `url` or None, and `versions`, whose rows they are at.

    Args:
        records: The oldest first; the newest are at the top of the drawing.
    """
    graph = nx.DiGraph()

    def add(column: str, key: str, label: str, tip: str, row: int, url: str | None = None, **more: str) -> str:
        node = f"{column}:{key}"
        if node not in graph:
            graph.add_node(node, id=f"n{len(graph)}", column=column, label=label, tip=tip, url=url, rows=[], **more)
        graph.nodes[node]["rows"].append(row)
        return node

    for row, record in enumerate(reversed(records)):
        gain = measured(record.scores.get("gain"))
        label = " ".join([record.name, f"({record.stage})" if record.stage else "", gain.partition(" ")[0]])
        color = "#bfe5c5" if record.stage else "#ffffff"
        tip = f"{record.name} {record.stage or ''}\ngain {gain or 'not measured'}\n{record.verdict()}"
        tip += f"\nweights {record.weights}"
        version = add("version", record.name, label, tip, row, color=color)
        run = add(
            "run",
            record.run_id or record.name,
            re.sub(OWN_NAME, r"\1 \2", record.run or "deleted"),
            f"run {record.run}\ncode {record.commit}\n{record.steps} steps on {record.base_model}",
            row,
            record.run_url,
        )
        graph.add_edge(run, version)
        for name in ("latents", "captions", "images"):
            if digest := record.data.get(name):
                count = f", {record.pictures:,} pictures" if name == "images" and record.pictures is not None else ""
                add(name, digest, digest[:SHORT] + count, f"{name} {digest}{count}", row)
        images = f"images:{record.data.get('images')}"
        for made in (f"{name}:{record.data.get(name)}" for name in ("latents", "captions")):
            graph.add_edges_from([(images, made), (made, run)] if made in graph and images in graph else [])
        for dataset, place in record.sources().items() if images in graph else ():
            graph.add_edge(
                add("source", f"{dataset} {place}", f"{dataset}: {place}", f"{dataset}\n{place}", row), images
            )
        if record.release:
            where = release_of(record)
            tip = "\n".join(f"{name} {said}" for name, said in record.release.items())
            graph.add_edge(version, add("release", tip, where, tip, row, record.release.get("url")))
    for record in records:
        if parent := parent_of(record, records):
            graph.add_edge(f"version:{parent.name}", f"run:{record.run_id or record.name}")
    return graph
