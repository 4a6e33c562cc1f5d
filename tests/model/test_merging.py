"""An adapter in the weights answers as the adapter beside them."""

import pytest
import torch

from sanaflow.config import TrainingSettings
from sanaflow.model.merging import load_merged
from sanaflow.model.tunable import load_tunable, load_tuned
from sanaflow.model.tuned import SanaModel, weights_digest

ALGORITHMS = {
    "lora": {"lora_type": "standard"},
    "dora": {"lora_type": "standard", "use_dora": True},
    "default lokr": {},
    **{
        name: {"lycoris_config": {"algo": name, "linear_dim": 4, "linear_alpha": 2, "conv_dim": 4, "conv_alpha": 2}}
        for name in ("locon", "loha", "lokr", "full", "ia3", "diag-oft", "glora")
    },
    "dylora": {"lycoris_config": {"algo": "dylora", "linear_dim": 4, "block_size": 2}},
    **{
        f"weight-decomposed {name}": {"lycoris_config": {"algo": name, "linear_dim": 4, "dora_wd": True}}
        for name in ("locon", "loha", "lokr")
    },
    **{
        f"{name} with a scalar": {"lycoris_config": {"algo": name, "linear_dim": 4, "use_scalar": True}}
        for name in ("locon", "loha", "lokr")
    },
}


@pytest.mark.parametrize("settings", ALGORITHMS.values(), ids=ALGORITHMS)
def test_it_answers_as_the_adapter_that_was_trained(settings, talkative_sana, tmp_path):
    tunable = load_tunable(talkative_sana, TrainingSettings(model_type="lora", **settings), torch.device("cpu"))
    torch.manual_seed(0)
    with torch.no_grad():
        for weight in tunable.weights().values():
            weight.add_(0.05 * torch.randn_like(weight))
    tunable.save(tmp_path / "made", {})
    folder = (tmp_path / "made").rename(tmp_path / weights_digest(tmp_path / "made"))
    kind = settings.get("lora_type", "lycoris")
    tuned = SanaModel(folder, 5, talkative_sana.name, talkative_sana.digest(), {}, {}, kind=kind)
    noisy, texts = torch.randn(1, 16, 8, 8), torch.randn(1, 5, 64)
    asked = {"encoder_hidden_states": texts, "timestep": torch.tensor([500.0]), "return_dict": False}
    with torch.no_grad():
        expected = load_tuned(tuned, talkative_sana)(noisy, **asked)[0]
        merged = load_merged(tuned, talkative_sana)
        answer = merged(noisy, **asked)[0]
        with tunable.without_adapter():
            base = tunable.transformer.eval()(noisy, **asked)[0]
    assert (expected - base).abs().max() > 0.01, "or else it would show nothing"
    torch.testing.assert_close(answer, expected, rtol=1e-3, atol=1e-4)
    assert not any("lora" in name or "lycoris" in name for name in merged.state_dict())
