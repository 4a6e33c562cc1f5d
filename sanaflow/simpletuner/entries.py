"""An entry of SimpleTuner's multidatabackend.json in our words."""

from collections.abc import Mapping
from typing import Any

WITHOUT_EFFECT = {
    **dict.fromkeys(
        ("cache_dir", "cache_dir_vae", "csv_cache_dir", "cache_file_suffix", "hash_filenames", "image_embeds"),
        "everything is kept in the artifact store, named by its content",
    ),
    **dict.fromkeys(
        ("preserve_data_backend_cache", "metadata_update_interval", "skip_file_discovery", "scan_for_errors"),
        "every run looks anew and reads only what changed",
    ),
    **dict.fromkeys(
        ("delete_unwanted_images", "delete_problematic_images", "delete_nsfw_images"),
        "nothing is ever deleted from your pictures",
    ),
    **dict.fromkeys(
        ("vae_cache_clear_each_epoch", "vae_cache_ondemand", "vae_cache_disable", "text_cache_ondemand",
         "text_cache_disable"),
        "latents and embeddings are made once; for new crops see 'random_crops'",
    ),
    **dict.fromkeys(
        ("read_batch_size", "write_batch_size", "image_processing_batch_size", "max_workers", "streaming", "num_proc",
         "aws_max_pool_connections"),
        "chosen by the machine",
    ),
    **dict.fromkeys(("vae_batch_size", "text_encoder_batch_size"), "set it in the section 'caches'"),
    "train_batch_size": "one size for all: 'training.train_batch_size'",
}  # fmt: skip
"""Keys that an entry may have and that change nothing here, each with the reason."""
SECRETS = ("aws_access_key_id", "aws_secret_access_key", "aws_session_token")
OTHER_SPELLINGS = {"disable": "disabled", "is_regularization_data": "is_regularisation_data"}
WHOLE_RUN = {"start_epoch": (1, None), "start_step": (0, None), "end_epoch": (None, 0), "end_step": (None, 0)}
"""Keys that would limit a set to a part of the run, with the values that don't."""
ASKS_FOR_NOTHING = {
    **{"timestep_sampling_offset": (0, None), "conditioning": ([], None), "filter_func": ({}, None)},
    **dict.fromkeys(("minimum_image_size", "maximum_image_size", "target_downsample_size"), (0, None)),
}
"""Keys, with the values that are as if they weren't there."""


def our_entry(entry: Mapping[str, Any]) -> dict[str, Any]:
    """The entry as `DatasetSettings` takes it; one of ours stays as it is.

    What has no effect is named in `without_effect`. Of a disabled entry only the id is left.

    Raises:
        ValueError: It holds a secret, or asks for a part of the run only.
    """
    entry = dict(entry)
    for other, ours in OTHER_SPELLINGS.items():
        if other in entry:
            entry[ours] = entry.pop(other) or entry.get(ours, False)
    if entry.get("disabled") is True:
        return {key: entry[key] for key in ("id", "disabled") if key in entry}
    if entry.get("caption_strategy") == "instance_prompt":
        entry["caption_strategy"] = "instanceprompt"
    if any(entry.pop(key, None) for key in SECRETS):
        raise ValueError(
            "a secret doesn't belong into a YAML: take the 'aws_...' keys out and set AWS_ACCESS_KEY_ID and "
            "AWS_SECRET_ACCESS_KEY in the environment"
        )
    for key, whole in WHOLE_RUN.items():
        if key in entry and entry.pop(key) not in whole:
            raise ValueError(f"'{key}' would limit the set to a part of the run, which can't be done: remove it")
    for key, nothing in ASKS_FOR_NOTHING.items():
        if key in entry and entry[key] in nothing:
            del entry[key]
    if without_effect := tuple(key for key in entry if key in WITHOUT_EFFECT):
        entry = {key: value for key, value in entry.items() if key not in WITHOUT_EFFECT}
        entry["without_effect"] = without_effect
    return entry
