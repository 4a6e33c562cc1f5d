"""The memory that `python -m sanaflow fit` expects, against what a process really takes on a CPU.

python -m benchmarks.fit

Each case is a process of its own: its largest resident size after two steps, less that before the model was built.
"""

import json
import os
import subprocess
import sys
from typing import Any

import torch

CONFIG: dict[str, Any] = {
    **{"in_channels": 32, "out_channels": 32, "num_layers": 8, "patch_size": 1, "sample_size": 32, "mlp_ratio": 2.5},
    **{"num_attention_heads": 16, "attention_head_dim": 32, "num_cross_attention_heads": 8},
    **{"cross_attention_head_dim": 64, "cross_attention_dim": 512, "caption_channels": 512},
}
LATENTS, TOKENS = (32, 32), 64
CASES: dict[str, dict] = {
    "all weights": {},
    "all weights, recomputed": {"gradient_checkpointing": True},
    "all weights, bf16 products": {"mixed_precision": "bf16"},
    "LoKr": {"model_type": "lora"},
    "LoRA": {"model_type": "lora", "lora_type": "standard"},
    "LoRA, recomputed": {"model_type": "lora", "lora_type": "standard", "gradient_checkpointing": True},
}
MIB = 2**20


def measure(case: str) -> tuple[int, int]:
    """Bytes expected and bytes taken."""
    # Freed memory goes back to the system at once: what is resident is what is in use.
    environment = os.environ | {"MALLOC_MMAP_THRESHOLD_": "65536", "MALLOC_TRIM_THRESHOLD_": "65536"}
    command = [sys.executable, "-m", "benchmarks.fit", case]
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=environment)
    expected, taken = json.loads(done.stdout.splitlines()[-1])
    return expected, taken


def run_case(case: str) -> None:
    """In a process of its own: build, train two steps, print both numbers."""
    from diffusers import SanaTransformer2DModel

    from sanaflow.config import TrainingSettings
    from sanaflow.model.attention import keep_linear_attention_fp32
    from sanaflow.model.checkpointing import recompute_blocks
    from sanaflow.model.lycoris import attach_lycoris
    from sanaflow.model.peft import attach_lora
    from sanaflow.training.memory import estimate
    from sanaflow.training.optimizers import make_optimizer

    settings = TrainingSettings(**{"train_batch_size": 8, "mixed_precision": "no", **CASES[case]})
    expected = estimate(CONFIG, settings, latent_size=LATENTS, text_tokens=TOKENS).total
    _take_a_step(torch.nn.Linear(8, 8))  # what PyTorch takes for itself is not the model's
    before = peak_bytes()
    transformer = SanaTransformer2DModel.from_config(CONFIG)
    keep_linear_attention_fp32(transformer)
    if settings.model_type == "lora":
        (attach_lora if settings.lora_type == "standard" else attach_lycoris)(transformer, settings)
    if settings.gradient_checkpointing:
        recompute_blocks(transformer, every=1)
    trained = [p for p in transformer.parameters() if p.requires_grad]
    optimizer = make_optimizer(trained, settings)
    noisy, texts = torch.randn(8, 32, *LATENTS), torch.randn(8, TOKENS, 512)
    for _ in range(2):
        with torch.autocast("cpu", torch.bfloat16, enabled=settings.mixed_precision == "bf16"):
            asked = {"encoder_hidden_states": texts, "timestep": torch.rand(8), "return_dict": False}
            predicted = transformer.train()(noisy, **asked)[0]
            loss = (predicted.float() - noisy).square().mean()
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    print(json.dumps([expected, peak_bytes() - before]))


def _take_a_step(layer: torch.nn.Module) -> None:
    layer(torch.zeros(1, 8)).sum().backward()
    torch.optim.AdamW(layer.parameters(), fused=True).step()


def peak_bytes() -> int:
    """This process' own peak; `ru_maxrss` of a forked process begins at its parent's."""
    with open("/proc/self/status") as file:  # noqa: PTH123 - no file, a window into the kernel
        return next(int(line.split()[1]) * 1024 for line in file if line.startswith("VmHWM"))


def main() -> None:
    """Print a table."""
    for case in CASES:
        expected, taken = measure(case)
        print(f"{case:<28} expected {expected / MIB:7.0f} MiB, taken {taken / MIB:7.0f} MiB: {expected / taken:.2f}")


if __name__ == "__main__":
    run_case(sys.argv[1]) if len(sys.argv) > 1 else main()
