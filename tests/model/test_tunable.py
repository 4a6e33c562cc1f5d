"""Every kind of what is trained: attached, turned off, saved, loaded again."""

import json

import pytest
import torch
from diffusers import SanaPipeline
from safetensors import safe_open

from sanaflow.config import TrainingSettings
from sanaflow.errors import InputError
from sanaflow.model.loading import load_transformer
from sanaflow.model.lycoris import DEFAULT, build_network
from sanaflow.model.tunable import load_tunable, load_tuned
from sanaflow.model.tuned import SanaModel, weights_digest

CPU = torch.device("cpu")
KINDS = {
    "lokr": {},
    "lokr of low rank": {"lycoris_config": {"algo": "lokr", "linear_dim": 2, "linear_alpha": 1, "factor": 4}},
    "lokr, decomposed": {"lycoris_config": {**DEFAULT, "dora_wd": True}},
    **{name: {"lycoris_config": {"algo": name, "linear_dim": 4, "linear_alpha": 2}} for name in ("locon", "loha")},
    **{name: {"lycoris_config": {"algo": name, "linear_dim": 4}} for name in ("full", "ia3", "diag-oft", "glora")},
    "dylora": {"lycoris_config": {"algo": "dylora", "linear_dim": 4, "linear_alpha": 2, "block_size": 2}},
    "lora": {"lora_type": "standard", "lora_rank": 4, "lora_alpha": 2},
    "dora": {"lora_type": "standard", "lora_rank": 4, "lora_alpha": 8, "use_dora": True},
}


def lora(**settings) -> TrainingSettings:
    return TrainingSettings(model_type="lora", **settings)


def predict(module) -> torch.Tensor:
    draw = torch.Generator().manual_seed(0)
    noisy, texts = torch.randn(2, 16, 8, 8, generator=draw), torch.randn(2, 5, 64, generator=draw)
    return module(noisy, encoder_hidden_states=texts, timestep=torch.tensor([300.0, 900.0]), return_dict=False)[0]


def learn(tunable, steps=5, *, bf16=False) -> list[float]:
    optimizer = torch.optim.AdamW(tunable.weights().values(), lr=5e-3)
    losses = []
    for step in range(steps):
        torch.manual_seed(step)
        with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
            loss = (predict(tunable.transformer.train()).float() - 1).square().mean()
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        losses.append(loss.item())
    return losses


def save(tunable, folder, settings, model) -> SanaModel:
    tunable.save(folder / "saved", {name: p.detach().clone() for name, p in tunable.weights().items()})
    target = (folder / "saved").rename(folder / weights_digest(folder / "saved"))
    kind = "full" if settings.model_type == "full" else settings.lora_type
    return SanaModel(target, 1, model.name, model.digest(), {}, {}, kind=kind)


@pytest.mark.parametrize("kind", KINDS)
def test_an_adapter_changes_nothing_at_first_learns_turns_off_and_comes_back(kind, talkative_sana, tmp_path):
    settings = lora(**KINDS[kind])
    base = load_transformer(talkative_sana)
    before = predict(base).detach()
    tunable = load_tunable(talkative_sana, settings, CPU)
    tunable.transformer.eval()
    torch.testing.assert_close(predict(tunable.transformer), before, rtol=1e-5, atol=1e-5)
    losses = learn(tunable)
    assert losses[-1] < losses[0]
    tunable.transformer.eval()
    with torch.no_grad():
        tuned = predict(tunable.transformer)
        with tunable.without_adapter():
            assert torch.equal(predict(tunable.transformer), before), "turned off, it is the base bit by bit"
        assert torch.equal(predict(tunable.transformer), tuned), "and on again what it was"
        assert (tuned - before).abs().max() > 1e-3
        loaded = load_tuned(save(tunable, tmp_path, settings, talkative_sana), talkative_sana)
        torch.testing.assert_close(predict(loaded), tuned, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("kind", ["lokr", "lora"])
def test_an_adapter_goes_wherever_its_transformer_is_moved(kind, talkative_sana, tmp_path):
    settings = lora(**KINDS[kind])
    tunable = load_tunable(talkative_sana, settings, CPU)
    loaded = load_tuned(save(tunable, tmp_path, settings, talkative_sana), talkative_sana)
    assert {p.device.type for p in loaded.to("meta").parameters()} == {"meta"}
    assert any("lora" in name or "lokr" in name for name, _ in loaded.named_parameters())
    assert not any(module.training for module in loaded.modules())


def test_a_full_model_comes_back_with_no_path_in_it(talkative_sana, tmp_path):
    tunable = load_tunable(talkative_sana, TrainingSettings(), CPU)
    assert not tunable.has_adapter
    learn(tunable, steps=2)
    saved = save(tunable, tmp_path, TrainingSettings(), talkative_sana)
    loaded = load_tuned(saved, talkative_sana)
    for (name, one), other in zip(tunable.weights().items(), loaded.parameters(), strict=True):
        assert torch.equal(one, other), name
    assert talkative_sana.name not in (saved.folder / "config.json").read_text()


@pytest.mark.parametrize("kind", ["lora", "dora"])
def test_a_standard_lora_loads_in_sana_pipeline(kind, talkative_sana, tmp_path):
    settings = lora(**KINDS[kind])
    tunable = load_tunable(talkative_sana, settings, CPU)
    learn(tunable)
    saved = save(tunable, tmp_path, settings, talkative_sana)
    pipeline = SanaPipeline.from_pretrained(talkative_sana.name, torch_dtype=torch.float32)
    pipeline.load_lora_weights(saved.folder)
    with torch.no_grad():
        torch.testing.assert_close(
            predict(pipeline.transformer.eval()), predict(tunable.transformer.eval()), rtol=1e-4, atol=1e-5
        )
    with safe_open(saved.folder / "pytorch_lora_weights.safetensors", "pt") as file:
        metadata = json.loads(file.metadata()["lora_adapter_metadata"])
    assert metadata["transformer.lora_alpha"] == KINDS[kind]["lora_alpha"], "or loaders would take it for the rank"


def test_the_default_lokr_is_on_attention_and_all_of_the_feed_forward(talkative_sana):
    transformer = load_transformer(talkative_sana)
    network = build_network(transformer, DEFAULT)
    layers = {adapter.lora_name.removeprefix("lycoris_transformer_blocks_0_") for adapter in network.loras[:11]}
    attention = {f"attn{i}_{part}" for i in (1, 2) for part in ("to_q", "to_k", "to_v", "to_out_0")}
    assert layers == attention | {"ff_conv_inverted", "ff_conv_depth", "ff_conv_point"}
    assert len(network.loras) == 11 * transformer.config.num_layers


def test_simpletuners_feed_forward_is_sanas(talkative_sana, capsys):
    preset = {"target_module": ["Attention", "FeedForward"], "module_algo_map": {"FeedForward": {"factor": 8}}}
    config = {"algo": "lokr", "linear_dim": 10000, "full_matrix": True, "bypass_mode": True, "apply_preset": preset}
    tunable = load_tunable(talkative_sana, lora(lycoris_config=config), CPU)
    assert "'GLUMBConv' stands for it" in capsys.readouterr().out
    assert any("conv_depth" in name for name in tunable.weights())
    losses = learn(tunable)
    assert losses[-1] < losses[0], "SimpleTuner's own example with bypass_mode runs"


def test_one_networks_targets_do_not_leak_into_the_next(talkative_sana):
    few = {"algo": "lora", "linear_dim": 2, "apply_preset": {"target_module": ["GLUMBConv"]}}
    assert len(build_network(load_transformer(talkative_sana), few).loras) == 3 * 4
    assert len(build_network(load_transformer(talkative_sana), DEFAULT).loras) == 11 * 4


@pytest.mark.parametrize("precision", ["int8-bnb", "nf4-bnb"])
@pytest.mark.parametrize("kind", ["lokr", "locon", "loha", "lora"])
@pytest.mark.parametrize("via", ["cpu", "accelerator"])
def test_adapters_learn_over_a_quantised_base(precision, kind, via, talkative_sana):
    settings = lora(base_model_precision=precision, quantize_via=via, **KINDS[kind])
    tunable = load_tunable(talkative_sana, settings, CPU)
    base = load_transformer(talkative_sana)
    plain = base.transformer_blocks[0].attn1.to_q.weight
    layer = tunable.transformer.transformer_blocks[0].attn1.to_q
    quantised = getattr(layer, "base_layer", layer).weight
    assert quantised.dtype in (torch.int8, torch.uint8)
    assert quantised.numel() * quantised.element_size() <= plain.numel()
    with torch.no_grad():
        far = (predict(tunable.transformer) - predict(base)).norm() / predict(base).norm()
    assert far < (0.1 if precision == "int8-bnb" else 0.4), "it is still the model"
    losses = learn(tunable)
    assert losses[-1] < losses[0]
    assert quantised.dtype in (torch.int8, torch.uint8)


def test_a_base_in_8_bits_warns_of_no_cast_at_every_product(talkative_sana, caplog):
    settings = lora(base_model_precision="int8-bnb", **KINDS["lora"])
    learn(load_tunable(talkative_sana, settings, CPU))
    assert "will be cast" not in caplog.text


@pytest.mark.parametrize("kind", ["lokr", "lora"])
def test_a_base_in_bf16_takes_an_adapter_in_fp32(kind, talkative_sana):
    settings = lora(base_model_default_dtype="bf16", **KINDS[kind])
    tunable = load_tunable(talkative_sana, settings, CPU)
    assert {p.dtype for p in tunable.weights().values()} == {torch.float32}
    losses = learn(tunable, bf16=True)
    assert losses[-1] < losses[0]


@pytest.mark.parametrize(
    ("config", "said"),
    [
        ({"algo": "lokr", "factr": 4}, "has no 'factr': did you mean 'factor'"),
        ({"algo": "boft"}, "'boft' doesn't work on Sana's layers"),
        ({"apply_preset": {"target_module": ["Transformer2DModel"]}}, "match nothing in Sana"),
        ({"apply_preset": {"target_modul": []}}, "has no 'target_modul': did you mean 'target_module'"),
        ({"apply_preset": {"module_algo_map": ["Attention"]}}, "module_algo_map should be a mapping"),
        ({"apply_preset": {"module_algo_map": {"Attention": {"facter": 8}}}}, "has no 'facter': did you mean 'factor'"),
        ({"apply_preset": {"module_algo_map": {"Attention": {"algo": "no"}}}}, "algo 'no' doesn't work on Sana"),
        ({"apply_preset": {"exclude_name": ["["]}}, "exclude_name is no pattern"),
    ],
)
def test_a_lycoris_configuration_that_can_not_work_is_named(config, said, talkative_sana):
    with pytest.raises(InputError, match=said):
        load_tunable(talkative_sana, lora(lycoris_config=config), CPU)


def test_an_adapter_that_needs_the_weights_is_refused_over_a_quantised_base(talkative_sana):
    settings = lora(base_model_precision="nf4-bnb", lycoris_config={"algo": "full"})
    with pytest.raises(InputError, match=r"'nf4-bnb' needs an adapter that runs beside the weights"):
        load_tunable(talkative_sana, settings, CPU)


def test_from_scratch_is_random_with_sanas_caption_norm(small_sana):
    settings = TrainingSettings(
        from_scratch=True, transformer_config={"num_layers": 2, "qk_norm": "rms_norm_across_heads"}
    )
    one, other = (load_tunable(small_sana, settings, CPU).transformer for _ in range(2))
    assert len(one.transformer_blocks) == 2 and one.transformer_blocks[0].attn1.norm_q is not None
    assert torch.equal(one.caption_norm.weight, torch.full_like(one.caption_norm.weight, 0.01))
    assert not one.proj_out.weight.any()
    assert torch.equal(one.transformer_blocks[1].attn1.to_q.weight, other.transformer_blocks[1].attn1.to_q.weight)
    seeded = load_tunable(small_sana, settings.model_copy(update={"seed": 1}), CPU).transformer
    assert not torch.equal(one.transformer_blocks[1].attn1.to_q.weight, seeded.transformer_blocks[1].attn1.to_q.weight)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"num_layer": 2}, "did you mean 'num_layers'"),
        ({"num_layers": "two"}, "doesn't fit"),
        ({"num_attention_heads": 3}, "doesn't fit"),
        ({"in_channels": 4}, "'in_channels' is the autoencoder's"),
    ],
)
def test_a_configuration_from_scratch_that_does_not_fit_is_named(changes, said, small_sana):
    with pytest.raises(InputError, match=said):
        load_tunable(small_sana, TrainingSettings(from_scratch=True, transformer_config=changes), CPU)


def test_a_lora_may_be_on_some_layers_only(talkative_sana):
    tunable = load_tunable(talkative_sana, lora(lora_type="standard", lora_target_modules=["to_q", "to_k"]), CPU)
    assert {name.split(".lora_")[0].rsplit(".", 1)[-1] for name in tunable.weights()} == {"to_q", "to_k"}


@pytest.mark.parametrize("target", ["to_x", "conv_depth"])
def test_a_layer_that_can_not_have_a_lora_is_one_line(target, talkative_sana):
    with pytest.raises(InputError, match=r"lora_target_modules doesn't fit"):
        load_tunable(talkative_sana, lora(lora_type="standard", lora_target_modules=[target]), CPU)


@pytest.mark.parametrize("kind", ["full", "lokr", "lokr, decomposed", "loha", "lora", "dora"])
def test_what_was_saved_can_be_gone_on_from(kind, talkative_sana, tmp_path):
    settings = TrainingSettings() if kind == "full" else lora(**KINDS[kind])
    first, second = (load_tunable(talkative_sana, settings, CPU) for _ in range(2))
    learn(first, steps=2)
    second.load(save(first, tmp_path, settings, talkative_sana).folder)
    for (name, one), other in zip(first.weights().items(), second.weights().values(), strict=True):
        assert torch.equal(one, other), name
    assert learn(second, steps=2)[0] < learn(load_tunable(talkative_sana, settings, CPU), steps=1)[0]


@pytest.mark.parametrize(
    ("made", "wanted"), [("lora", {"lora_type": "standard", "lora_rank": 8}), ("dylora", KINDS["dylora"])]
)
def test_weights_of_another_shape_are_refused_in_one_line(made, wanted, talkative_sana, tmp_path):
    settings = lora(**KINDS[made])
    saved = save(load_tunable(talkative_sana, settings, CPU), tmp_path, settings, talkative_sana)
    with pytest.raises(InputError, match=r"training\.start_from: the") as caught:
        load_tunable(talkative_sana, lora(**wanted), CPU).load(saved.folder)
    assert "\n" not in caught.value.message
