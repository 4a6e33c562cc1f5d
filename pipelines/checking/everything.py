"""All looks at a run, in the order in which one needs another."""

from collections.abc import Iterator
from pathlib import Path

import pandas as pd

from pipelines.checking.buckets import look_at_buckets
from pipelines.checking.data import look_at_data
from pipelines.checking.disk import Need, look_at_room, places
from pipelines.checking.finding import Finding, Look, attempt
from pipelines.checking.hub import look_at_hub
from pipelines.checking.memory import look_at_memory
from pipelines.checking.model import look_at_model
from pipelines.checking.needs import cache_needs, model_needs, publishing_needs, training_needs
from pipelines.checking.schema import look_at_yaml
from pipelines.checking.server import store_problem
from pipelines.checking.settings import look_at_settings
from pipelines.checking.stack import look_at_stack
from pipelines.checking.whereabouts import Whereabouts, whereabouts
from sanaflow.buckets.plan import BucketPlan
from sanaflow.config import RunSettings
from sanaflow.model.reference import ModelReference
from steps.store_folder import store_folder

TRAINING, ENCODING = "train_sana", "encode_latents"


def look_at_everything(path: Path, *, memory_gib: float | None) -> Iterator[Finding]:
    """Every finding, as soon as it is found."""
    problem = store_problem()
    if problem:
        yield Finding("error", "stack", problem)
    read = yield from look_at_yaml(path, zenml_answers=problem is None)
    if read is None or problem:
        return
    content, run = read
    place = whereabouts(content)
    yield from attempt("stack", lambda: look_at_stack(run, place))
    hub_answers = bool((yield from attempt("hub", lambda: look_at_hub(run, place))))
    model = yield from attempt("model", lambda: look_at_model(run, hub_answers))
    here = place.is_here("download_dataset")
    folder = store_folder("pictures")
    pictures = yield from attempt("datasets", lambda: look_at_data(run, folder, hub_answers=hub_answers, here=here))
    plan = None
    if model and pictures is not None:
        plan = yield from attempt("buckets", lambda: look_at_buckets(run, model, pictures))
    else:
        said = "not planned, which takes the model and all pictures: correct what is wrong, or run `pipelines.prepare`"
        yield Finding("warning", "buckets", said)
    if model:
        fits = place.is_here(TRAINING)
        yield from attempt("training", lambda: look_at_memory(run, model, path, memory_gib=memory_gib, here=fits))
    yield from look_at_settings(run, here=place.is_here(TRAINING))
    yield from attempt("disk", lambda: _look_at_disks(run, place, model, plan, pictures))


def _look_at_disks(
    run: RunSettings,
    place: Whereabouts,
    model: ModelReference | None,
    plan: BucketPlan | None,
    pictures: pd.DataFrame | None,
) -> Look[None]:
    """What steps on this machine will write."""
    needs: list[Need] = [Need("", folder, 0) for folder in places(run.publishing).values()]
    if model and place.is_here():
        needs += model_needs(model)
        if plan is not None and place.is_here(ENCODING):
            needs += cache_needs(run, model, plan, pictures)
        if place.is_here(TRAINING):
            needs += [*training_needs(run, model), *publishing_needs(run, model)]
    yield from look_at_room(needs)
