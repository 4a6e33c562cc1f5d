"""Whether the active stack can run it."""

from pipelines.checking.finding import Finding, Look
from pipelines.checking.redaction import why
from pipelines.checking.whereabouts import Whereabouts
from sanaflow.config import RunSettings


def look_at_stack(run: RunSettings, place: Whereabouts) -> Look[None]:
    """The stack as ZenML sees it, and what of the run has no effect on it."""
    stack, orchestrator = place.stack, place.stack.orchestrator
    yield from refusals(place)
    try:
        stack.validate()
    except Exception as error:  # ZenML's validators raise of several kinds
        yield Finding("error", "stack", f"'{stack.name}' can't run: {why(error)}")
    store = stack.artifact_store
    schedules = "with schedules" if orchestrator.config.is_schedulable else "scheduled by `sanaflow schedule run`"
    said = f"orchestrator '{orchestrator.name}' ({orchestrator.flavor}, {schedules}), artifacts in '{store.path}'"
    yield Finding("ok", "stack", f"'{stack.name}': {said}")
    if run.caches.encode_workers > 1 and place.is_here("encode_latents"):
        said = f"{run.caches.encode_workers}: here they work one after the other, which gains nothing; 1 would do"
        yield Finding("warning", "caches.encode_workers", said)
    steps = place.content.get("steps") or {}
    retried = (steps.get("train_sana") or {}).get("retry") or place.content.get("retry")
    if not place.is_here("train_sana") and not retried:
        said = "without `retry`, a machine that is taken away ends the run; with it, training goes on from a checkpoint"
        yield Finding("warning", "steps.train_sana", f"{said}: add `retry: {{max_retries: 2}}`")


def refusals(place: Whereabouts) -> Look[None]:
    """What ZenML says only once steps look for their inputs: artifacts that they can't see."""
    stack = place.stack
    if not stack.artifact_store.config.is_local:
        return
    way = f"`zenml stack set` one with a store that they can reach, such as S3 (it is '{stack.artifact_store.path}')"
    if stack.orchestrator.config.is_remote:
        said = f"the steps of '{stack.orchestrator.name}' can't see an artifact store on this machine: {way}"
        yield Finding("error", "stack", said)
    operator = stack.step_operator
    steps = place.content.get("steps") or {}
    if operator and operator.config.is_remote and any((s or {}).get("step_operator") for s in steps.values()):
        said = f"the step operator '{operator.name}' can't see an artifact store on this machine: {way}"
        yield Finding("error", "stack", said)
