"""ZenML: its server or store, and the active stack."""

from collections.abc import Iterator
from importlib import metadata

from pipelines.checking.finding import Finding


def look_at_zenml() -> Iterator[Finding]:
    """What the client is connected to and what its stack is made of."""
    from zenml.client import Client

    from pipelines.checking.server import store_address, store_problem

    if problem := store_problem():
        yield Finding("error", "store", problem)
        return
    client, here = Client(), metadata.version("zenml")
    there = str(client.zen_store.get_store_info().version)
    said = f"{store_address()}, version {there}"
    if there == here:
        yield Finding("ok", "store", said)
    else:
        yield Finding("warning", "store", f"{said}, and the client is {here}: bring them to one version")
    stack = client.active_stack_model
    yield Finding("ok", "active stack", stack.name)
    for kind, components in stack.components.items():
        names = ", ".join(f"{component.name} ({component.flavor_name})" for component in components)
        yield Finding("ok", kind.value.replace("_", " "), names)
    if not any(kind.value == "step_operator" for kind in stack.components):
        yield Finding("ok", "step operator", "none: every step runs where the orchestrator runs it")
