"""Prepare and train without ZenML, on a bare machine; takes the same YAML and the same caches as the pipeline.

python -m sanaflow.training configs/demo.yaml --store runs
accelerate launch --num_processes 2 -m sanaflow.training RUN.yaml --store runs   # training.num_processes: 2

To use the caches of a pipeline's stack, let --store be the folder `sanaflow` in its artifact store.
"""

from pathlib import Path
from typing import TYPE_CHECKING

import click

from sanaflow.config import RunSettings
from sanaflow.digests import digest_of
from sanaflow.run_yaml import parse_run_settings, read_yaml

if TYPE_CHECKING:
    from sanaflow.cache.index import CaptionCache, LatentCache
    from sanaflow.model.reference import ModelReference


@click.command(help=__doc__)
@click.argument("run_yaml", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option(
    "--store", required=True, type=click.Path(file_okay=False, path_type=Path), help="Folder for everything made."
)
def main(run_yaml: Path, store: Path) -> None:
    """From pictures to a tuned transformer in STORE/models."""
    run = parse_run_settings(read_yaml(run_yaml)["parameters"], source=run_yaml)

    # Only now: what these import takes seconds, and a mistake in the YAML should show at once.
    import torch
    from accelerate import PartialState

    from sanaflow.evaluation.sampling import validation_drawer
    from sanaflow.model.reference import resolve_model
    from sanaflow.training.run import train_sana
    from sanaflow.training.setup import LONGEST_WAIT

    store = store.resolve()
    model = resolve_model(run.model)
    processes = PartialState(cpu=not torch.cuda.is_available(), timeout=LONGEST_WAIT)
    with processes.main_process_first():  # the others then find all in the caches
        latents, captions = prepare(run, model, store)
    settings = [run.training.model_dump(), run.validation.model_dump()]
    run_folder = store / "training" / digest_of([latents.digest(), captions.digest(), model.digest(), settings])
    draw, _ = validation_drawer(model, captions, run.validation, run_folder / "validation")
    tuned, log = train_sana(
        latents,
        captions,
        model=model,
        settings=run.training,
        run_folder=run_folder,
        models_folder=store / "models",
        validation=run.validation,
        draw=draw if run.validation.prompts() else None,
    )
    if processes.is_main_process:
        log.steps.to_csv(run_folder / "log.csv", index=False)
        print(f"model: {tuned.folder}\nlog and pictures: {run_folder}")


def prepare(run: RunSettings, model: "ModelReference", store: Path) -> "tuple[LatentCache, CaptionCache]":
    """From pictures and captions to caches in STORE."""
    from sanaflow.buckets.plan import plan_crops
    from sanaflow.cache.caption_cache import make_caption_cache
    from sanaflow.cache.folder import FolderStore
    from sanaflow.cache.latent_cache import make_latent_cache
    from sanaflow.images.scan import scan_datasets
    from sanaflow.model.loading import pixels_per_token

    table = scan_datasets(run.datasets, folder=store / "pictures", quality=run.quality)
    plan = plan_crops(
        table.pictures,
        run.datasets,
        alignment=pixels_per_token(model),
        seed=run.training.seed,
        batch=run.training.total_batch(),
        oversubscribe=run.training.allow_dataset_oversubscription,
    )
    shards = FolderStore(store / "latents")
    latents = make_latent_cache(table, plan, model=model, settings=run.caches, store=shards)
    captions = make_caption_cache(
        table,
        prompts=list(run.validation.prompts().values()),
        negative_prompts=[run.validation.validation_negative_prompt],
        model=model,
        settings=run.caches,
        store=FolderStore(store / "captions"),
    )
    return latents, captions


if __name__ == "__main__":
    main(prog_name="python -m sanaflow.training")
