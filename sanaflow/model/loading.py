"""Load one part of a Sana pipeline at a time, so that no more is in memory than is at work."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import torch
from diffusers import AutoencoderDC, SanaPipeline, SanaTransformer2DModel
from safetensors import SafetensorError
from transformers import AutoTokenizer, BitsAndBytesConfig, Gemma2Model, PreTrainedTokenizerBase

from sanaflow.errors import InputError
from sanaflow.model.attention import keep_linear_attention_fp32
from sanaflow.model.reference import ModelReference
from sanaflow.progress import quietly

BITSANDBYTES: dict[str, Callable[[torch.dtype], BitsAndBytesConfig]] = {
    "int8-bnb": lambda dtype: BitsAndBytesConfig(load_in_8bit=True),
    "nf4-bnb": lambda dtype: BitsAndBytesConfig(
        load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_compute_dtype=dtype, bnb_4bit_use_double_quant=True
    ),
}
DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
T = TypeVar("T")


def default_device() -> torch.device:
    """The GPU if there is one."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def load_vae(model: ModelReference, dtype: torch.dtype, device: torch.device) -> AutoencoderDC:
    """The deep-compression autoencoder, frozen."""
    return _load_weights(model, "vae", AutoencoderDC, torch_dtype=dtype).to(device)


def load_text_encoder(
    model: ModelReference, dtype: torch.dtype, device: torch.device, *, precision: str = "no_change"
) -> Gemma2Model:
    """Gemma 2 without its language-model head, frozen; its weights in the `precision` of `CacheSettings`."""
    if precision == "no_change":
        return _load_weights(model, "text_encoder", Gemma2Model, dtype=dtype).to(device)
    quantised = BITSANDBYTES[precision](dtype)
    return _load_weights(
        model, "text_encoder", Gemma2Model, dtype=dtype, quantization_config=quantised, device_map={"": device}
    )


def load_tokenizer(model: ModelReference) -> PreTrainedTokenizerBase:
    """Gemma's tokenizer, padding right as Sana's pipeline does."""
    tokenizer = _load(model, "tokenizer", lambda f: AutoTokenizer.from_pretrained(f, subfolder="tokenizer"))
    tokenizer.padding_side = "right"
    return tokenizer


def load_transformer(model: ModelReference, dtype: torch.dtype = torch.float32) -> SanaTransformer2DModel:
    """The transformer, frozen, its linear attention safe under autocast."""
    transformer = _load_weights(model, "transformer", SanaTransformer2DModel, torch_dtype=dtype)
    keep_linear_attention_fp32(transformer)
    return transformer


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
    try:
        with torch.device("meta"):
            vae = AutoencoderDC.from_config(model.config("vae"))
    except (ValueError, KeyError, TypeError, AttributeError, RuntimeError, IndexError) as error:
        raise InputError(
            f"model '{model.name}': its vae/config.json doesn't fit ({error}); get the model again"
        ) from None
    return vae.spatial_compression_ratio * _setting(model, "patch_size")


def native_resolution(model: ModelReference) -> int:
    """The edge in pixels that the model was made for."""
    return _setting(model, "sample_size") * pixels_per_token(model)


def _setting(model: ModelReference, name: str) -> int:
    value = model.config("transformer").get(name)
    if not isinstance(value, int) or value < 1:
        raise InputError(f"model '{model.name}': its transformer/config.json has no '{name}'; get the model again")
    return value


def _load_weights(model: ModelReference, component: str, kind: Any, **options: Any) -> Any:
    """A component with all of its weights, frozen; one that isn't in the files is never left random.

    Raises:
        InputError: It can't be loaded, or weights are missing.
    """

    def load(folder: Path) -> torch.nn.Module:
        loaded, report = kind.from_pretrained(folder, subfolder=component, output_loading_info=True, **options)
        if absent := sorted(report["missing_keys"]):
            raise ValueError(f"{len(absent)} of its weights are missing, for example {absent[0]}")
        return loaded.requires_grad_(False).eval()

    return _load(model, component, load)


def _load(model: ModelReference, component: str, load: Callable[[Path], T]) -> T:
    """Load a component from the model's folder.

    Raises:
        InputError: It can't be loaded.
    """
    folder = model.folder(component)
    try:
        with quietly():
            return load(folder)
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RuntimeError, SafetensorError) as error:
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise InputError(
            f"model '{model.name}': its {component} can't be loaded ({reason}); get the model again"
        ) from None
