"""One entry of a run's `datasets:`: where pictures are, their words, their crops, how often they are shown.

An entry of SimpleTuner's multidatabackend.json is a valid entry: the names are its names. `docs/datasets.md` says
where the meaning differs. Keys of SimpleTuner's that have nothing to act on here are named in the log, never dropped in
silence.
"""

from collections.abc import Mapping
from typing import Any, Literal
from urllib.parse import urlsplit

from pydantic import Field, NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveInt, model_validator

from sanaflow.dataset_parts import AspectWeight, CaptionShuffle, MetadataTable
from sanaflow.section import Section
from sanaflow.simpletuner.entries import WITHOUT_EFFECT, our_entry


class DatasetSettings(Section):
    """One set of pictures: an entry of SimpleTuner's multidatabackend.json."""

    id: str = Field(min_length=1)
    """A name of its own for each entry, shown wherever its pictures are."""
    type: Literal["local", "huggingface", "aws", "csv"] = "local"
    """Where the pictures are: a folder, a dataset repository on the hub, S3, or a table of urls or paths."""
    dataset_type: Literal["image", "eval", "conditioning", "text_embeds"] = "image"
    """eval: held out, never trained on. conditioning: masks. text_embeds: only its `caption_filter_list` counts."""
    disabled: bool = False
    """Leave this entry out; nothing else in it is looked at."""
    strict: bool = False
    """Refuse the run if a picture has no caption or can't be read, instead of leaving it out."""

    # Where
    instance_data_dir: str | None = None
    """local: folder of pictures, searched recursively. csv: the folder that its paths must lie in (null: the table's).
    Nothing is ever written into it."""
    dataset_name: str | None = None
    """huggingface: the repository, `owner/name`."""
    revision: str | None = None
    """huggingface: branch, tag or commit. Whatever it is, a run uses the commit it stands for when it starts."""
    split: str = "train"
    """huggingface: which Parquet files are read; not used for a repository of plain picture files."""
    image_column: str = "image"
    """huggingface: column of pictures in the Parquet files."""
    caption_column: str | None = None
    """huggingface: column of captions under `caption_strategy: huggingface`; null: `caption`, `text` or `prompt`."""
    aws_bucket_name: str | None = None
    """aws: the bucket."""
    aws_data_prefix: str = ""
    """aws: only what lies under this prefix."""
    aws_endpoint_url: str | None = None
    """Any S3-compatible store; null for AWS. Keys come from the environment or ~/.aws, never from here."""
    aws_region_name: str | None = None
    """aws: the region; null: that of the environment."""
    csv_file: str | None = None
    """csv: the table."""
    csv_url_column: str = "url"
    """csv: the column of http(s) urls, or of paths relative to `instance_data_dir`."""
    csv_caption_column: str = "caption"
    """csv: the column of captions under `caption_strategy: csv`."""

    # Words
    caption_strategy: Literal["filename", "textfile", "instanceprompt", "parquet", "csv", "huggingface"] = "filename"
    """filename: the file's name, '_' read as space. textfile: NAME.txt beside NAME.png, one caption a line.
    instanceprompt: `instance_prompt`. parquet: the table `parquet`. csv, huggingface: the source's own column."""
    instance_prompt: str | tuple[str, ...] | None = None
    """The caption, or captions, of every picture under `caption_strategy: instanceprompt`."""
    prepend_instance_prompt: bool = False
    """Put `instance_prompt` and a space before every caption."""
    only_instance_prompt: bool = False
    """Use `instance_prompt` alone, whatever the strategy."""
    disable_multiline_split: bool = False
    """textfile: the whole file is one caption."""
    caption_shuffle: CaptionShuffle | None = None
    """Adds captions with their parts in another order."""
    caption_filter_list: str | tuple[str, ...] | None = None
    """Taken out of every caption: words, regular expressions, `s/search/replace/`; or a .txt or .json file of them."""
    metadata_backend: Literal["discovery", "json", "filesystem", "parquet", "huggingface"] = "discovery"
    """Accepted, not used: every run looks at the files themselves, and at `parquet` where it is given."""
    parquet: MetadataTable | None = None
    """The table that `caption_strategy: parquet` reads."""
    default: bool = False
    """text_embeds: its list is that of sets that name none; else the first entry's is."""
    text_embeds: str | None = None
    """The id of a `dataset_type: text_embeds` entry, whose `caption_filter_list` is used."""

    # Shape
    buckets: Literal["sana", "aligned"] | None = None
    """sana: the nearest of Sana's own sizes. aligned: SimpleTuner's arithmetic, sides in steps of
    `aspect_bucket_alignment`. null: aligned for an entry that has SimpleTuner's `crop`, `resolution_type` or
    `maximum_image_size`, else sana."""
    resolution: float = Field(default=1024, gt=0, le=16_384)
    """In `resolution_type`'s unit. Under `buckets: sana` the edge in pixels of a square of about the buckets' area."""
    resolution_type: Literal["pixel", "area", "pixel_area"] | None = None
    """pixel: the shorter edge. area: megapixels. pixel_area (as null): the edge of a square of that area."""
    crop: bool | None = None
    """Whether `crop_aspect` is followed; false keeps every picture's own shape. null: yes under `buckets: sana`."""
    crop_aspect: Literal["preserve", "square", "closest", "random"] | None = None
    """preserve: the picture's own shape. square: a square. closest, random: one of `crop_aspect_buckets`.
    null: preserve under `buckets: sana`, SimpleTuner's square where `crop` is true."""
    crop_aspect_buckets: tuple[PositiveFloat | AspectWeight, ...] = ()
    """Width / height of each; with weights for `random`."""
    crop_style: Literal["center", "centre", "corner", "random", "face"] = "center"
    """Which part is kept: the middle, the upper left, any, or that around the largest face (else the middle)."""
    random_crops: PositiveInt = 1
    """random: how many crops of each picture are planned and encoded; its n-th showing takes crop n modulo this."""
    minimum_image_size: PositiveFloat | None = None
    """Pictures below this are left out; in the unit of `resolution`."""
    maximum_image_size: PositiveFloat | None = None
    """With `crop: true`: pictures above this are first resized to `target_downsample_size`, then cropped."""
    target_downsample_size: PositiveFloat | None = None
    """See `maximum_image_size`; in the unit of `resolution`."""
    max_upscale_threshold: NonNegativeFloat | None = None
    """Pictures that would have to be enlarged by more than this share (0.2: by a fifth) are left out."""
    minimum_aspect_ratio: PositiveFloat | None = None
    """As `maximum_aspect_ratio`, from below."""
    maximum_aspect_ratio: PositiveFloat | None = None
    """Buckets narrower or wider than these (width / height) are left out."""
    aspect_bucket_alignment: PositiveInt = 64
    """Sides are multiples of so many pixels under `buckets: aligned`."""
    aspect_bucket_rounding: int = Field(default=2, ge=1, le=9)
    """Decimals of the aspect ratio under `buckets: aligned`."""

    # How often
    repeats: NonNegativeInt = 0
    """Extra passes over this set in an epoch; 0 shows each picture once."""
    probability: float = Field(default=1, ge=0, le=1)
    """Share of this set that an epoch shows; every picture has its turn over the epochs."""
    max_num_samples: PositiveInt | None = None
    """Use so many pictures, picked by chance that depends on the set's id and the files' names only."""
    is_regularisation_data: bool = False
    """Pictures that are to go on looking as they did; see `docs/training.md`."""

    # Masks
    conditioning_type: Literal["mask"] | None = None
    """Of a `dataset_type: conditioning` entry: masks are all there is."""
    conditioning_data: str | tuple[str, ...] | None = None
    """The id of the `dataset_type: conditioning` entry that holds this set's masks, under the same names."""

    without_effect: tuple[str, ...] = ()
    """SimpleTuner's keys that the entry had and that change nothing here."""

    @property
    def notes(self) -> list[str]:
        """What is to be said of the entry's keys."""
        return [f"'{key}' has no effect here: {WITHOUT_EFFECT[key]}" for key in self.without_effect]

    @property
    def prompts(self) -> tuple[str, ...]:
        """`instance_prompt` as several."""
        return (self.instance_prompt,) if isinstance(self.instance_prompt, str) else self.instance_prompt or ()

    @property
    def masks(self) -> tuple[str, ...]:
        """The ids that `conditioning_data` names."""
        named = self.conditioning_data or ()
        return (named,) if isinstance(named, str) else named

    @property
    def unit(self) -> str:
        """What sizes are in: pixel (of the shorter edge), pixel_area (of the edge of a square), area (megapixels)."""
        return (self.resolution_type or "pixel_area") if self.is_aligned else "pixel_area"

    @property
    def trained(self) -> bool:
        """Whether its pictures are trained on."""
        return not self.disabled and self.dataset_type == "image"

    @property
    def role(self) -> str:
        """What its pictures are for: train, regularisation, eval or mask."""
        if self.dataset_type == "image":
            return "regularisation" if self.is_regularisation_data else "train"
        return {"eval": "eval", "conditioning": "mask"}.get(self.dataset_type, "none")

    @property
    def is_aligned(self) -> bool:
        """Whether SimpleTuner's bucket arithmetic is used."""
        return self.buckets == "aligned" or (
            self.buckets is None
            and (self.crop is not None or self.resolution_type is not None or self.maximum_image_size is not None)
        )

    @property
    def shape(self) -> str:
        """What decides the crop's aspect ratio: preserve, square, closest or random."""
        if self.is_aligned:
            return (self.crop_aspect or "square") if self.crop else "preserve"
        return "preserve" if self.crop is False else self.crop_aspect or ("square" if self.crop else "preserve")

    @property
    def variants(self) -> int:
        """How many crops of each picture are planned."""
        return self.random_crops if "random" in (self.crop_style, self.shape) else 1

    @property
    def key(self) -> str:
        """The entry and what of it says where its pictures are, for error messages."""
        name = {
            "local": "instance_data_dir",
            "huggingface": "dataset_name",
            "aws": "aws_bucket_name",
            "csv": "csv_file",
        }[self.type]
        return f"dataset '{self.id}': {name} '{getattr(self, name)}'"

    @model_validator(mode="before")
    @classmethod
    def _take_simpletuners_entry(cls, entry: Any) -> Any:
        if not isinstance(entry, Mapping):
            return entry
        return {k: v for k, v in our_entry(entry).items() if v is not None or k not in cls.model_fields}

    @model_validator(mode="after")
    def _has_its_source(self) -> "DatasetSettings":
        if self.dataset_type == "text_embeds" or self.disabled:
            return self
        needed = {"local": "instance_data_dir", "huggingface": "dataset_name", "aws": "aws_bucket_name"}
        name = needed.get(self.type, "csv_file")
        if not getattr(self, name):
            raise ValueError(f"'type: {self.type}' needs '{name}': add it")
        if self.aws_endpoint_url and urlsplit(self.aws_endpoint_url).username:
            raise ValueError("'aws_endpoint_url' holds a user's name: a secret belongs into the environment")
        return self

    @model_validator(mode="after")
    def _has_its_words(self) -> "DatasetSettings":
        strategy = self.caption_strategy
        for key, wanted in (
            ("caption_strategy 'instanceprompt'", strategy == "instanceprompt"),
            ("'prepend_instance_prompt'", self.prepend_instance_prompt),
            ("'only_instance_prompt'", self.only_instance_prompt),
        ):
            if wanted and not (self.prompts and all(p.strip() for p in self.prompts)):
                raise ValueError(f"{key} needs 'instance_prompt': add the words every picture gets")
        if strategy in ("csv", "huggingface") and self.type != strategy:
            raise ValueError(f"caption_strategy '{strategy}' needs 'type: {strategy}' (it is {self.type})")
        if strategy == "parquet" and self.parquet is None:
            raise ValueError("caption_strategy 'parquet' needs 'parquet': say at least its 'path'")
        return self

    @model_validator(mode="after")
    def _has_a_shape(self) -> "DatasetSettings":
        for key in ("resolution", "minimum_image_size", "maximum_image_size", "target_downsample_size"):
            size = getattr(self, key)
            if size is None:
                continue
            if self.unit == "area" and size > 20:
                raise ValueError(f"'{key}' is in megapixels under resolution_type 'area', and {size:g} is more than 20")
            if self.unit != "area" and size != int(size):
                raise ValueError(
                    f"'{key}' is in pixels and must be a whole number (for megapixels: resolution_type 'area')"
                )
        if self.maximum_image_size and not self.target_downsample_size:
            raise ValueError("'maximum_image_size' needs 'target_downsample_size': set both or neither")
        if self.maximum_image_size and self.maximum_image_size < (self.minimum_image_size or 0):
            raise ValueError("'maximum_image_size' is below 'minimum_image_size': no picture would be left")
        if not self.is_aligned and self.maximum_image_size:
            raise ValueError("'maximum_image_size' is for 'buckets: aligned' only: set that, or remove it")
        if self.shape in ("closest", "random") and not self.crop_aspect_buckets:
            raise ValueError(
                f"crop_aspect '{self.shape}' needs 'crop_aspect_buckets': list the aspect ratios to choose from"
            )
        weights = [b.weight if isinstance(b, AspectWeight) else 1.0 for b in self.crop_aspect_buckets]
        if self.shape == "random" and not sum(weights):
            raise ValueError("the weights of 'crop_aspect_buckets' are all 0: one must be more")
        low, high = self.minimum_aspect_ratio, self.maximum_aspect_ratio
        if low and high and low > high:
            raise ValueError("'minimum_aspect_ratio' is above 'maximum_aspect_ratio': no picture would be left")
        if self.random_crops > 1 and self.variants == 1:
            raise ValueError("'random_crops' needs crop_style or crop_aspect 'random': set one, or remove it")
        return self

    @model_validator(mode="after")
    def _masks_belong_together(self) -> "DatasetSettings":
        if self.dataset_type == "conditioning" and self.conditioning_type is None:
            raise ValueError("'dataset_type: conditioning' needs 'conditioning_type': mask is the one there is")
        return self


Datasets = tuple[DatasetSettings, ...]


def check_datasets(datasets: tuple[DatasetSettings, ...]) -> tuple[DatasetSettings, ...]:
    """Check that entries fit together.

    Raises:
        ValueError: Two have one id, one names another that isn't there, or none is left to train on.
    """
    ids = [d.id for d in datasets]
    if twice := sorted({i for i in ids if ids.count(i) > 1}):
        raise ValueError(f"the id '{twice[0]}' is used more than once: give each dataset its own")
    by_id = {d.id: d for d in datasets}
    for dataset in datasets:
        if len(dataset.masks) > 1:
            raise ValueError(f"'conditioning_data' of '{dataset.id}' names several sets of masks: one is possible")
        for key, other, kind in [
            *(("conditioning_data", i, "conditioning") for i in dataset.masks),
            *(("text_embeds", i, "text_embeds") for i in [dataset.text_embeds] if i),
        ]:
            if other not in by_id or by_id[other].dataset_type != kind or by_id[other].disabled:
                raise ValueError(
                    f"'{key}' of '{dataset.id}' is '{other}', which is no enabled 'dataset_type: {kind}' entry"
                )
    if not any(d.trained for d in datasets):
        raise ValueError("there is no dataset to train on: at least one must be enabled and of 'dataset_type: image'")
    return datasets
