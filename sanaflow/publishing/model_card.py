"""The release's README.md: what it is, how to use it, where it came from, how it scored."""

import json

import pandas as pd

from sanaflow.config import PublishingSettings
from sanaflow.evaluation.scores import ClipScores, summarise
from sanaflow.model.tuned import SanaModel

LORA_FILE = "pytorch_lora_weights.safetensors"
WHAT = {
    "full": "All weights of the transformer",
    "standard": "A LoRA on the transformer",
    "lycoris": "A LyCORIS adapter on the transformer",
}


def model_card(tuned: SanaModel, scores: ClipScores, settings: PublishingSettings, *, resolution: int) -> str:
    """Markdown with the hub's metadata block; a function of its inputs alone, so that a release stays the same."""
    metadata = {
        "library_name": "diffusers",
        "pipeline_tag": "text-to-image",
        "tags": ["sana", "sanaflow", "text-to-image", *([] if tuned.kind == "full" else ["lora", tuned.kind])],
        **({"base_model": tuned.base_model.split("@")[0]} if "@" in tuned.base_model else {}),
        **({"license": settings.license} if settings.license else {}),
    }
    lines = [f"{key}: {json.dumps(value)}" for key, value in metadata.items()]
    size = (
        ""
        if resolution in (512, 1024, 2048, 4096)
        else (f", height={resolution}, width={resolution}, use_resolution_binning=False")
    )
    prompt = scores.scores.sort_values("tuned").iloc[-1]["prompt"]
    base_model = tuned.base_model if "@" in tuned.base_model else "a local folder"
    summary = summarise(scores.scores)
    heads = f"| | {' | '.join(summary)} |\n|---{'|---' * len(summary.columns)}|\n"
    table = heads + "\n".join(
        f"| {name} | {' | '.join('' if pd.isna(v) else f'{v:.2f}' for v in row)} |" for name, row in summary.iterrows()
    )
    return f"""---
{chr(10).join(lines)}
---
# A fine-tuned Sana

{WHAT[tuned.kind]} tuned for {tuned.steps:,} steps.

![base and tuned side by side](samples.png)

```python
{_loading(tuned, settings)}
pipeline({json.dumps(prompt, ensure_ascii=False)}{size}).images[0].save("picture.png")
```
{_about_average(tuned)}
## Scores

CLIP score (100 times the cosine) by `{scores.model}` over {len(scores.scores)} pictures each, drawn from the same
prompts, seeds and initial noise.{_caveat(scores)}

{table}

`low` and `high`: the 95 % interval of the mean. `margin`: a picture's score with its own prompt less the mean of its
scores with the others.

## Where it came from

- base model: {base_model} (sha256 of its files {tuned.base_digest[:16]})
- data: latents {tuned.data_digests["latents"][:16]}, captions {tuned.data_digests["captions"][:16]}
- weights: {tuned.digest()[:16]}
- made with Sanaflow; training settings:

```json
{json.dumps(tuned.settings, indent=2)}
```
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
