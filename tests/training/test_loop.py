import math

import pytest
import torch
from safetensors import SafetensorError
from safetensors.torch import save_file

from sanaflow.config import TrainingSettings, ValidationSettings
from sanaflow.errors import InputError
from sanaflow.evaluation.sampling import validation_drawer
from sanaflow.model.loading import load_transformer
from sanaflow.model.tunable import load_tunable
from sanaflow.training.batches import Batch, Batches
from sanaflow.training.loss import batch_losses
from sanaflow.training.randomness import generator
from tests.training.runs import CPU, short, train_in_place, weights_of


def test_training_learns_and_logs_every_step(run, small_sana):
    tuned, log = run(max_train_steps=60, lr_scheduler="constant", lr_warmup_steps=0)
    assert log.steps["step"].tolist() == list(range(1, 61))
    assert log.steps["loss"].tail(10).mean() < 0.8 * log.steps["loss"].head(10).mean()
    assert (log.steps["peak_memory_bytes"] > 0).all()
    assert tuned.base_digest == small_sana.digest()


def test_the_same_settings_give_the_same_weights(run):
    one, other, different = run("one")[0], run("other")[0], run("three", seed=1)[0]
    assert one.digest() == other.digest() != different.digest()


def test_padding_and_trimming_captions_does_not_change_the_loss(caches, talkative_sana):
    transformer = load_transformer(talkative_sana)
    trimmed = Batches(*caches, short())[0]
    # What is masked may be anything.
    embeddings = torch.nn.functional.pad(trimmed.embeddings, (0, 0, 0, 250), value=3.0)
    padded = Batch(trimmed.latents, embeddings, torch.nn.functional.pad(trimmed.mask, (0, 250)))
    with torch.no_grad():
        one, _ = batch_losses(transformer, trimmed, number=0, settings=short(), device=CPU)
        other, _ = batch_losses(transformer, padded, number=0, settings=short(), device=CPU)
    torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-6)


class Spy(torch.nn.Module):
    """Stands in for the transformer: keeps what it is given and predicts zeros."""

    def forward(self, hidden_states, **given):
        self.noisy, self.given = hidden_states, given
        return (torch.zeros_like(hidden_states),)


@pytest.mark.parametrize(
    ("settings", "shift"),
    [
        ({}, 3.0),
        ({"flow_schedule_shift": 1.5}, 1.5),
        ({"flow_schedule_auto_shift": True}, math.exp(0.5 + (64 - 256) * 0.65 / 3840)),
    ],
)
def test_the_model_is_given_what_flow_matching_asks_for(settings, shift):
    settings = TrainingSettings(seed=5, **settings)
    latents, embeddings = torch.randn(3, 16, 8, 8), torch.randn(3, 7, 64)
    batch = Batch(latents, embeddings, torch.tensor([[1] * 7, [1] * 3 + [0] * 4, [1] + [0] * 6]))
    spy = Spy()
    losses, sigmas = batch_losses(spy, batch, number=11, settings=settings, device=CPU)

    uniform = torch.rand(3, generator=generator(5, 0, 11, "sigmas"), dtype=torch.float64)
    plain = torch.distributions.Normal(0, 1).icdf(uniform).sigmoid()
    expected = (shift * plain / (1 + (shift - 1) * plain)).float()
    noise = torch.randn(3, 16, 8, 8, generator=generator(5, 0, 11, "noise"))
    torch.testing.assert_close(sigmas, expected)
    torch.testing.assert_close(spy.given["timestep"], 1000 * expected)
    for i in range(3):
        torch.testing.assert_close(spy.noisy[i], (1 - expected[i]) * latents[i] + expected[i] * noise[i])
        torch.testing.assert_close(losses[i], ((noise[i] - latents[i]) ** 2).mean())
    assert torch.equal(spy.given["encoder_hidden_states"], embeddings)
    assert torch.equal(spy.given["encoder_attention_mask"], batch.mask)


def test_input_perturbation_is_seen_and_not_predicted():
    batch = Batch(torch.zeros(2, 16, 8, 8), torch.zeros(2, 3, 64), torch.ones(2, 3, dtype=torch.long))
    plain, perturbed = Spy(), Spy()
    one, sigmas = batch_losses(plain, batch, number=0, settings=TrainingSettings(), device=CPU)
    other, _ = batch_losses(perturbed, batch, number=0, settings=TrainingSettings(input_perturbation=0.5), device=CPU)
    assert torch.equal(one, other), "the target is the same"
    added = (perturbed.noisy - plain.noisy) / sigmas[:, None, None, None]
    assert added.std().item() == pytest.approx(0.5, rel=0.05)


def test_the_loop_equals_plain_torch_with_accumulation_clipping_and_decay(caches, talkative_sana, tmp_path):
    settings = short(max_train_steps=3, max_grad_norm=0.5, adam_weight_decay=0.3)
    batches = Batches(*caches, settings)
    ours = load_tunable(talkative_sana, settings, CPU)
    train_in_place(ours, batches, settings, tmp_path)

    plain = load_transformer(talkative_sana).requires_grad_(True).train()
    adam = {"betas": (0.9, 0.999), "eps": 1e-8, "weight_decay": 0.3, "fused": True}
    optimizer = torch.optim.AdamW(plain.parameters(), lr=1e-3, **adam)
    for step in range(3):
        rate = step / 2 if step < 2 else 0.5 * (1 + math.cos(math.pi * (step - 2) / (3 - 2)))
        optimizer.param_groups[0]["lr"] = 1e-3 * rate
        for number in (2 * step, 2 * step + 1):
            losses, _ = batch_losses(plain, batches[number], number=number, settings=settings, device=CPU)
            (losses.mean() / 2).backward()
        torch.nn.utils.clip_grad_norm_(plain.parameters(), 0.5)
        optimizer.step()
        optimizer.zero_grad()
    for (name, one), other in zip(ours.transformer.named_parameters(), plain.parameters(), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-7, msg=name)


def test_gradients_are_clipped_by_value_where_asked(caches, talkative_sana, tmp_path):
    settings = short(max_train_steps=1, lr_warmup_steps=0, grad_clip_method="value", max_grad_norm=1e-3)
    tunable = load_tunable(talkative_sana, settings, CPU)
    seen = []
    for parameter in tunable.weights().values():
        parameter.register_post_accumulate_grad_hook(lambda p: seen.append(p))
    before = {name: p.detach().clone() for name, p in tunable.weights().items()}
    log = train_in_place(
        tunable, Batches(*caches, settings), settings.model_copy(update={"optimizer": "torch-sgd"}), tmp_path
    )
    most = max((p - before[name]).abs().max().item() for name, p in tunable.weights().items())
    assert most == pytest.approx(1e-3 * 1e-3, rel=0.05), "learning rate times the clipped value"
    assert log.steps["grad_norm"].item() > 1e-2, "the norm is that before clipping"


def test_the_model_trains_in_training_mode_after_every_drawing(caches, small_sana, tmp_path):
    modes, drawn = [], []
    tunable = load_tunable(small_sana, short(), CPU)
    tunable.transformer.register_forward_pre_hook(lambda module, _: modes.append(module.training))

    def draw(transformer, step, weights):
        transformer.eval()
        drawn.append((step, weights))
        return {}

    validation = ValidationSettings(validation_prompt="a", validation_steps=2)
    train_in_place(tunable, Batches(*caches, short()), short(), tmp_path, draw=draw, validation=validation)
    assert modes == [True] * 12
    assert drawn == [(step, "raw") for step in (0, 2, 4, 6)]


def test_drawing_by_epochs_and_not_at_the_start(caches, small_sana, tmp_path):
    drawn = []
    settings = short(max_train_steps=8, gradient_accumulation_steps=1)
    batches = Batches(*caches, settings)  # 4 pictures of one size and 3 of another: 4 batches an epoch
    validation = ValidationSettings(
        validation_prompt="a", validation_steps=1000, validation_epoch_interval=0.5, validation_on_startup=False
    )
    draw = lambda transformer, step, weights: drawn.append(step) or {}  # noqa: E731
    tunable = load_tunable(small_sana, settings, CPU)
    train_in_place(tunable, batches, settings, tmp_path, draw=draw, validation=validation)
    assert drawn == [2, 4, 6, 8]


def test_epochs_instead_of_steps(run):
    _, log = run(num_train_epochs=3)
    assert len(log.steps) == 6, "three epochs of 4 batches, 2 batches a step"


def test_files_names_decide_nothing(encode, encode_texts, make_pictures, run):
    folder = make_pictures({f"{i}.png": (64, 64) for i in range(5)})
    prompt = {"caption_strategy": "instanceprompt", "instance_prompt": "a ball"}
    table, _, latents = encode(folder, **prompt)
    before, _ = run("before", on=(latents, encode_texts(table)))
    (folder / "0.png").rename(folder / "z.png")
    table, _, latents = encode(folder, **prompt)
    after, _ = run("after", on=(latents, encode_texts(table)))
    assert before.digest() == after.digest()


def test_a_full_disk_ends_the_run_and_keeps_the_earlier_checkpoint(run, tmp_path, monkeypatch):
    def full_at_step_4(tensors, path, **options):
        if "00000004" in str(path):
            raise SafetensorError("Error while serializing: I/O error: No space left on device (os error 28)")
        return save_file(tensors, path, **options)

    monkeypatch.setattr("sanaflow.training.checkpoints.save_file", full_at_step_4)
    with pytest.raises(InputError, match=r"can't write a checkpoint.*No space left.*free some space"):
        run("full")
    assert sorted(p.name for p in (tmp_path / "full/run/checkpoints").iterdir()) == ["step-00000000", "step-00000002"]


@pytest.mark.parametrize("interval", [None, 2, 3])
def test_gradient_checkpointing_changes_memory_not_the_result(run, interval):
    plain, _ = run("plain")
    again, _ = run("again", gradient_checkpointing=True, gradient_checkpointing_interval=interval)
    for name, value in weights_of(plain).items():
        torch.testing.assert_close(weights_of(again)[name], value, rtol=1e-4, atol=1e-5)


def test_one_process_may_train_in_one_precision_after_the_other(run):
    for precision in ("bf16", "no"):
        tuned, log = run(precision, mixed_precision=precision, max_train_steps=2, lr_warmup_steps=0)
        assert log.steps["loss"].notna().all()
        assert {value.dtype for value in weights_of(tuned).values()} == {torch.float32}


def test_fp16_without_a_gpu_is_refused(run):
    with pytest.raises(InputError, match="'fp16' needs a GPU"):
        run(mixed_precision="fp16")


def test_weights_in_bf16_learn_with_kahan_summation(run):
    tuned, log = run(
        **{"base_model_default_dtype": "bf16", "mixed_precision": "bf16", "optimizer": "optimi-adamw"},
        **{"max_train_steps": 60, "lr_scheduler": "constant", "lr_warmup_steps": 0},
    )
    assert {value.dtype for value in weights_of(tuned).values()} == {torch.bfloat16}
    assert log.steps["loss"].tail(10).mean() < 0.8 * log.steps["loss"].head(10).mean()


def test_compiled_blocks_train_as_plain_ones(run):
    plain, _ = run("plain", max_train_steps=2, lr_warmup_steps=0)
    compiled, _ = run("compiled", max_train_steps=2, lr_warmup_steps=0, torch_compile=True)
    for name, value in weights_of(plain).items():
        torch.testing.assert_close(weights_of(compiled)[name], value, rtol=1e-3, atol=1e-4)


def test_regularisation_samples_are_to_stay_as_they_were(caches, talkative_sana):
    settings = short(model_type="lora")
    tunable = load_tunable(talkative_sana, settings, CPU)
    batch = Batches(*caches, settings)[0]
    prior = Batch(batch.latents, batch.embeddings, batch.mask, regularisation=torch.tensor([True, False]))
    with torch.no_grad():
        losses, _ = batch_losses(tunable.transformer, prior, number=0, settings=settings, device=CPU, tunable=tunable)
        plain, _ = batch_losses(tunable.transformer, batch, number=0, settings=settings, device=CPU, tunable=tunable)
    assert losses[0] < 1e-9, "a new adapter says what the base says"
    assert losses[1] == plain[1] > 0
    with torch.no_grad():
        for parameter in tunable.weights().values():
            parameter.add_(0.05)
        moved, _ = batch_losses(tunable.transformer, prior, number=0, settings=settings, device=CPU, tunable=tunable)
    assert moved[0] > 0


def test_the_look_at_the_base_takes_no_gradients_away(caches, talkative_sana):
    settings = short(model_type="lora", lycoris_config={"algo": "full"})
    batch = Batches(*caches, settings)[0]
    gradients = []
    for regularisation in (None, torch.tensor([True, False])):
        tunable = load_tunable(talkative_sana, settings, CPU)
        given = Batch(batch.latents, batch.embeddings, batch.mask, regularisation=regularisation)
        with torch.autocast("cpu", torch.bfloat16):
            losses, _ = batch_losses(
                tunable.transformer, given, number=0, settings=settings, device=CPU, tunable=tunable
            )
        losses[1].backward()
        gradients.append({name: p.grad for name, p in tunable.weights().items()})
    for name, expected in gradients[0].items():
        torch.testing.assert_close(gradients[1][name], expected, rtol=0.1, atol=1e-3, msg=name)


@pytest.mark.parametrize(
    "settings",
    [
        {"model_type": "lora", "base_model_default_dtype": "bf16", "mixed_precision": "bf16"},
        {
            **{"model_type": "lora", "base_model_default_dtype": "bf16", "mixed_precision": "bf16"},
            **{"base_model_precision": "nf4-bnb", "lora_type": "standard"},
        },
        {"model_type": "lora", "base_model_precision": "int8-bnb"},
        {"base_model_default_dtype": "bf16", "mixed_precision": "bf16", "optimizer": "optimi-lion"},
    ],
)
def test_pictures_are_drawn_while_training_in_few_bits(
    settings, run, encode, encode_texts, make_pictures, small_sana, tmp_path
):
    table, _, latents = encode(make_pictures({f"{i}.png": (64, 64) for i in range(4)}))
    captions = encode_texts(table, prompts=["a ball"])
    validation = ValidationSettings(validation_prompt="a ball", validation_steps=2, validation_num_inference_steps=2)
    draw, gather = validation_drawer(small_sana, captions, validation, tmp_path / "drawn")
    options = {"validation": validation, "draw": draw}
    _, log = run(on=(latents, captions), options=options, max_train_steps=4, **settings)
    assert gather().rows["label"].tolist() == ["step 0", "step 2", "step 4"]
    assert log.steps["loss"].notna().all()
    assert (tmp_path / "drawn/timeline.png").exists()


@pytest.mark.parametrize(
    ("optimizer", "config", "said"),
    [
        ("torch-adamw", {"beta": [0.9]}, "has no 'beta'; it has"),
        ("torch-adamw", {"foreach": True}, "doesn't take these settings"),
        ("torch-adamw", {"betas": [0.9]}, "doesn't take these settings"),
        ("optimi-adamw", {"gradient_release": True}, "has no 'gradient_release'"),
    ],
)
def test_an_optimizers_setting_that_it_does_not_take_is_one_line(optimizer, config, said, run):
    with pytest.raises(InputError, match=said):
        run(optimizer=optimizer, optimizer_config=config)


def test_a_setting_that_the_optimizer_does_not_have_is_one_line(run):
    with pytest.raises(InputError, match="adam_epsilon: optimizer 'optimi-lion' has no such setting"):
        run(optimizer="optimi-lion", adam_epsilon=1e-6)


def test_a_warm_up_longer_than_the_epochs_is_refused(run):
    with pytest.raises(InputError, match=r"lr_warmup_steps \(50\) is more than the run's 6 steps"):
        run(num_train_epochs=3, lr_warmup_steps=50)
