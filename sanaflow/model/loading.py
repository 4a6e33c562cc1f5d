"""Load one part of a Sana pipeline at a time, so that no more is in memory than is at work."""

from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import torch
from diffusers import AutoencoderDC, SanaPipeline, SanaTransformer2DModel
from transformers import AutoTokenizer, Gemma2Model, PreTrainedTokenizerBase

from sanaflow.errors import InputError
from sanaflow.model.attention import keep_linear_attention_fp32
from sanaflow.model.reference import ModelReference
from sanaflow.model.tuned import SanaModel
from sanaflow.progress import quietly

DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16}
T = TypeVar("T")


def default_device() -> torch.device:
    """The GPU if there is one."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def load_vae(model: ModelReference, dtype: torch.dtype, device: torch.device) -> AutoencoderDC:
    """The deep-compression autoencoder, frozen."""
    return _load(model, "vae", lambda f: AutoencoderDC.from_pretrained(f, subfolder="vae", torch_dtype=dtype)).to(
        device
    )


def load_text_encoder(model: ModelReference, dtype: torch.dtype, device: torch.device) -> Gemma2Model:
    """Gemma 2 without its language-model head, frozen."""
    encoder = _load(
        model, "text_encoder", lambda f: Gemma2Model.from_pretrained(f, subfolder="text_encoder", dtype=dtype)
    )
    return encoder.to(device)


def load_tokenizer(model: ModelReference) -> PreTrainedTokenizerBase:
    """Gemma's tokenizer, padding right as Sana's pipeline does."""
    tokenizer = _load(model, "tokenizer", lambda f: AutoTokenizer.from_pretrained(f, subfolder="tokenizer"))
    tokenizer.padding_side = "right"
    return tokenizer


def load_transformer(model: ModelReference) -> SanaTransformer2DModel:
    """The transformer with fp32 weights, its linear attention safe under autocast."""
    transformer = _load(
        model,
        "transformer",
        lambda f: SanaTransformer2DModel.from_pretrained(f, subfolder="transformer", torch_dtype=torch.float32),
    )
    keep_linear_attention_fp32(transformer)
    return transformer


def load_tuned_transformer(tuned: SanaModel) -> SanaTransformer2DModel:
    """The tuned transformer with fp32 weights.

    Raises:
        InputError: Its weights are missing or damaged.
    """
    tuned.verify()
    transformer = SanaTransformer2DModel.from_pretrained(tuned.folder, torch_dtype=torch.float32)
    keep_linear_attention_fp32(transformer)
    return transformer.requires_grad_(False).eval()


def load_drawing_pipeline(model: ModelReference, transformer: torch.nn.Module, device: torch.device) -> SanaPipeline:
    """A `SanaPipeline` with the model's own scheduler and no text encoder: it draws from cached embeddings."""
    vae = load_vae(model, torch.float32, device)

    def load(folder: Path) -> SanaPipeline:
        return SanaPipeline.from_pretrained(folder, tokenizer=None, text_encoder=None, vae=vae, transformer=transformer)

    pipeline = _load(model, "scheduler", load)
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def pixels_per_token(model: ModelReference) -> int:
    """Edge in pixels of what one latent token stands for: the autoencoder's compression times the patch size."""
    with torch.device("meta"):
        vae = AutoencoderDC.from_config(model.config("vae"))
    return vae.spatial_compression_ratio * model.config("transformer")["patch_size"]


def native_resolution(model: ModelReference) -> int:
    """The edge in pixels that the model was made for."""
    return model.config("transformer")["sample_size"] * pixels_per_token(model)


def _load(model: ModelReference, component: str, load: Callable[[Path], T]) -> T:
    """Load a component from the model's folder.

    Raises:
        InputError: It can't be loaded.
    """
    folder = model.folder(component)
    try:
        with quietly():
            loaded = load(folder)
    except (OSError, ValueError, KeyError, RuntimeError) as error:
        reason = str(error).strip().splitlines()[0]
        raise InputError(
            f"model '{model.name}': its {component} can't be loaded ({reason}); get the model again"
        ) from error
    return loaded.requires_grad_(False).eval() if isinstance(loaded, torch.nn.Module) else loaded
