"""GPUs, and whether what runs on them does."""

import subprocess
from collections.abc import Iterator

from pipelines.checking.finding import Finding, in_bytes
from pipelines.checking.redaction import why, without_user


def look_at_gpus() -> Iterator[Finding]:
    """Each GPU with its memory and abilities; bitsandbytes on it, or on the CPU."""
    import torch

    built = f"CUDA {torch.version.cuda}" if torch.version.cuda else "no CUDA"
    yield Finding("ok", "PyTorch's build", f"{torch.__version__}, {built}")
    driver = driver_version()
    if not torch.cuda.is_available():
        if driver:
            said = f"there is a driver ({driver}), but PyTorch finds no GPU: see that its build fits the driver"
            yield Finding("error", "GPU", said)
        else:
            yield Finding("ok", "GPU", "none: everything runs on the CPU")
        yield _bitsandbytes_on("cpu")
        return
    for number in range(torch.cuda.device_count()):
        card = torch.cuda.get_device_properties(number)
        with torch.cuda.device(number):
            bf16 = torch.cuda.is_bf16_supported(including_emulation=False)
        name = f"{card.name}, {in_bytes(card.total_memory)}, compute capability {card.major}.{card.minor}"
        said = f"{name}, driver {driver or 'unknown'}, {'with' if bf16 else 'without'} bf16"
        way = "" if bf16 else ": set mixed_precision 'fp16' or 'no'"
        yield Finding("ok" if bf16 else "warning", f"GPU {number}", said + way)
        yield _bitsandbytes_on(f"cuda:{number}")


def driver_version() -> str | None:
    """NVIDIA's driver, if there is one."""
    command = ["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"]
    try:
        said = subprocess.run(command, capture_output=True, text=True, check=True, timeout=20).stdout
    except (OSError, subprocess.SubprocessError):
        return None
    return next(iter(said.split()), None)


def _bitsandbytes_on(device: str) -> Finding:
    """Quantise a matrix to 4 bits and back, and take a step of its 8-bit optimizer."""
    import torch

    where = f"bitsandbytes on {device}"
    try:
        import bitsandbytes

        weight = torch.nn.Parameter(torch.ones(64, 128, device=device))
        quantised, state = bitsandbytes.functional.quantize_4bit(weight.data, quant_type="nf4")
        back = bitsandbytes.functional.dequantize_4bit(quantised, state)
        weight.grad = torch.ones_like(weight)
        bitsandbytes.optim.AdamW8bit([weight], lr=0.1).step()
        works = bool(torch.allclose(back, torch.ones_like(back), atol=0.1)) and bool((weight < 1).all())
    except Exception as error:  # of many kinds: a library that isn't there, a kernel that isn't built
        return Finding("error", where, f"doesn't work ({without_user(why(error))}): install it anew")
    if not works:
        return Finding("error", where, "gives wrong numbers: install it anew")
    return Finding("ok", where, "works, in 4 bits and with an 8-bit optimizer")
