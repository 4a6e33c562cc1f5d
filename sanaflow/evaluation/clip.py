"""CLIP through open_clip: pictures and prompts as unit vectors."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import open_clip
import torch
from PIL import Image

from sanaflow.config import EvaluationSettings
from sanaflow.errors import InputError, nearest
from sanaflow.evaluation.packaged_clip import build_packaged_clip
from sanaflow.model.loading import default_device
from sanaflow.progress import progress_bar, quietly


@dataclass(frozen=True)
class Clip:
    """An open_clip model with its preprocessing and tokenizer."""

    model: Any
    preprocess: Any
    tokenizer: Any
    device: torch.device

    @torch.inference_mode()
    def embed_pictures(self, pictures: Sequence[Image.Image], *, batch_size: int) -> torch.Tensor:
        """Unit vectors (pictures, channels), fp32 on the CPU."""
        if not pictures:
            return torch.empty(0, 1)
        embeddings = []
        with progress_bar(total=len(pictures), desc="CLIP looks at pictures", unit="picture", leave=False) as progress:
            for i in range(0, len(pictures), batch_size):
                some = [self.preprocess(picture.convert("RGB")) for picture in pictures[i : i + batch_size]]
                embedded = self.model.encode_image(torch.stack(some).to(self.device), normalize=True)
                embeddings.append(embedded.float().cpu())
                progress.update(len(some))
        return torch.cat(embeddings)

    @torch.inference_mode()
    def embed_prompts(self, prompts: Sequence[str], *, batch_size: int) -> torch.Tensor:
        """Unit vectors (prompts, channels), fp32 on the CPU; longer prompts are cut as the tokenizer does."""
        batches = [self.tokenizer(list(prompts[i : i + batch_size])) for i in range(0, len(prompts), batch_size)]
        return torch.cat([self.model.encode_text(b.to(self.device), normalize=True).float().cpu() for b in batches])


def load_clip(settings: EvaluationSettings) -> Clip:
    """Load the CLIP model that the settings name.

    Raises:
        InputError: open_clip doesn't know it, or its weights can't be had.
    """
    device = default_device()
    name, pretrained = settings.evaluation_model, settings.evaluation_pretrained
    if name == "packaged":
        with quietly():
            model, preprocess, tokenizer = build_packaged_clip()
        return Clip(model.to(device), preprocess, tokenizer, device)
    if not name.startswith(("hf-hub:", "local-dir:")):
        if name not in open_clip.list_models():
            hint = nearest(name, [*open_clip.list_models(), "packaged"])
            raise InputError(f"evaluation.evaluation_model '{name}' is not an open_clip model: {hint}")
        tags = open_clip.list_pretrained_tags_by_model(name)
        if pretrained not in tags and not Path(pretrained).is_file():
            hint = nearest(pretrained, tags) if tags else "give the path of a checkpoint"
            raise InputError(
                f"evaluation.evaluation_pretrained '{pretrained}' is neither a file nor a tag of {name}: {hint}"
            )
    try:
        with quietly():
            model, _, preprocess = open_clip.create_model_and_transforms(
                name, pretrained=None if ":" in name else pretrained, device=device
            )
            return Clip(model.eval(), preprocess, open_clip.get_tokenizer(name), device)
    except (OSError, RuntimeError, ValueError) as error:
        reason = str(error).strip().splitlines()[0]
        raise InputError(
            f"the CLIP model '{name}' ({pretrained}) can't be had: {reason}; "
            "name a checkpoint's path in evaluation.evaluation_pretrained, or use evaluation_model 'packaged'"
        ) from None
