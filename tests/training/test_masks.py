"""From a mask beside a picture to the loss."""

import numpy as np
import pytest
import torch
from PIL import Image

from sanaflow.cache.reading import LatentReader
from sanaflow.training.batches import Batches
from sanaflow.training.flow import flow_losses
from sanaflow.training.loss import batch_losses
from tests.training.runs import CPU, short


@pytest.fixture
def masked(encode_sets, tmp_path):
    """Two masked pictures, one of them twice as large as its bucket, and one without a mask."""
    (tmp_path / "masks").mkdir()
    left = np.zeros((64, 64), np.uint8)
    left[:, :32] = 255
    Image.fromarray(left).save(tmp_path / "masks" / "a.png")
    Image.fromarray(left).resize((128, 128), Image.Resampling.NEAREST).save(tmp_path / "masks" / "b.png")
    pictures = {"masked": {"a.png": (64, 64), "b.png": (128, 128)}, "plain": {"c.png": (64, 64)}}
    return encode_sets(
        pictures,
        masked={"conditioning_data": "masks"},
        masks={
            **{"dataset_type": "conditioning", "conditioning_type": "mask"},
        },
    )


def test_a_mask_is_cut_as_its_picture_and_shrunk_to_the_latents(masked):
    latents, _ = masked
    reader, entries = LatentReader(latents), latents.entries
    for position in entries.index[entries["mask_id"] != ""]:
        mask = reader.masks([position])
        assert mask.shape == (1, 1, 8, 8)
        assert torch.equal(mask[0, 0, :, :3], torch.ones(8, 3)) and torch.equal(mask[0, 0, :, 5:], torch.zeros(8, 3))
    [plain] = entries.index[entries["mask_id"] == ""]
    assert reader.masks([plain]) is None
    assert reader.batch([plain]).shape == (1, 16, 8, 8)


def test_masked_and_plain_samples_share_a_batch(masked):
    batches = Batches(*masked, short(train_batch_size=3))
    batch = batches[0]
    assert batch.latents.shape == (3, 16, 8, 8) and batch.loss_mask.shape == (3, 1, 8, 8)
    whole = batch.loss_mask.mean(dim=(1, 2, 3))
    assert sorted(round(value, 1) for value in whole.tolist()) == [0.5, 0.5, 1.0]
    losses = flow_losses(torch.zeros_like(batch.latents), torch.ones_like(batch.latents), mask=batch.loss_mask)
    torch.testing.assert_close(losses, whole)


def test_a_changed_mask_encodes_anew_and_the_statistics_do_not_see_it(masked, encode_sets, tmp_path):
    latents, _ = masked
    assert len(latents.statistics.channels) == 16
    keys = set(latents.entries["key"])
    Image.new("L", (64, 64), 200).save(tmp_path / "masks" / "a.png")
    again, _ = encode_sets(
        {"masked": {"a.png": (64, 64), "b.png": (128, 128)}, "plain": {"c.png": (64, 64)}},
        masked={"conditioning_data": "masks"},
        masks={"dataset_type": "conditioning", "conditioning_type": "mask"},
    )
    assert len(set(again.entries["key"]) - keys) == 1
    assert again.encoded == 1


class Answer(torch.nn.Module):
    """Predicts what it holds."""

    def __init__(self, shape) -> None:
        super().__init__()
        self.answer = torch.nn.Parameter(torch.zeros(shape))

    def forward(self, hidden_states, **_):
        return (self.answer,)


def test_what_is_masked_out_gives_no_gradient(masked):
    settings = short(train_batch_size=3)
    batch = Batches(*masked, settings)[0]
    model = Answer(batch.latents.shape)
    losses, _ = batch_losses(model, batch, number=0, settings=settings, device=CPU)
    losses.sum().backward()
    counts = batch.loss_mask.expand_as(model.answer) > 0
    assert (model.answer.grad[~counts] == 0).all() and (~counts).any()
    assert (model.answer.grad[counts] != 0).all()
