"""How a run trains. Names and values are SimpleTuner's where the idea is the same."""

from typing import Any, Literal, get_args

from pydantic import Field, NonNegativeInt, PositiveFloat, PositiveInt, field_validator, model_validator

from sanaflow.paths import json_or_path
from sanaflow.section import Section

Optimizer = Literal[
    "torch-adamw",
    "torch-adam",
    "torch-sgd",
    "optimi-adamw",
    "optimi-adam",
    "optimi-lion",
    "optimi-stableadamw",
    "optimi-radam",
    "optimi-ranger",
    "optimi-adan",
    "optimi-sgd",
    "bnb-adagrad",
    "bnb-adagrad8bit",
    "bnb-adam",
    "bnb-adam8bit",
    "bnb-adamw",
    "bnb-adamw8bit",
    "bnb-adamw-paged",
    "bnb-adamw8bit-paged",
    "bnb-lion",
    "bnb-lion8bit",
    "bnb-lion-paged",
    "bnb-lion8bit-paged",
    "bnb-ademamix",
    "bnb-ademamix8bit",
    "bnb-ademamix-paged",
    "bnb-ademamix8bit-paged",
    "adamw_schedulefree",
    "prodigy",
    "came",
    "adafactor",
    "soap",
    "muon",
]
OPTIMIZERS: tuple[str, ...] = get_args(Optimizer)
KAHAN = tuple(name for name in OPTIMIZERS if name.startswith("optimi-"))
"""These keep what rounding to bf16 loses (Kahan summation), so that weights in bf16 go on learning."""
OF_STANDARD_LORA = ("use_dora", "lora_rank", "lora_alpha", "lora_dropout", "lora_target_modules")
BasePrecision = Literal["no_change", "int8-bnb", "nf4-bnb"]


class TrainingSettings(Section):
    """The training run."""

    model_type: Literal["full", "lora"] = "full"
    """full: every weight. lora: an adapter on frozen weights, of `lora_type`."""
    lora_type: Literal["lycoris", "standard"] = "lycoris"
    """lycoris: LoKr and its family. standard: PEFT's LoRA, as `SanaPipeline.load_lora_weights` loads it."""
    lycoris_config: dict[str, Any] | None = None
    """LyCORIS' settings, here or in a JSON file whose path is given; null for LoKr on attention and feed-forward."""
    lora_rank: PositiveInt = 16
    """Rank of a standard LoRA or DoRA; LyCORIS' is in `lycoris_config`."""
    lora_alpha: PositiveInt | None = None
    """null: the rank, which scales the adapter by 1."""
    lora_target_modules: tuple[str, ...] | None = None
    """Ends of the names of the layers that get one; null for attention and the feed-forward's 1x1 convolutions."""
    lora_dropout: float = Field(default=0.0, ge=0, lt=1)
    """Share of the adapter's inputs that is left out at random in each step."""
    use_dora: bool = False
    """Weight-decomposed LoRA (https://arxiv.org/abs/2402.09353), with lora_type 'standard'."""
    start_from: Literal["base", "champion"] = "base"
    """champion: go on from the weights of the model version in the stage `promotion.promote_to`, if it is of the same
    base and kind; from the base where there is none."""
    from_scratch: bool = False
    """Start from random weights in the model's shape, or that of `transformer_config`."""
    transformer_config: dict[str, Any] | None = None
    """Keys of the transformer's config.json that differ, with `from_scratch`: num_layers, qk_norm, ..."""
    base_model_precision: BasePrecision = "no_change"
    """The frozen weights under an adapter in 8 or 4 bits."""
    base_model_default_dtype: Literal["fp32", "bf16"] = "fp32"
    """Precision of the weights. bf16 under an adapter halves them; with model_type 'full' it needs an optimizer with
    Kahan summation."""
    quantize_via: Literal["cpu", "accelerator"] = "accelerator"
    """Where weights are quantised: on the CPU it takes longer and no GPU memory."""

    max_train_steps: PositiveInt = 10_000
    """Optimizer steps of the run, warm-up and steps before a resume included."""
    num_train_epochs: PositiveInt | None = None
    """Instead of `max_train_steps`."""
    train_batch_size: PositiveInt = 4
    """Samples of a batch on one process."""
    allow_dataset_oversubscription: bool = False
    """Show the pictures of a bucket that can't fill a batch more often, instead of refusing the run."""
    gradient_accumulation_steps: PositiveInt = 1
    """Batches whose gradients make one optimizer step."""
    num_processes: PositiveInt = 1
    """Processes, each with a GPU of its own, that `accelerate launch` starts."""
    fsdp_enable: bool = False
    """Split weights, gradients and optimizer over the processes (FSDP2) instead of copying them to each."""
    fsdp_reshard_after_forward: bool = True
    """Free a block's gathered weights after its forward: less memory, one more gathering."""

    learning_rate: PositiveFloat = 1e-5
    """Its height after the warm-up. 1e-5 suits every weight, 1e-4 a LoKr; `prodigy` wants 1.0."""
    lr_scheduler: Literal[
        "constant", "constant_with_warmup", "linear", "cosine", "cosine_with_restarts", "polynomial"
    ] = "constant"
    """How it goes on after the warm-up, over the whole run."""
    lr_warmup_steps: NonNegativeInt = 0
    """Optimizer steps in which it rises from 0."""
    lr_num_cycles: PositiveInt = 1
    """Of cosine_with_restarts."""
    lr_power: PositiveFloat = 1.0
    """Of polynomial."""
    lr_end: float = Field(default=0.0, ge=0)
    """Of polynomial: where it ends."""
    optimizer: Optimizer = "torch-adamw"
    """By its library and name; `docs/training.md` groups them."""
    optimizer_config: dict[str, Any] = Field(default_factory=dict)
    """More keyword arguments of the optimizer's class."""
    adam_beta1: float | None = Field(default=None, ge=0, lt=1)
    """null, here and below: the optimizer's own, for torch-adamw 0.9, 0.999, 1e-8 and 0.01."""
    adam_beta2: float | None = Field(default=None, ge=0, lt=1)
    """Decay of the squared gradients' average."""
    adam_epsilon: PositiveFloat | None = None
    """Added to the denominator."""
    adam_weight_decay: float | None = Field(default=None, ge=0)
    """Pull of each weight towards 0, times the learning rate."""
    max_grad_norm: PositiveFloat = 1.0
    """Where `grad_clip_method` cuts."""
    grad_clip_method: Literal["norm", "value"] = "norm"
    """norm: the gradient is scaled to `max_grad_norm`. value: each of its entries is cut there."""

    mixed_precision: Literal["no", "bf16", "fp16"] = "bf16"
    """Precision of the matrix products; loss and linear attention's sums stay in fp32."""
    gradient_checkpointing: bool = False
    """Compute activations again in the backward instead of keeping them: less memory, more time."""
    gradient_checkpointing_interval: NonNegativeInt | None = None
    """Recompute every n-th block only: faster, more memory. null, 0 and 1 recompute each."""
    torch_compile: bool = False
    """Compile each block by itself."""

    caption_dropout_probability: float = Field(default=0.1, ge=0, le=1)
    """Share of the samples whose caption is replaced by the empty prompt, for classifier-free guidance."""
    flow_schedule_shift: PositiveFloat | None = None
    """k in `s' = k s / (1 + (k-1) s)`: how far training leans towards noise; null is 3.0, as in Sana's own training."""
    flow_schedule_auto_shift: bool = False
    """Take k from the number of latent tokens instead."""
    flow_sigmoid_scale: PositiveFloat = 1.0
    """Width of the logit-normal distribution that noise levels are drawn from."""
    flow_use_uniform_schedule: bool = False
    """Draw noise levels uniformly instead."""
    flow_use_beta_schedule: bool = False
    """Draw noise levels from a Beta distribution instead."""
    flow_beta_schedule_alpha: PositiveFloat = 2.0
    """First parameter of that distribution."""
    flow_beta_schedule_beta: PositiveFloat = 2.0
    """Second parameter of that distribution."""
    snr_gamma: PositiveFloat | None = None
    """Weigh the loss of denoised latents by min(SNR, gamma) (https://arxiv.org/abs/2303.09556); null: unweighted."""
    input_perturbation: float = Field(default=0.0, ge=0)
    """Noise on the noise that the model sees, not on what it is to predict (https://arxiv.org/abs/2301.11706)."""

    use_ema: bool = False
    """Keep a moving average of the weights, which is drawn, scored and published beside them."""
    ema_decay: float = Field(default=0.995, ge=0, lt=1)
    """Decay of the average, from 0.1 up to this: (1 + n) / (10 + n) after n updates."""
    ema_update_interval: PositiveInt = 1
    """Take the weights in after every so many optimizer steps."""
    ema_device: Literal["cpu", "accelerator"] = "accelerator"
    """Where the average is kept: cpu takes no GPU memory and a copy in each update."""

    nonfinite_limit: PositiveInt = 3
    """So many updates in a row with a loss or gradient that is no number lead back to the last checkpoint."""
    checkpointing_steps: PositiveInt = 500
    """Write a checkpoint after every so many optimizer steps."""
    checkpoints_total_limit: PositiveInt = 2
    """How many checkpoints are kept, the newest ones."""
    resume_from_checkpoint: str | None = None
    """Start from a checkpoint of another run with other settings: its folder, or 'latest'. A run that was cut short
    goes on from its own by itself."""
    seed: int = 42
    """Of adapters, order, noise, crops and dropout."""

    _read_lycoris_config = field_validator("lycoris_config", mode="before")(json_or_path)

    @model_validator(mode="after")
    def _one_distribution(self) -> "TrainingSettings":
        self._not_together("flow_schedule_auto_shift", "flow_schedule_shift")
        self._not_together("flow_use_uniform_schedule", "flow_use_beta_schedule")
        if self.num_train_epochs:
            self._only_with("no 'num_train_epochs'", "max_train_steps")
        return self

    @model_validator(mode="after")
    def _warm_up_ends(self) -> "TrainingSettings":
        if self.lr_warmup_steps and self.lr_scheduler == "constant":
            raise ValueError(
                "'lr_warmup_steps' needs a schedule that warms up: set lr_scheduler 'constant_with_warmup'"
            )
        if self.lr_warmup_steps > self.max_train_steps and not self.num_train_epochs:
            raise ValueError(
                f"'lr_warmup_steps' ({self.lr_warmup_steps}) is more than 'max_train_steps' ({self.max_train_steps}): "
                "the learning rate would never be reached; lower the first"
            )
        if self.lr_end >= self.learning_rate and self.lr_scheduler == "polynomial":
            raise ValueError(f"'lr_end' ({self.lr_end}) isn't below 'learning_rate' ({self.learning_rate}): lower it")
        return self

    @model_validator(mode="after")
    def _adapters_fit(self) -> "TrainingSettings":
        if self.model_type == "full":
            if self.base_model_precision != "no_change":
                raise ValueError(
                    f"base_model_precision '{self.base_model_precision}' and model_type 'full' contradict each other: "
                    "weights in 8 or 4 bits can't take the small changes of training; set model_type 'lora', which "
                    "trains an adapter over them, or base_model_precision 'no_change'"
                )
            self._only_with("model_type 'lora'", "lycoris_config", *OF_STANDARD_LORA)
        elif self.lora_type == "lycoris":
            self._only_with("lora_type 'standard'", *OF_STANDARD_LORA)
        else:
            self._only_with("lora_type 'lycoris'", "lycoris_config")
        if self.model_type == "lora" and self.from_scratch:
            raise ValueError("'from_scratch' and model_type 'lora' contradict each other: remove one")
        if self.start_from == "champion" and self.from_scratch:
            raise ValueError("'from_scratch' and start_from 'champion' contradict each other: remove one")
        if not self.from_scratch:
            self._only_with("from_scratch", "transformer_config")
        return self

    @model_validator(mode="after")
    def _precisions_fit(self) -> "TrainingSettings":
        bf16 = self.base_model_default_dtype == "bf16"
        if bf16 and self.mixed_precision != "bf16":
            raise ValueError(
                f"base_model_default_dtype 'bf16' needs mixed_precision 'bf16' (it is '{self.mixed_precision}')"
            )
        if bf16 and self.model_type == "full" and self.optimizer not in KAHAN:
            raise ValueError(
                f"base_model_default_dtype 'bf16' with model_type 'full' and optimizer '{self.optimizer}' loses "
                "updates to rounding: set optimizer to one with Kahan summation, such as "
                f"'{KAHAN[0]}', or the dtype to 'fp32'"
            )
        return self

    @model_validator(mode="after")
    def _processes_fit(self) -> "TrainingSettings":
        if self.fsdp_enable and self.model_type != "full":
            raise ValueError("'fsdp_enable' is for model_type 'full': an adapter's base is copied to each process")
        if self.fsdp_enable and self.use_ema and self.ema_device == "cpu":
            raise ValueError("'fsdp_enable' and ema_device 'cpu' contradict each other: the average is split already")
        if self.fsdp_enable and not self.optimizer.startswith(("torch-", "optimi-", "adamw_schedulefree")):
            raise ValueError(
                f"'fsdp_enable' and optimizer '{self.optimizer}', which needs whole weights, contradict each other: "
                "use 'torch-adamw' or an 'optimi-' one"
            )
        return self

    def total_batch(self) -> int:
        """Samples of one optimizer step."""
        return self.train_batch_size * self.gradient_accumulation_steps * self.num_processes

    def _not_together(self, one: str, other: str) -> None:
        if getattr(self, one) and getattr(self, other):
            raise ValueError(f"'{other}' and '{one}' contradict each other: remove one")

    def _only_with(self, what: str, *names: str) -> None:
        for name in names:
            if getattr(self, name) != type(self).model_fields[name].get_default(call_default_factory=True):
                raise ValueError(f"'{name}' is for {what}: remove it, or set that")
