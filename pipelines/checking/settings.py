"""Settings whose mistake shows late in a run: who judges, where curves go, where to go on from, what is replaced."""

import os
from pathlib import Path

from pipelines.checking.finding import Level, Look, ask
from sanaflow.config import EvaluationSettings, RunSettings, ValidationSettings
from sanaflow.errors import InputError
from sanaflow.paths import expanded
from sanaflow.publishing.release import released_files


def look_at_settings(run: RunSettings, *, here: bool) -> Look[None]:
    """Each by itself; `here` says whether training runs on this machine."""
    level: Level = "error" if here else "warning"
    yield from ask("evaluation", lambda: _see_judge_is_known(run.evaluation))
    yield from ask("validation.report_to", lambda: _see_wandb_knows_us(run.validation), level=level)
    wanted = run.training.resume_from_checkpoint
    if wanted and wanted != "latest":
        yield from ask("training.resume_from_checkpoint", lambda: _see_checkpoint_is_whole(wanted), level=level)
    yield from ask("publishing.release_dir", lambda: see_release_folder_is_ours(run), level=level)


def see_release_folder_is_ours(run: RunSettings) -> None:
    """See that the release's folder may be replaced."""
    if run.publishing.release_dir:
        released_files(expanded(run.publishing.release_dir))


def _see_judge_is_known(evaluation: EvaluationSettings) -> None:
    name, weights = evaluation.evaluation_model, evaluation.evaluation_pretrained
    if name == "packaged" or ":" in name:
        return
    import open_clip

    from sanaflow.evaluation.clip import load_clip

    tags = open_clip.list_pretrained_tags_by_model(name) if name in open_clip.list_models() else []
    if not tags or (weights not in tags and not Path(weights).is_file()):
        load_clip(evaluation)  # which refuses it before it loads anything


def _see_wandb_knows_us(validation: ValidationSettings) -> None:
    if validation.report_to in ("wandb", "all") and "WANDB_MODE" not in os.environ:
        from sanaflow.training.trackers import check_wandb_knows_us

        check_wandb_knows_us()


def _see_checkpoint_is_whole(wanted: str) -> None:
    from sanaflow.training.checkpoints import read_checkpoint

    if not (expanded(wanted) / "state.json").is_file():
        raise InputError(
            f"training.resume_from_checkpoint '{wanted}' is not a checkpoint: name its folder, which holds a state.json"
        )
    read_checkpoint(expanded(wanted))
