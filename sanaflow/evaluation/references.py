"""Real pictures that drawn ones are compared with, decoded from the caches: the files may lie on another machine."""

from dataclasses import dataclass, replace

import torch
from PIL import Image

from sanaflow.cache.index import LatentCache
from sanaflow.cache.reading import LatentReader
from sanaflow.evaluation.prompts import evenly
from sanaflow.evaluation.sampling import spare_memory
from sanaflow.model.loading import default_device, load_vae
from sanaflow.model.reference import ModelReference
from sanaflow.progress import progress_bar

BATCH = 8


@dataclass(frozen=True)
class References:
    """Real pictures as the model's autoencoder gives them back.

    Attributes:
        names: Each one's 'dataset/sha256'.
        pictures: In the same order.
    """

    names: list[str]
    pictures: list[Image.Image]


@torch.inference_mode()
def decode_references(latents: LatentCache, *, model: ModelReference, held_out: bool, limit: int) -> References:
    """At most `limit` pictures that were trained on, or that were held out, evenly picked by their content.

    Regularisation pictures are no example of what is to be learned: they count only where there are no others.

    Raises:
        InputError: The autoencoder can't be loaded, or a shard is missing or damaged.
    """
    entries = latents.entries
    is_held_out = entries["role"] == "eval"
    learned = ~is_held_out & (entries["role"] != "regularisation")
    wanted = is_held_out if held_out else learned if learned.any() else ~is_held_out
    named = entries.assign(name=entries["dataset"] + "/" + entries["id"])
    first = named[wanted & (entries["variant"] == 0)]
    if first.empty:
        return References([], [])
    names = evenly(sorted(set(first["name"])), limit)
    chosen = first[first["name"].isin(names)].drop_duplicates("name").sort_values("name", ignore_index=True)
    device = default_device()
    vae = load_vae(model, torch.float32, device)
    reader = LatentReader(replace(latents, entries=chosen))
    pictures: dict[int, Image.Image] = {}
    with progress_bar(total=len(chosen), desc="decoding real pictures", unit="picture") as progress:
        for (width, height), bucket in chosen.groupby(["width", "height"]):
            spare_memory(vae, (width, height))
            positions = bucket.index.tolist()
            for i in range(0, len(positions), BATCH):
                batch = positions[i : i + BATCH]
                scaled = reader.batch(batch).float().to(device) / vae.config.scaling_factor
                decoded = (vae.decode(scaled).sample * 127.5 + 127.5).clamp(0, 255).round().byte().cpu()
                for position, pixels in zip(batch, decoded.permute(0, 2, 3, 1), strict=True):
                    pictures[position] = Image.fromarray(pixels.numpy())
                progress.update(len(batch))
    return References(chosen["name"].tolist(), [pictures[i] for i in range(len(chosen))])
