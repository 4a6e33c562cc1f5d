"""What the demo's training teaches and what it makes the model forget: all weights, LoKr, LoKr with regularisation.

    python -m benchmarks.forgetting

Same pictures, steps and seed as configs/demo.yaml; judged by the packaged CLIP on the 36 new names, and on 64 that the
model knows and that are in none of the data sets.
"""

import contextlib
import io
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from benchmarks.sana_tiny.pictures import PROJECT, fetch_pictures, judged
from sanaflow.config import RunSettings
from sanaflow.evaluation.judge import score_clip
from sanaflow.evaluation.scores import summarise
from sanaflow.model.reference import resolve_model
from sanaflow.run_yaml import parse_run_settings, read_yaml
from sanaflow.training.__main__ import prepare
from sanaflow.training.run import train_sana

DEMO = PROJECT / "configs" / "demo.yaml"
FULL = {"model_type": "full", "learning_rate": 3e-4}
VARIANTS: dict[str, tuple[dict[str, Any], bool]] = {
    "all weights": (FULL, False),
    "LoKr": ({}, False),
    "LoKr, regularised": ({}, True),
}
"""What differs from the demo, and whether its regularisation set is used."""
OF_ADAPTERS = ("lora_type", "lycoris_config")


def main() -> None:
    """Print a row a variant."""
    names = judged(fetch_pictures())
    rows = {}
    for variant, (changes, regularised) in VARIANTS.items():
        parameters = read_yaml(DEMO)["parameters"]
        parameters["training"] |= changes
        if not regularised:
            parameters["datasets"] = [d for d in parameters["datasets"] if not d.get("is_regularisation_data")]
        if changes.get("model_type") == "full":
            parameters["training"] = {k: v for k, v in parameters["training"].items() if k not in OF_ADAPTERS}
        with tempfile.TemporaryDirectory() as folder:
            rows[variant] = measure(parse_run_settings(parameters, source=DEMO), names, Path(folder))
        print(pd.DataFrame(rows).T.to_string(), flush=True)


def measure(run: RunSettings, old_names: list[str], folder: Path) -> dict[str, str]:
    """Train, and score new and old names."""
    model = resolve_model(run.model)
    new_names = run.evaluation.listed_prompts()
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        latents, captions = prepare(_to_be_encoded(run, [*new_names, *old_names]), model, folder)
        began = time.process_time(), time.perf_counter()
        tuned, log = train_sana(
            latents,
            captions,
            model=model,
            settings=run.training,
            run_folder=folder / "run",
            models_folder=folder / "models",
            validation=run.validation,
        )
        cpu, wall = time.process_time() - began[0], time.perf_counter() - began[1]
        new, old = (
            summarise(
                score_clip(
                    latents,
                    captions,
                    model=model,
                    tuned=tuned,
                    settings=run.evaluation.model_copy(update={"evaluation_prompts": {"names": tuple(names)}}),
                    validation=run.validation,
                )[0].scores
            )
            for names in (new_names, old_names)
        )
    losses = log.evaluations.groupby("step")["loss"].mean()
    gain = new.loc["margin, gain"]
    return {
        "seconds (CPU)": f"{wall:.0f} ({cpu:.0f})",
        "loss": f"{losses.iloc[0]:.3f} -> {losses.iloc[-1]:.3f}",
        "margin, new names": f"{new.at['margin, base', 'mean']:.1f} -> {new.at['margin, tuned', 'mean']:.1f}",
        "gain": f"{gain['mean']:+.1f} [{gain['low']:+.1f}, {gain['high']:+.1f}]",
        "score, old names": f"{old.at['base', 'mean']:.1f} -> {old.at['tuned', 'mean']:.1f}",
        "kept": f"{old.at['tuned', 'mean'] / old.at['base', 'mean']:.0%}",
        "margin kept": f"{old.at['margin, tuned', 'mean'] / old.at['margin, base', 'mean']:.0%}",
    }


def _to_be_encoded(run: RunSettings, prompts: Sequence[str]) -> RunSettings:
    library = {str(i): prompt for i, prompt in enumerate(prompts)}
    return run.model_copy(update={"validation": run.validation.model_copy(update={"user_prompt_library": library})})


if __name__ == "__main__":
    main()
