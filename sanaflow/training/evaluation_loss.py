"""The loss on held-out pictures: the same noise and noise levels each time, whatever the run's settings.

So the curves of two runs on the same sets can be laid over each other.
"""

from dataclasses import replace
from typing import Any

import torch

from sanaflow.cache.index import CaptionCache, LatentCache
from sanaflow.cache.reading import CaptionReader, LatentReader
from sanaflow.config import TrainingSettings, ValidationSettings
from sanaflow.progress import progress_bar
from sanaflow.training.flow import add_noise, draw_sigmas, flow_losses, timesteps
from sanaflow.training.randomness import generator

SANA = TrainingSettings()
"""Noise levels are those that Sana itself was trained with: the run's own shift would make its curve incomparable."""


class EvaluationLoss:
    """Held-out pictures and what they are asked at."""

    def __init__(
        self, latents: LatentCache, captions: CaptionCache, settings: ValidationSettings, *, batch_size: int
    ) -> None:
        """Pick the first pictures of each `dataset_type: eval` set, by their content."""
        held_out = latents.entries[(latents.entries["role"] == "eval") & (latents.entries["variant"] == 0)]
        held_out = held_out.sort_values(["dataset", "id"]).groupby("dataset").head(settings.num_eval_images)
        self._entries = held_out.reset_index(drop=True)
        self.datasets = sorted(set(self._entries["dataset"]))
        if self.datasets:
            self._latents = LatentReader(replace(latents, entries=self._entries))
            self._captions = CaptionReader(captions)
            self._keys = captions.captions.groupby(["dataset", "id"])["key"].min().to_dict()
        parts = (torch.arange(settings.eval_timesteps, dtype=torch.float64) + 0.5) / settings.eval_timesteps
        self._sigmas = draw_sigmas(parts, tokens=1, settings=SANA)
        self._batch_size = batch_size

    @torch.no_grad()
    def measure(self, model: torch.nn.Module, device: torch.device) -> list[dict[str, Any]]:
        """One row a (dataset, sigma) with the mean loss over its pictures."""
        training = model.training
        model.eval()
        rows = []
        with progress_bar(total=len(self._entries), desc="held-out loss", unit="picture", leave=False) as progress:
            for dataset, entries in self._entries.groupby("dataset"):
                losses = torch.zeros(len(self._sigmas))
                for _, bucket in entries.groupby(["width", "height"]):
                    positions = bucket.index.tolist()
                    for i in range(0, len(positions), self._batch_size):
                        some = positions[i : i + self._batch_size]
                        losses += self._sums(model, some, device)
                        progress.update(len(some))
                rows += [
                    {"dataset": dataset, "sigma": float(sigma), "loss": float(loss)}
                    for sigma, loss in zip(self._sigmas, losses / len(entries), strict=True)
                ]
        model.train(training)
        return rows

    def _sums(self, model: torch.nn.Module, positions: list[int], device: torch.device) -> torch.Tensor:
        """Losses of these pictures summed, (sigmas,)."""
        pictures = [self._entries.loc[position] for position in positions]
        latents = self._latents.batch(positions).float()
        keys = [self._keys[picture["dataset"], picture["id"]] for picture in pictures]
        embeddings, mask = (tensor.to(device) for tensor in self._captions.batch(keys))
        sums = torch.zeros(len(self._sigmas))
        for i, sigma in enumerate(self._sigmas):
            drawn = [
                torch.randn(one.shape, generator=generator(0, 0, i, f"evaluation of {picture['id']}"))
                for one, picture in zip(latents, pictures, strict=True)
            ]
            noise, sigmas = torch.stack(drawn), sigma.repeat(len(positions))
            predicted = model(
                add_noise(latents, noise, sigmas).to(device),
                encoder_hidden_states=embeddings.float(),
                encoder_attention_mask=mask,
                timestep=timesteps(sigmas).to(device),
                return_dict=False,
            )[0]
            sums[i] = flow_losses(predicted, (noise - latents).to(device)).sum().cpu()
        return sums
