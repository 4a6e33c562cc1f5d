"""The release's README.md: what it is, how to use it, where it came from, how it scored."""

import json

from sanaflow.config import PublishingSettings
from sanaflow.evaluation.scores import ClipScores, summarise
from sanaflow.model.tuned import SanaModel


def model_card(tuned: SanaModel, scores: ClipScores, settings: PublishingSettings, *, resolution: int) -> str:
    """Markdown with the hub's metadata block; a function of its inputs alone, so that a release stays the same."""
    metadata = {
        "library_name": "diffusers",
        "pipeline_tag": "text-to-image",
        "tags": ["sana", "sanaflow", "text-to-image"],
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
    table = "\n".join(
        f"| {n} | {r['mean']:.2f} | {r['std']:.2f} | {r['min']:.2f} | {r['max']:.2f} |" for n, r in _rows(scores)
    )
    return f"""---
{chr(10).join(lines)}
---
# A fine-tuned Sana

All weights of the transformer tuned for {tuned.steps:,} steps.

![base and tuned side by side](samples.png)

```python
import torch
from diffusers import SanaPipeline

pipeline = SanaPipeline.from_pretrained("{settings.hub_model_id or "this folder"}", torch_dtype=torch.float32)
pipeline({json.dumps(prompt, ensure_ascii=False)}{size}).images[0].save("picture.png")
```

## Scores

CLIP score (100 times the cosine) by `{scores.model}` over {len(scores.scores)} pictures each, drawn from the same
prompts, seeds and initial noise.{_caveat(scores)}

| | mean | std | min | max |
|---|---|---|---|---|
{table}

## Where it came from

- base model: {base_model} (sha256 of its files {tuned.base_digest[:16]})
- data: latents {tuned.data_digests["latents"][:16]}, captions {tuned.data_digests["captions"][:16]}
- weights: {tuned.digest()[:16]}
- made with Sanaflow; training settings:

```json
{json.dumps(tuned.settings, indent=2)}
```
"""


def _rows(scores: ClipScores) -> list[tuple[str, dict]]:
    return list(summarise(scores.scores).to_dict("index").items())


def _caveat(scores: ClipScores) -> str:
    if scores.model != "packaged":
        return ""
    return "\nThis CLIP is a small stand-in: its scores can't be compared with published ones."
