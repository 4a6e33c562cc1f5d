"""SimpleTuner's options that are taken over: under which key, how the value changes, and why.

With `left_out.py` and `FALLBACKS` of `sets.py` this is every option of release 4.10.1.
"""

from typing import Any

from sanaflow.simpletuner import conversions as to
from sanaflow.simpletuner import files, optimizers
from sanaflow.simpletuner.option import Given, Taken

FLOW = "no effect on Sana in SimpleTuner since 3.1.1; here it has one"
UNFIXED = "in SimpleTuner the first measurement breaks training off"


def _if_lora(default: Any, kind: str | None = None) -> Any:
    def find(given: Given) -> Any:
        fits = kind in (None, given.text("lora_type", "standard"))
        return default if optimizers.is_lora(given) and fits else None

    return find


def _if_polynomial(default: Any) -> Any:
    return lambda given: default if given.text("lr_scheduler") == "polynomial" else None


TAKEN: dict[str, Taken] = {
    # model
    "model_flavour": Taken(
        "model.pretrained_model_name_or_path",
        to.flavour,
        default=lambda given: None if "pretrained_model_name_or_path" in given else "sana1.5-4.8b-1024",
        default_why="SimpleTuner's default; configs/ has smaller ones",
    ),
    "pretrained_model_name_or_path": Taken("model.pretrained_model_name_or_path"),
    "revision": Taken("model.revision"),
    # caches
    "vae_batch_size": Taken("caches.vae_batch_size"),
    "vae_enable_tiling": Taken("caches.vae_enable_tiling", to.flag),
    "vae_enable_slicing": Taken("caches.vae_enable_slicing", to.flag),
    "text_encoder_batch_size": Taken("caches.text_encoder_batch_size", to.text_batch),
    "text_encoder_1_precision": Taken("caches.text_encoder_precision", optimizers.precision),
    # what is trained
    "model_type": Taken("training.model_type"),
    "lora_type": Taken("training.lora_type", default=_if_lora("standard")),
    "lycoris_config": Taken(
        "training.lycoris_config",
        to.of_lora("lycoris", files.lycoris_config),
        default=_if_lora(files.LYCORIS_CONFIG, "lycoris"),
    ),
    "lora_rank": Taken("training.lora_rank", to.of_lora("standard")),
    "lora_alpha": Taken("training.lora_alpha", to.of_lora("standard", to.lora_alpha)),
    "lora_dropout": Taken("training.lora_dropout", to.of_lora("standard"), default=_if_lora(0.1, "standard")),
    "peft_lora_target_modules": Taken(
        "training.lora_target_modules",
        to.of_lora("standard", to.target_modules),
        default=_if_lora(["to_k", "to_q", "to_v", "to_out.0"], "standard"),
        default_why="SimpleTuner's; null would add the feed-forward",
    ),
    "use_dora": Taken("training.use_dora", to.of_lora("standard", to.flag)),
    "optimizer": Taken("training.optimizer", optimizers.optimizer, default="adamw_bf16"),
    "base_model_precision": Taken("training.base_model_precision", optimizers.base_precision),
    "base_model_default_dtype": Taken(
        "training.base_model_default_dtype", optimizers.weights_dtype, default="bf16", default_why=""
    ),
    "quantize_via": Taken("training.quantize_via", to.renamed(pipeline="accelerator")),
    # how long and with what
    "max_train_steps": Taken("training.max_train_steps", to.steps),
    "num_train_epochs": Taken(
        "training.num_train_epochs",
        to.epochs,
        default=lambda given: None if given.amount("max_train_steps") > 0 else 1,
    ),
    "train_batch_size": Taken("training.train_batch_size"),
    "gradient_accumulation_steps": Taken("training.gradient_accumulation_steps"),
    "allow_dataset_oversubscription": Taken("training.allow_dataset_oversubscription", to.flag),
    "num_processes": Taken("training.num_processes"),
    "fsdp_enable": Taken("training.fsdp_enable", to.flag),
    "fsdp_reshard_after_forward": Taken("training.fsdp_reshard_after_forward", to.flag),
    "learning_rate": Taken(
        "training.learning_rate",
        default=4e-7,
        default_why="SimpleTuner's default, very low for Sana: 1e-5 is usual for every weight, 1e-4 for a LoKr",
    ),
    "lr_scheduler": Taken("training.lr_scheduler", to.renamed(sine="cosine")),
    "lr_warmup_steps": Taken("training.lr_warmup_steps"),
    "lr_num_cycles": Taken("training.lr_num_cycles"),
    "lr_power": Taken("training.lr_power", to.of_scheduler("polynomial"), default=_if_polynomial(0.8)),
    "lr_end": Taken("training.lr_end", to.of_scheduler("polynomial"), default=_if_polynomial(4e-7)),
    "optimizer_config": Taken("training.optimizer_config", to.optimizer_config),
    "adam_beta1": Taken("training.adam_beta1"),
    "adam_beta2": Taken("training.adam_beta2"),
    "optimizer_beta1": Taken("training.adam_beta1"),
    "optimizer_beta2": Taken("training.adam_beta2"),
    "adam_epsilon": Taken("training.adam_epsilon"),
    "adam_weight_decay": Taken("training.adam_weight_decay"),
    "max_grad_norm": Taken("training.max_grad_norm", to.clip_at, default=2.0),
    "grad_clip_method": Taken(
        "training.grad_clip_method",
        default="value",
        default_why="SimpleTuner's default cuts each entry, which seldom acts; 'norm' scales the gradient as a whole",
    ),
    "mixed_precision": Taken("training.mixed_precision", to.renamed(fp8="bf16")),
    "gradient_checkpointing": Taken("training.gradient_checkpointing", to.flag, default=True),
    "gradient_checkpointing_interval": Taken("training.gradient_checkpointing_interval"),
    "dynamo_backend": Taken("training.torch_compile", to.compiled),
    # the objective
    "caption_dropout_probability": Taken("training.caption_dropout_probability"),
    "flow_schedule_shift": Taken("training.flow_schedule_shift", to.shift, FLOW),
    "flow_schedule_auto_shift": Taken("training.flow_schedule_auto_shift", to.auto_shift, FLOW),
    "flow_sigmoid_scale": Taken("training.flow_sigmoid_scale", why=FLOW),
    "flow_use_uniform_schedule": Taken("training.flow_use_uniform_schedule", to.flag, FLOW),
    "flow_use_beta_schedule": Taken("training.flow_use_beta_schedule", to.beta_schedule, FLOW),
    "flow_beta_schedule_alpha": Taken("training.flow_beta_schedule_alpha", why=FLOW),
    "flow_beta_schedule_beta": Taken("training.flow_beta_schedule_beta", why=FLOW),
    "input_perturbation": Taken("training.input_perturbation"),
    # moving average, checkpoints, seed
    "use_ema": Taken("training.use_ema", to.flag),
    "ema_decay": Taken("training.ema_decay"),
    "ema_update_interval": Taken("training.ema_update_interval"),
    "ema_device": Taken("training.ema_device", default=lambda given: "cpu" if given.is_on("use_ema") else None),
    "checkpoint_step_interval": Taken("training.checkpointing_steps", to.positive("every 500 steps")),
    "checkpoints_total_limit": Taken("training.checkpoints_total_limit", to.positive("two are kept"), default=5),
    "seed": Taken("training.seed", to.seed),
    # validation
    "validation_prompt": Taken("validation.validation_prompt", to.if_drawn()),
    "user_prompt_library": Taken("validation.user_prompt_library", to.if_drawn(files.prompt_library)),
    "validation_negative_prompt": Taken("validation.validation_negative_prompt", default="blurry, cropped, ugly"),
    "validation_step_interval": Taken(
        "validation.validation_steps", to.positive("500; without prompts nothing is drawn"), default=100
    ),
    "validation_epoch_interval": Taken("validation.validation_epoch_interval", to.positive("by steps alone")),
    "validation_on_startup": Taken("validation.validation_on_startup", to.flag, default=False),
    "validation_num_inference_steps": Taken("validation.validation_num_inference_steps", default=30),
    "validation_guidance": Taken(
        "validation.validation_guidance", to.guidance, default=7.5, default_why="SimpleTuner's default; Sana's is 4.5"
    ),
    "validation_resolution": Taken("validation.validation_resolution", to.resolution, default="256", default_why=""),
    "validation_seed": Taken(
        "validation.validation_seed",
        to.seed,
        default=lambda given: given.get("seed"),
        default_why="the run's, as in SimpleTuner",
    ),
    "eval_steps_interval": Taken("validation.eval_steps_interval", to.positive("first and last only"), UNFIXED),
    "eval_epoch_interval": Taken("validation.eval_epoch_interval", to.positive("first and last only"), UNFIXED),
    "num_eval_images": Taken("validation.num_eval_images", why="pictures of each set, the same ones each time"),
    "eval_timesteps": Taken(
        "validation.eval_timesteps", why="equally probable noise levels, not steps of the inference schedule"
    ),
    "report_to": Taken("validation.report_to", to.trackers),
    "tracker_project_name": Taken("validation.tracker_project_name"),
    "tracker_run_name": Taken("validation.tracker_run_name"),
    "pretrained_evaluation_model_name_or_path": Taken("evaluation.evaluation_model", to.clip_model),
    # publishing
    "output_dir": Taken("publishing.release_dir", files.release_dir),
    "hub_model_id": Taken("publishing.hub_model_id", files.hub_model_id),
    "push_to_hub": Taken(
        "publishing.push_to_hub",
        files.push_to_hub,
        default=lambda given: False if "hub_model_id" in given else None,
        default_why="",
    ),
    "push_checkpoints_to_hub": Taken("publishing.push_checkpoints_to_hub", files.push_checkpoints),
    "model_card_private": Taken("publishing.hub_private", to.flag, "of a new repository"),
}
