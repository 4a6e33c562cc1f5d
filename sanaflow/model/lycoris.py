"""LyCORIS adapters (LoKr and its family, https://arxiv.org/abs/2309.14859) on Sana's attention and feed-forward.

LyCORIS reads its targets from class attributes that a preset sets only in part: every one is set here each time.
"""

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from diffusers import SanaTransformer2DModel
from lycoris import LycorisNetwork
from lycoris.modules.dylora import DyLoraModule
from lycoris.modules.full import FullModule
from safetensors.torch import load_file, save_file

from sanaflow.config import TrainingSettings
from sanaflow.errors import InputError, nearest
from sanaflow.model.peft import to_fp32
from sanaflow.model.tuned import LORA_FILE, LYCORIS_CONFIG_FILE
from sanaflow.progress import quietly

DEFAULT: dict[str, Any] = {
    **{"algo": "lokr", "multiplier": 1.0, "full_matrix": True, "linear_dim": 10000, "linear_alpha": 1, "factor": 16},
    "apply_preset": {
        "target_module": ["Attention", "GLUMBConv"],
        "module_algo_map": {"Attention": {"factor": 16}, "GLUMBConv": {"factor": 8}},
    },
}
"""SimpleTuner's LoKr, with Sana's own feed-forward in place of 'FeedForward', which is in no Sana model."""
ALGORITHMS = ("lora", "locon", "loha", "lokr", "full", "ia3", "diag-oft", "dylora", "glora")
WITHOUT_DEPTHWISE = ("glora",)
"""These can't adapt a convolution in groups."""
BYPASSING = ("lora", "locon", "loha", "lokr")
"""These can run beside a layer instead of changing its weights."""
OPTIONS = (
    *("algo", "multiplier", "linear_dim", "linear_alpha", "conv_dim", "conv_alpha", "factor", "full_matrix"),
    *("decompose_both", "use_scalar", "use_tucker", "dora_wd", "wd_on_output", "rs_lora", "bypass_mode", "block_size"),
    *("rank_dropout", "module_dropout", "dropout", "rank_dropout_scale", "unbalanced_factorization", "constraint"),
    *("rescaled", "train_on_input", "apply_preset"),
)
PRESET: dict[str, Any] = {
    **{"enable_conv": True, "target_module": ["Attention", "GLUMBConv"], "target_name": [], "module_algo_map": {}},
    **{"name_algo_map": {}, "exclude_name": [], "lora_prefix": "lycoris", "use_fnmatch": False},
}


def attach_lycoris(transformer: SanaTransformer2DModel, settings: TrainingSettings) -> LycorisNetwork:
    """Hook an adapter into the frozen transformer; until it is trained it changes nothing.

    Raises:
        InputError: A setting that LyCORIS doesn't know or that can't work on Sana.
    """
    transformer.requires_grad_(False)
    config = settings.lycoris_config or DEFAULT
    in_bits = settings.base_model_precision != "no_change"
    if in_bits and (config.get("dora_wd") or config.get("algo", "lokr") not in BYPASSING):
        raise InputError(
            f"base_model_precision '{settings.base_model_precision}' needs an adapter that runs beside the weights: "
            f"set training.lycoris_config's algo to one of {', '.join(BYPASSING)}, without 'dora_wd'"
        )
    beside = in_bits or settings.base_model_default_dtype == "bf16"
    network = build_network(transformer, config, beside=beside)
    for adapter in network.loras:
        # (W + dW) - W in bf16 is mostly 0: layers whose weights are changed, not run beside, stay in fp32.
        base = adapter.org_module[0]
        if (
            not getattr(adapter, "bypass_mode", False)
            and base.weight is not None
            and base.weight.dtype == torch.bfloat16
        ):
            to_fp32(base.parameters())
    _hook_in(network, transformer)
    network.requires_grad_(True)
    to_fp32(network.parameters())
    return network


def build_network(
    transformer: SanaTransformer2DModel, config: dict[str, Any], *, beside: bool = False
) -> LycorisNetwork:
    """The network that a LyCORIS configuration describes, not hooked in yet.

    Args:
        transformer: Its base.
        config: As lycoris_config.json holds it.
        beside: Run beside linear layers where the algorithm can, as their weights are in few bits.

    Raises:
        InputError: See `attach_lycoris`.
    """
    for key in config:
        if key not in OPTIONS:
            raise InputError(f"training.lycoris_config has no '{key}': {nearest(key, OPTIONS)}")
    algorithm = config.get("algo", "lokr")
    if algorithm not in ALGORITHMS:
        raise InputError(
            f"training.lycoris_config: algo '{algorithm}' doesn't work on Sana's layers; {', '.join(ALGORITHMS)} do"
        )
    options = {key: value for key, value in config.items() if key not in ("algo", "apply_preset", "bypass_mode")}
    preset = _preset(config.get("apply_preset") or {}, algorithm)
    if algorithm in BYPASSING and not config.get("dora_wd") and (beside or config.get("bypass_mode")):
        preset["module_algo_map"].setdefault("Attention", {}).setdefault("bypass_mode", True)
    if algorithm == "dylora":  # Python's own random numbers can't be recomputed by gradient checkpointing
        DyLoraModule.get_random_rank_weight = _random_rank
    dim, alpha = options.pop("linear_dim", 4), options.pop("linear_alpha", 1)
    LycorisNetwork.apply_preset(preset)
    try:
        with quietly():
            network = LycorisNetwork(
                transformer,
                options.pop("multiplier", 1.0),
                lora_dim=dim,
                alpha=alpha,
                conv_lora_dim=options.pop("conv_dim", dim),
                conv_alpha=options.pop("conv_alpha", alpha),
                network_module=algorithm,
                **options,
            )
    except (ArithmeticError, AssertionError, AttributeError, LookupError, RuntimeError, TypeError, ValueError) as error:
        raise InputError(f"training.lycoris_config doesn't fit this model: {error}") from None
    if not network.loras:
        raise InputError(
            f"training.lycoris_config: {preset['target_module']} match nothing in Sana; 'Attention' and 'GLUMBConv' do"
        )
    return network


def _preset(given: dict[str, Any], algorithm: str) -> dict[str, Any]:
    for key in given:
        if key not in PRESET:
            raise InputError(f"training.lycoris_config.apply_preset has no '{key}': {nearest(key, PRESET)}")
    preset = json.loads(json.dumps(PRESET | given))
    for places in ("module_algo_map", "name_algo_map"):
        if not isinstance(preset[places], dict):
            raise InputError(
                f"training.lycoris_config.apply_preset.{places} should be a mapping from names to settings"
            )
        for name, changes in preset[places].items():
            _check_place(changes, f"training.lycoris_config.apply_preset.{places}.{name}")
    try:
        for pattern in preset["exclude_name"]:
            re.compile(pattern)
    except (TypeError, re.error) as error:
        raise InputError(f"training.lycoris_config.apply_preset.exclude_name is no pattern: {error}") from None
    for places in (preset["target_module"], preset["module_algo_map"]):
        if "FeedForward" in places and "GLUMBConv" not in places:
            print("lycoris_config: 'FeedForward' is in no Sana model, 'GLUMBConv' stands for it")
            if isinstance(places, list):
                places.append("GLUMBConv")
            else:
                places["GLUMBConv"] = places["FeedForward"]
    if algorithm in WITHOUT_DEPTHWISE:
        preset["exclude_name"].append(r".*conv_depth$")
    return preset


def _check_place(changes: Any, where: str) -> None:
    """See that settings for some of the modules are ones that there are."""
    known = (*OPTIONS, "dim", "alpha")
    if not isinstance(changes, dict):
        raise InputError(f"{where} should be a mapping of settings")
    for key in changes:
        if key not in known:
            raise InputError(f"{where} has no '{key}': {nearest(key, known)}")
    if changes.get("algo", "lokr") not in ALGORITHMS:
        raise InputError(f"{where}: algo '{changes['algo']}' doesn't work on Sana; {', '.join(ALGORITHMS)} do")


def _random_rank(module: DyLoraModule) -> torch.Tensor:
    if not module.training:  # all of it: what is drawn with isn't random
        return module.get_weight((module.block_count - 1) * module.block_size)
    return module.get_weight(int(torch.randint(0, module.block_count, (1,))) * module.block_size)


@contextmanager
def lycoris_off(network: LycorisNetwork) -> Iterator[None]:
    """The frozen base, bit by bit. A multiplier of 0 would not do for weight-decomposed adapters."""
    full = [adapter for adapter in network.loras if isinstance(adapter, FullModule)]
    others = [adapter for adapter in network.loras if not isinstance(adapter, FullModule)]
    multipliers = [adapter.multiplier for adapter in full]
    for adapter in full:
        adapter.multiplier = 0.0
    for adapter in others:
        adapter.org_module[0].forward = adapter.org_forward
    try:
        yield
    finally:
        for adapter, multiplier in zip(full, multipliers, strict=True):
            adapter.multiplier = multiplier
        for adapter in others:
            adapter.org_module[0].forward = adapter.forward


def save_lycoris(network: LycorisNetwork, config: dict[str, Any] | None, folder: Path) -> None:
    """Write the weights in LyCORIS' own format and the configuration that `load_lycoris` takes."""
    folder.mkdir(parents=True, exist_ok=True)
    config = dict(config or DEFAULT)
    state = {name: value.detach().cpu().clone().contiguous() for name, value in network.state_dict().items()}
    if config.get("algo") == "dylora":  # at its full rank it is a LoCon, which LyCORIS can load again
        for adapter in network.loras:
            _as_locon(state, adapter)
        block = config.pop("block_size", network.loras[0].block_size)
        config |= {"algo": "locon", "linear_alpha": config.get("linear_alpha", 1) * block}
        if "conv_alpha" in config:
            config["conv_alpha"] *= block
    save_file(state, folder / LORA_FILE)
    (folder / LYCORIS_CONFIG_FILE).write_text(json.dumps(config, indent=2))


def _as_locon(state: dict[str, torch.Tensor], adapter: DyLoraModule) -> None:
    up, alpha = f"{adapter.lora_name}.lora_up.weight", f"{adapter.lora_name}.alpha"
    if adapter.org_module[0].weight.ndim == 4:
        state[up] = state[up].reshape(*state[up].shape[:2], 1, 1)
    state[alpha] = state[alpha] * adapter.block_size


def load_lycoris(transformer: SanaTransformer2DModel, folder: Path) -> None:
    """Hook in the adapter that `save_lycoris` wrote."""
    network = build_network(transformer, json.loads((folder / LYCORIS_CONFIG_FILE).read_text()))
    _hook_in(network, transformer)
    network.load_state_dict(load_file(folder / LORA_FILE))
    network.requires_grad_(False).eval().to(transformer.device)


def load_lycoris_weights(network: LycorisNetwork, folder: Path) -> None:
    """Read what `save_lycoris` wrote into a network of the same configuration.

    Raises:
        InputError: It is another one's, as a DyLoRA's is, which is saved as a LoCon.
    """
    try:
        network.load_state_dict(load_file(folder / LORA_FILE))
    except RuntimeError as error:
        reason = str(error).strip().splitlines()[-1].strip()
        raise InputError(f"training.start_from: the adapter in '{folder}' doesn't fit ({reason[:200]})") from None


def _hook_in(network: LycorisNetwork, transformer: SanaTransformer2DModel) -> None:
    """Let the transformer answer with the adapter, and take it along wherever it is moved."""
    network.apply_to()
    transformer.add_module("lycoris", network)
