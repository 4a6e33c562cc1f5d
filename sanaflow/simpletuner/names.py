"""Other spellings of SimpleTuner's options: those of earlier releases, and the variables of config.env."""

import re

EARLIER = {
    "checkpointing_steps": "checkpoint_step_interval",
    "validation_steps": "validation_step_interval",
    "validation_epochs": "validation_epoch_interval",
    "flow_matching_sigmoid_scale": "flow_sigmoid_scale",
    "flux_schedule_shift": "flow_schedule_shift",
    "flux_schedule_auto_shift": "flow_schedule_auto_shift",
    "flux_use_uniform_schedule": "flow_use_uniform_schedule",
    "flux_use_beta_schedule": "flow_use_beta_schedule",
    "rank": "lora_rank",
    "vae_path": "pretrained_vae_model_name_or_path",
}
"""Names that an option had before."""
VARIABLES = {
    "MODEL_NAME": "pretrained_model_name_or_path",
    "RESUME_CHECKPOINT": "resume_from_checkpoint",
    "DATALOADER_CONFIG": "data_backend_config",
    "TRAINING_SEED": "seed",
    "USE_XFORMERS": "enable_xformers_memory_efficient_attention",
    "MINIMUM_RESOLUTION": "minimum_image_size",
    "PUSH_CHECKPOINTS": "push_checkpoints_to_hub",
    "MAX_NUM_STEPS": "max_train_steps",
    "NUM_EPOCHS": "num_train_epochs",
    "CHECKPOINTING_LIMIT": "checkpoints_total_limit",
    "HUB_MODEL_NAME": "hub_model_id",
    "LR_SCHEDULE": "lr_scheduler",
    "LEARNING_RATE_END": "lr_end",
    "USE_GRADIENT_CHECKPOINTING": "gradient_checkpointing",
    "TRAINING_NUM_PROCESSES": "num_processes",
    "TRAINING_NUM_MACHINES": "num_machines",
    "TRAINING_DYNAMO_BACKEND": "dynamo_backend",
    "TRAINER_DYNAMO_BACKEND": "dynamo_backend",
}
"""Variables that aren't just an option's name in capitals."""
FLAGS = ("TRAINER_EXTRA_ARGS", "DEBUG_EXTRA_ARGS")
"""Variables that hold a command line's options."""
SECRET = re.compile(r"(^|_)(token|secret|password|api_key|access_key)(_|$)")
"""What the name of a variable or key has in it whose value is a secret."""
