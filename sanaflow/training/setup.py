"""Everything that a training run has in memory, put together from its settings."""

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState
from accelerate.utils import DistributedDataParallelKwargs, InitProcessGroupKwargs
from diffusers.models.transformers.sana_transformer import SanaTransformerBlock
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import FSDPModule, fully_shard

from sanaflow.config import TrainingSettings, ValidationSettings
from sanaflow.errors import InputError
from sanaflow.model.checkpointing import compile_blocks, recompute_blocks
from sanaflow.model.tunable import Tunable
from sanaflow.training.batches import Batches
from sanaflow.training.ema import make_ema
from sanaflow.training.optimizers import make_optimizer
from sanaflow.training.schedules import make_schedule
from sanaflow.training.state import TrainingState
from sanaflow.training.trackers import TRACKERS

LONGEST_WAIT = timedelta(hours=4)
"""For each other: while one process draws pictures or writes a checkpoint, the others wait."""


def make_accelerator(settings: TrainingSettings, validation: ValidationSettings, run_folder: Path) -> Accelerator:
    """accelerate, told what the settings say.

    Raises:
        InputError: The number of processes isn't that of the settings, or fp16 without a GPU.
    """
    AcceleratorState._reset_state()  # a process may train more than once, and in another precision
    if settings.mixed_precision == "fp16" and not torch.cuda.is_available():
        raise InputError("training.mixed_precision 'fp16' needs a GPU: set 'bf16' or 'no'")
    accelerator = Accelerator(
        mixed_precision=settings.mixed_precision,
        log_with=TRACKERS[validation.report_to] or None,
        project_dir=run_folder,
        kwargs_handlers=[
            InitProcessGroupKwargs(timeout=LONGEST_WAIT),
            DistributedDataParallelKwargs(find_unused_parameters=_leaves_weights_out(settings)),
        ],
    )
    if accelerator.num_processes != settings.num_processes:
        raise InputError(
            f"training.num_processes is {settings.num_processes}, but {accelerator.num_processes} are running: "
            "start as many with `accelerate launch --num_processes N`, or set that number"
        )
    return accelerator


def _leaves_weights_out(settings: TrainingSettings) -> bool:
    """Whether a step may use only some of an adapter's weights."""
    config = settings.lycoris_config or {}
    return config.get("algo") == "dylora" or bool(config.get("module_dropout"))


@dataclass
class Setup:
    """A run in memory.

    Attributes:
        accelerator: Devices and processes.
        tunable: What is trained.
        model: What predicts: `tunable.transformer`, wrapped for several processes.
        state: What changes.
        steps: Optimizer steps to do in all.
    """

    accelerator: Accelerator
    tunable: Tunable
    model: torch.nn.Module
    state: TrainingState
    steps: int

    def batch_numbers(self, step: int, accumulation: int) -> list[int]:
        """This process's batches of an optimizer step: all processes together take consecutive ones."""
        world, rank = self.accelerator.num_processes, self.accelerator.process_index
        return [(step * accumulation + micro) * world + rank for micro in range(accumulation)]

    @contextmanager
    def gradients(self, *, sync: bool) -> Iterator[None]:
        """A forward in the precision wanted, after whose backward the processes share their gradients if `sync`."""
        if isinstance(self.model, FSDPModule):
            self.model.set_requires_gradient_sync(sync)
            held = nullcontext()
        else:
            held = nullcontext() if sync else self.accelerator.no_sync(self.model)
        with held, self.accelerator.autocast():
            yield

    def reshard(self) -> None:
        """Give back what a forward without backward has gathered."""
        if isinstance(self.model, FSDPModule):
            self.model.reshard()


def set_up(tunable: Tunable, batches: Batches, *, settings: TrainingSettings, accelerator: Accelerator) -> Setup:
    """Move the model to its device, wrap it, and make optimizer, schedule and moving average."""
    tunable.transformer.train()
    tunable.transformer.to(accelerator.device)
    if settings.mixed_precision != "no":  # drawing calls the transformer itself, which accelerate may know nothing of
        precision = torch.bfloat16 if settings.mixed_precision == "bf16" else torch.float16
        autocast = torch.autocast(accelerator.device.type, precision)
        tunable.transformer.forward = autocast(tunable.transformer.forward)
    if settings.gradient_checkpointing:
        recompute_blocks(tunable.transformer, every=settings.gradient_checkpointing_interval or 1)
    if settings.torch_compile:
        compile_blocks(tunable.transformer)
    if settings.fsdp_enable and accelerator.num_processes > 1:
        _shard(tunable.transformer, accelerator, settings)
        model = tunable.transformer
    else:
        model = accelerator.prepare_model(tunable.transformer)
    weights = tunable.weights()
    optimizer = make_optimizer(list(weights.values()), settings)
    per_step = settings.gradient_accumulation_steps * accelerator.num_processes
    steps = settings.max_train_steps
    if settings.num_train_epochs:
        steps = -(-batches.in_epochs(settings.num_train_epochs) // per_step)
    if steps == 0:
        raise InputError("no picture is shown in training.num_train_epochs: raise it, or the datasets' 'probability'")
    if settings.lr_warmup_steps > steps:
        raise InputError(
            f"training.lr_warmup_steps ({settings.lr_warmup_steps:,}) is more than the run's {steps:,} steps: lower it"
        )
    state = TrainingState(
        weights=weights,
        optimizer=optimizer,
        scheduler=make_schedule(optimizer, settings, steps=steps),
        ema=make_ema(list(weights.values()), settings),
        scaler=accelerator.scaler,
    )
    return Setup(accelerator, tunable, model, state, steps)


def _shard(module: torch.nn.Module, accelerator: Accelerator, settings: TrainingSettings) -> None:
    """FSDP2, applied here: accelerate's own does nothing on CPUs, and rounds timesteps to bf16."""
    mesh = init_device_mesh(accelerator.device.type, (accelerator.num_processes,))
    reshard = settings.fsdp_reshard_after_forward
    for block in module.modules():
        if isinstance(block, SanaTransformerBlock):
            fully_shard(block, mesh=mesh, reshard_after_forward=reshard)
    fully_shard(module, mesh=mesh, reshard_after_forward=reshard)
