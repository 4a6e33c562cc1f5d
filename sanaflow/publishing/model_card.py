"""The release's README.md: what it is, how to use it, where it came from, how it scored. Nothing in it is a guess."""

import contextlib
import json
from collections.abc import Mapping

import pandas as pd
from huggingface_hub import EvalResult, HfApi, ModelCardData
from huggingface_hub.errors import HFValidationError
from PIL import Image

from sanaflow.config import PublishingSettings
from sanaflow.evaluation.gallery import Gallery
from sanaflow.evaluation.scores import ClipScores, summarise
from sanaflow.hub import HUB_ERRORS
from sanaflow.model.reference import ModelReference
from sanaflow.model.tuned import SanaModel

LORA_FILE = "pytorch_lora_weights.safetensors"
SAMPLES, SHOWN = "samples", 8
WHAT = {
    "full": "All weights of the transformer",
    "standard": "A LoRA on the transformer",
    "lycoris": "A LyCORIS adapter on the transformer",
}
USED_IN = {
    "full": "diffusers (`SanaPipeline`)",
    "standard": "diffusers (`load_lora_weights`)",
    "lycoris": "diffusers together with LyCORIS, as above; `load_lora_weights` doesn't read it",
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
) -> str:
    """Markdown with the hub's metadata block; a function of its inputs alone, so that a release stays the same."""
    summary = summarise(scores.scores)
    name = (settings.hub_model_id or "sana").split("/")[-1]
    metadata = ModelCardData(
        library_name="diffusers",
        pipeline_tag="text-to-image",
        tags=["sana", "sanaflow", "text-to-image", *([] if tuned.kind == "full" else ["lora", tuned.kind])],
        base_model=model.name if model.commit else None,
        base_model_relation=("finetune" if tuned.kind == "full" else "adapter") if model.commit else None,
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

```python
{_loading(tuned, settings)}
pipeline({json.dumps(prompt, ensure_ascii=False)}{size}).images[0].save("picture.png")
```
{_about_average(tuned)}
It can be used in {USED_IN[tuned.kind]}. Loading it in ComfyUI was not tried.

## Scores

CLIP score (100 times the cosine) by `{scores.model}` over {len(scores.scores)} pictures each, drawn from the same
prompts, seeds and initial noise.{_caveat(scores)}

{_table(summary, digits=2)}

`low` and `high`: the 95 % interval of the mean. `margin`: a picture's score with its own prompt less the mean of its
scores with the others.

{_checks(scores)}
## Where it came from

- base model: {base_model} (sha256 of its files {tuned.base_digest[:16]})
- data: latents {tuned.data_digests["latents"][:16]}, captions {tuned.data_digests["captions"][:16]}
- weights: {tuned.digest()[:16]}
{lineage}
- made with Sanaflow; training settings:

```json
{json.dumps(tuned.settings, indent=2)}
```
"""


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


def _loading(tuned: SanaModel, settings: PublishingSettings) -> str:
    """Python that makes a `pipeline` of the release."""
    here = settings.hub_model_id or "this folder"
    lines = ["import torch", "from diffusers import SanaPipeline", ""]
    if tuned.kind == "full":
        return "\n".join([*lines, f'pipeline = SanaPipeline.from_pretrained("{here}", torch_dtype=torch.float32)'])
    base, _, revision = tuned.base_model.partition("@")
    where = f'"{base}", revision="{revision}"' if revision else '"the folder of the base model"'
    lines.append(f"pipeline = SanaPipeline.from_pretrained({where}, torch_dtype=torch.float32)")
    if tuned.kind == "standard":
        return "\n".join([*lines, f'pipeline.load_lora_weights("{here}")'])
    lines.insert(2, "from lycoris import create_lycoris_from_weights")
    if settings.hub_model_id:
        lines.insert(2, "from huggingface_hub import hf_hub_download")
        file = f'hf_hub_download("{here}", "{LORA_FILE}")'
    else:
        file = f'"{LORA_FILE}"'
    lines.append(f"adapter, _ = create_lycoris_from_weights(1.0, {file}, pipeline.transformer)")
    return "\n".join([*lines, "adapter.apply_to()"])


def _about_average(tuned: SanaModel) -> str:
    if not tuned.ema:
        return ""
    place = "transformer_ema" if tuned.kind == "full" else "ema"
    return f"\n`{place}` holds the moving average of the weights, in the same form.\n"


def _caveat(scores: ClipScores) -> str:
    if scores.model != "packaged":
        return ""
    return "\nThis CLIP is a small stand-in: its scores can't be compared with published ones."
