"""The release's README.md: what it is, how to use it, where it came from, how it scored. Nothing in it is a guess."""

import contextlib
import json
from collections.abc import Mapping
from typing import Any

import pandas as pd
from huggingface_hub import EvalResult, HfApi, ModelCardData
from huggingface_hub.errors import HFValidationError
from PIL import Image

from sanaflow.config import PublishingSettings, TrainingSettings
from sanaflow.evaluation.gallery import Gallery
from sanaflow.evaluation.scores import ClipScores, summarise
from sanaflow.hub import HUB_ERRORS
from sanaflow.model.reference import ModelReference
from sanaflow.model.tuned import LORA_FILE, SanaModel
from sanaflow.publishing.forms import ORIGINAL_FILE, is_pipeline, place_of

SAMPLES, SHOWN = "samples", 8
WHAT = {
    "full": "All weights of the transformer",
    "standard": "A LoRA on the transformer",
    "lycoris": "A LyCORIS adapter on the transformer",
}
USED_IN = {
    "full": "diffusers (`SanaPipeline`)",
    "standard": "diffusers (`load_lora_weights`)",
    "lycoris": "diffusers together with LyCORIS; `load_lora_weights` doesn't read it",
}
ALWAYS_SHOWN = (
    *("model_type", "max_train_steps", "train_batch_size", "gradient_accumulation_steps", "learning_rate"),
    *("lr_scheduler", "optimizer", "mixed_precision", "caption_dropout_probability", "flow_schedule_shift", "seed"),
)
TORCH_DTYPE = {
    None: "torch.float32",
    "fp32": "torch.float32",
    "bf16": "torch.bfloat16",
    "fp16": '{"transformer": torch.float16, "default": torch.bfloat16}',  # the autoencoder overflows in fp16
}


def shown_pictures(gallery: Gallery) -> list[tuple[str, Image.Image]]:
    """The first tuned pictures, each with its prompt, no prompt twice."""
    found: dict[str, Image.Image] = {}
    for row, picture in zip(gallery.rows.itertuples(), gallery.pictures, strict=True):
        if row.label == "tuned" and len(found) < SHOWN:
            found.setdefault(row.prompt, picture)
    return list(found.items())


def license_of(model: ModelReference) -> str | None:
    """What the base model's own card says; None for a folder, or where it can't be asked."""
    if model.commit is None:
        return None
    with contextlib.suppress(*HUB_ERRORS, HFValidationError):
        return getattr(HfApi().model_info(model.name, revision=model.commit).card_data, "license", None)
    return None


def model_card(
    tuned: SanaModel,
    scores: ClipScores,
    gallery: Gallery,
    settings: PublishingSettings,
    *,
    model: ModelReference,
    license: str | None,
    made_by: Mapping[str, str],
    trained_on: str = "",
) -> str:
    """Markdown with the hub's metadata block; a function of its inputs alone, so that a release stays the same."""
    summary = summarise(scores.scores)
    name = (settings.hub_model_id or "sana").split("/")[-1]
    metadata = ModelCardData(
        library_name="diffusers",
        pipeline_tag="text-to-image",
        tags=["sana", "sanaflow", "text-to-image", *([] if tuned.kind == "full" else ["lora", tuned.kind])],
        base_model=model.name if model.commit else None,
        base_model_relation=("finetune" if is_pipeline(tuned, settings) else "adapter") if model.commit else None,
        license=license,
        model_name=name,
        eval_results=_results(scores, summary),
        widget=[
            {"text": prompt, "output": {"url": f"{SAMPLES}/{number}.png"}}
            for number, (prompt, _) in enumerate(shown_pictures(gallery))
        ],
    )
    resolution = int(gallery.rows["width"].iloc[0])
    size = (
        ""
        if resolution in (512, 1024, 2048, 4096)
        else (f", height={resolution}, width={resolution}, use_resolution_binning=False")
    )
    prompt = scores.scores.sort_values("tuned").iloc[-1]["prompt"]
    base_model = tuned.base_model if "@" in tuned.base_model else "a local folder"
    lineage = "\n".join(f"- {what}: {value}" for what, value in made_by.items())
    return f"""---
{metadata.to_yaml()}
---
# A fine-tuned Sana

{WHAT[tuned.kind]} tuned for {tuned.steps:,} steps.

![base and tuned side by side](samples.png)

{_loading(tuned, settings, call=f"pipeline({json.dumps(prompt, ensure_ascii=False)}{size})")}
{_about_average(tuned)}
{_used_in(tuned, settings)}

## Scores

CLIP score (100 times the cosine) by `{scores.model}` over {len(scores.scores)} pictures each, drawn from the same
prompts, seeds and initial noise.{_caveat(scores)}

{_table(summary, digits=2)}

`low` and `high`: the 95 % interval of the mean. `margin`: a picture's score with its own prompt less the mean of its
scores with the others.

{_checks(scores)}
## What it was trained on

{trained_on or "Not known."}

Its settings, where they aren't the default:

```json
{json.dumps(_shown_settings(tuned.settings), indent=2)}
```

Limits: what the base model can't draw and was not taught, this one can't draw either. The scores are of
{scores.scores["prompt"].nunique()} prompts, and say little of others.

## Where it came from

- base model: {base_model} (sha256 of its files {tuned.base_digest[:16]})
- data: latents {tuned.data_digests["latents"][:16]}, captions {tuned.data_digests["captions"][:16]}
- weights: {tuned.digest()[:16]}
{lineage}
- made with Sanaflow
"""


def _shown_settings(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Those that always matter, and those that are not the default; where a run began from is a private path."""
    defaults = TrainingSettings().model_dump(mode="json")
    left_out = ("resume_from_checkpoint", "checkpoint", "num_processes")
    return {
        key: value
        for key, value in settings.items()
        if key in ALWAYS_SHOWN or (value != defaults.get(key) and not key.startswith(left_out))
    }


def _results(scores: ClipScores, summary: pd.DataFrame) -> list[EvalResult]:
    """The tuned model's mean score and its gain, as the hub shows evaluations."""
    return [
        EvalResult(
            task_type="text-to-image",
            dataset_type="prompts",
            dataset_name=f"{scores.scores['prompt'].nunique()} prompts",
            metric_type="clip_score",
            metric_name=f"CLIP score by {scores.model}, {said}",
            metric_value=round(float(summary.at[row, "mean"]), 4),
        )
        for row, said in (("tuned", "100 times the cosine"), ("gain", "gain on the base model"))
    ]


def _table(frame: pd.DataFrame, *, digits: int) -> str:
    heads = f"| | {' | '.join(frame)} |\n|---{'|---' * len(frame.columns)}|\n"
    return heads + "\n".join(
        f"| {name} | {' | '.join('' if pd.isna(v) else f'{v:.{digits}f}' for v in row)} |"
        for name, row in frame.iterrows()
    )


def _checks(scores: ClipScores) -> str:
    if scores.checks.empty:
        return ""
    return f"""{_table(scores.checks.set_index("model"), digits=3)}

`distance`: of all pictures from held-out and from training ones, by CLIP's embeddings (0: not to be told apart).
`likeness`: mean cosine of pictures of different prompts. `nearest_training`: of the picture most like a training one.
"""


def _loading(tuned: SanaModel, settings: PublishingSettings, *, call: str) -> str:
    """Python that draws with the release: with the pipeline, and with the adapter alone."""
    blocks = []
    if is_pipeline(tuned, settings):
        here, dtype = settings.hub_model_id or "this folder", TORCH_DTYPE[settings.release_dtype]
        load = f'pipeline = SanaPipeline.from_pretrained("{here}", torch_dtype={dtype})'
        blocks.append(["import torch", "from diffusers import SanaPipeline", "", load])
    if tuned.kind != "full":
        blocks.append(_loading_adapter(tuned, settings))
    drawing = f'{call}.images[0].save("picture.png")'
    texts = ["\n".join(["```python", *block, drawing, "```"]) for block in blocks]
    return "\n\nOr with the adapter alone, on its base:\n\n".join(texts)


def _loading_adapter(tuned: SanaModel, settings: PublishingSettings) -> list[str]:
    here = settings.hub_model_id or "this folder"
    base, _, revision = tuned.base_model.partition("@")
    where = f'"{base}", revision="{revision}"' if revision else '"the folder of the base model"'
    load = f"pipeline = SanaPipeline.from_pretrained({where}, torch_dtype=torch.float32)"
    lines = ["import torch", "from diffusers import SanaPipeline", "", load]
    if tuned.kind == "standard":
        return [*lines, f'pipeline.load_lora_weights("{here}", weight_name="{LORA_FILE}")']
    lines.insert(2, "from lycoris import create_lycoris_from_weights")
    if settings.hub_model_id:
        lines.insert(2, "from huggingface_hub import hf_hub_download")
        file = f'hf_hub_download("{here}", "{LORA_FILE}")'
    else:
        file = f'"{LORA_FILE}"'
    lines.append(f"adapter, _ = create_lycoris_from_weights(1.0, {file}, pipeline.transformer)")
    return [*lines, "adapter.apply_to()"]


def _about_average(tuned: SanaModel) -> str:
    if not tuned.ema:
        return ""
    raw = place_of(tuned, "raw")
    return f"\nThe weights are a moving average of those while training; `{raw}` holds the last.\n"


def _used_in(tuned: SanaModel, settings: PublishingSettings) -> str:
    """What reads which of the forms; what was not tried is not said to work."""
    lines = ["It can be used in:", ""]
    if tuned.kind != "full" and is_pipeline(tuned, settings):
        lines.append(f"- {USED_IN['full']}: the whole pipeline, the adapter in its weights")
    files = "" if tuned.kind == "full" else f": `{LORA_FILE}`"
    lines.append(f"- {USED_IN[tuned.kind]}{files}")
    if settings.release_original:
        lines.append(
            f"- `{ORIGINAL_FILE}`, the transformer in the layout of Sana's own code: diffusers "
            "(`SanaTransformer2DModel.from_single_file`), and nodes for ComfyUI that read that layout, such as "
            "ComfyUI_ExtraModels, in which it was not tried"
        )
    else:
        lines.append("- not ComfyUI, which reads none of these files")
    return "\n".join(lines)


def _caveat(scores: ClipScores) -> str:
    if scores.model != "packaged":
        return ""
    return "\nThis CLIP is a small stand-in: its scores can't be compared with published ones."
