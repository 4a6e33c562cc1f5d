import fcntl
import json
import math
import os
import signal
import subprocess
import sys
import time

import pytest
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from sanaflow.config import TrainingSettings
from sanaflow.errors import InputError
from sanaflow.model.loading import load_transformer
from sanaflow.training.batches import Batch, Batches
from sanaflow.training.loop import batch_losses, train
from sanaflow.training.randomness import generator
from sanaflow.training.run import train_sana

SETTINGS = TrainingSettings(
    max_train_steps=6,
    train_batch_size=2,
    gradient_accumulation_steps=2,
    learning_rate=1e-3,
    lr_scheduler="cosine",
    lr_warmup_steps=2,
    mixed_precision="no",
    checkpointing_steps=2,
)


@pytest.fixture
def caches(encode, encode_texts, make_pictures):
    sizes = {f"picture number {i}.png": ((64, 64), (100, 50))[i % 3 == 0] for i in range(7)}
    table, _, latents = encode(make_pictures(sizes))
    return latents, encode_texts(table)


def run(caches, model, folder, settings=SETTINGS, **options):
    return train_sana(
        *caches, model=model, settings=settings, run_folder=folder / "run", models_folder=folder / "models", **options
    )


def weights(tuned) -> dict[str, torch.Tensor]:
    return load_file(tuned.folder / "diffusion_pytorch_model.safetensors")


def test_training_learns_and_logs_every_step(caches, sana_tiny, tmp_path):
    settings = SETTINGS.model_copy(update={"max_train_steps": 60, "lr_scheduler": "constant", "lr_warmup_steps": 0})
    tuned, log = run(caches, sana_tiny, tmp_path, settings)
    assert log.steps["step"].tolist() == list(range(1, 61))
    assert log.steps["loss"].tail(10).mean() < 0.8 * log.steps["loss"].head(10).mean()
    assert (log.steps["peak_memory_bytes"] > 0).all()
    assert tuned.base_digest == sana_tiny.digest()


def test_the_same_settings_give_the_same_weights(caches, sana_tiny, tmp_path):
    one, _ = run(caches, sana_tiny, tmp_path / "one")
    other, _ = run(caches, sana_tiny, tmp_path / "other")
    assert one.digest() == other.digest()
    different, _ = run(caches, sana_tiny, tmp_path / "three", SETTINGS.model_copy(update={"seed": 1}))
    assert different.digest() != one.digest()


def test_an_interrupted_run_ends_with_the_very_same_weights_and_log(caches, sana_tiny, tmp_path):
    class Interrupted(Exception):
        pass

    def stop(transformer, step):
        if step == 5:
            raise Interrupted

    straight, log = run(caches, sana_tiny, tmp_path / "straight")
    with pytest.raises(Interrupted):
        run(caches, sana_tiny, tmp_path / "stopped", draw=stop, draw_every=1)
    resumed, resumed_log = run(caches, sana_tiny, tmp_path / "stopped")
    assert resumed.digest() == straight.digest()
    assert resumed_log.steps[["step", "loss", "learning_rate", "grad_norm"]].equals(
        log.steps[["step", "loss", "learning_rate", "grad_norm"]]
    )


def test_a_damaged_checkpoint_is_passed_over(caches, sana_tiny, tmp_path, capsys):
    folder = tmp_path / "checkpoints"
    transformer, batches = load_transformer(sana_tiny), Batches(*caches, SETTINGS)
    train(transformer, batches, settings=SETTINGS, checkpoints=folder)
    assert sorted(p.name for p in folder.iterdir()) == ["step-00000004", "step-00000006"]  # the last two are kept
    newest = folder / "step-00000006" / "optimizer.safetensors"
    newest.write_bytes(newest.read_bytes()[:-1])
    again = load_transformer(sana_tiny)
    train(again, batches, settings=SETTINGS, checkpoints=folder)
    assert "step-00000006 is damaged" in capsys.readouterr().out
    assert all(torch.equal(a, b) for a, b in zip(transformer.parameters(), again.parameters(), strict=True))


def test_a_run_killed_at_any_moment_goes_on_to_the_same_weights(caches, sana_tiny, tmp_path):
    straight, _ = run(caches, sana_tiny, tmp_path / "straight", SETTINGS.model_copy(update={"max_train_steps": 40}))
    latents, captions = caches
    latents.entries.to_parquet(tmp_path / "latents.parquet")
    captions.captions.to_parquet(tmp_path / "captions.parquet")
    captions.texts.to_parquet(tmp_path / "texts.parquet")
    script = f"""
import pandas as pd
from pathlib import Path
from sanaflow.cache.folder import FolderStore
from sanaflow.cache.index import CaptionCache, LatentCache
from sanaflow.config import ModelSettings, TrainingSettings
from sanaflow.model.reference import resolve_model
from sanaflow.training.run import train_sana
read = lambda name: pd.read_parquet(Path({str(tmp_path)!r}) / f"{{name}}.parquet")
latents, captions = FolderStore(Path({latents.store.place!r})), FolderStore(Path({captions.store.place!r}))
latents = LatentCache(latents, read("latents"), read("latents")[:0], 0, 0.0, 0, None)
captions = CaptionCache(captions, {captions.fingerprint!r}, read("captions"), read("texts"), 0, 0.0, 0)
tuned, _ = train_sana(
    latents, captions, model=resolve_model(ModelSettings(pretrained_model_name_or_path={sana_tiny.name!r})),
    settings=TrainingSettings(**{SETTINGS.model_copy(update={"max_train_steps": 40}).model_dump()!r}),
    run_folder=Path({str(tmp_path / "killed/run")!r}), models_folder=Path({str(tmp_path / "killed/models")!r}))
print("RESULT", tuned.digest())
"""
    checkpoints = tmp_path / "killed/run/checkpoints"
    for wanted in (6, 18):
        process = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        until = time.monotonic() + 120
        while not list(checkpoints.glob(f"step-{wanted:08d}")) and time.monotonic() < until:
            time.sleep(0.002)
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
        assert any(checkpoints.glob("step-*")), "killed before the end, with a checkpoint on disk"
    last = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert "resuming after step" in last.stdout
    assert last.stdout.splitlines()[-1] == f"RESULT {straight.digest()}"
    assert not checkpoints.exists()


def test_padding_and_trimming_captions_does_not_change_the_loss(caches, talkative_sana):
    transformer = load_transformer(talkative_sana)
    trimmed = Batches(*caches, SETTINGS)[0]
    embeddings = torch.nn.functional.pad(
        trimmed.embeddings, (0, 0, 0, 250), value=3.0
    )  # what is masked may be anything
    mask = torch.nn.functional.pad(trimmed.mask, (0, 250))
    padded = Batch(trimmed.latents, embeddings, mask)
    with torch.no_grad():
        one, _ = batch_losses(transformer, trimmed, number=0, settings=SETTINGS, device=torch.device("cpu"))
        other, _ = batch_losses(transformer, padded, number=0, settings=SETTINGS, device=torch.device("cpu"))
    torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-6)


class Spy(torch.nn.Module):
    """Stands in for the transformer: keeps what it is given and predicts zeros."""

    def forward(self, noisy, **given):
        self.noisy, self.given = noisy, given
        return (torch.zeros_like(noisy),)


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
    losses, sigmas = batch_losses(spy, batch, number=11, settings=settings, device=torch.device("cpu"))

    plain = torch.randn(3, generator=generator(5, 0, 11, "sigmas")).sigmoid()
    expected = shift * plain / (1 + (shift - 1) * plain)
    noise = torch.randn(3, 16, 8, 8, generator=generator(5, 0, 11, "noise"))
    torch.testing.assert_close(sigmas, expected)
    torch.testing.assert_close(spy.given["timestep"], 1000 * expected)
    for i in range(3):
        torch.testing.assert_close(spy.noisy[i], (1 - expected[i]) * latents[i] + expected[i] * noise[i])
        torch.testing.assert_close(losses[i], ((noise[i] - latents[i]) ** 2).mean())
    assert torch.equal(spy.given["encoder_hidden_states"], embeddings)
    assert torch.equal(spy.given["encoder_attention_mask"], batch.mask)


def test_the_loop_equals_plain_torch_with_accumulation_clipping_and_decay(caches, talkative_sana, tmp_path):
    settings = SETTINGS.model_copy(update={"max_train_steps": 3, "max_grad_norm": 0.5, "adam_weight_decay": 0.3})
    ours, batches = load_transformer(talkative_sana), Batches(*caches, settings)
    train(ours, batches, settings=settings, checkpoints=tmp_path / "checkpoints")

    plain = load_transformer(talkative_sana).requires_grad_(True).train()
    optimizer = torch.optim.AdamW(plain.parameters(), lr=1e-3, betas=(0.9, 0.999), eps=1e-8, weight_decay=0.3)
    for step in range(3):
        rate = step / 2 if step < 2 else 0.5 * (1 + math.cos(math.pi * (step - 2) / (3 - 2)))
        optimizer.param_groups[0]["lr"] = 1e-3 * rate
        for number in (2 * step, 2 * step + 1):
            losses, _ = batch_losses(
                plain, batches[number], number=number, settings=settings, device=torch.device("cpu")
            )
            (losses.mean() / 2).backward()
        torch.nn.utils.clip_grad_norm_(plain.parameters(), 0.5)
        optimizer.step()
        optimizer.zero_grad()
    for (name, one), other in zip(ours.named_parameters(), plain.parameters(), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-7, msg=name)


def test_the_model_trains_in_training_mode_after_every_drawing(caches, sana_tiny, tmp_path):
    modes = []
    transformer = load_transformer(sana_tiny)
    transformer.register_forward_pre_hook(lambda module, _: modes.append(module.training))
    train(
        transformer,
        Batches(*caches, SETTINGS),
        settings=SETTINGS,
        checkpoints=tmp_path / "checkpoints",
        draw=lambda model, step: model.eval(),
        draw_every=2,
    )
    assert modes == [True] * 12


def test_files_names_decide_nothing(encode, encode_texts, make_pictures, sana_tiny, tmp_path):
    folder = make_pictures({f"{i}.png": (64, 64) for i in range(5)})
    prompt = {"caption_strategy": "instanceprompt", "instance_prompt": "a ball"}
    table, _, latents = encode(folder, **prompt)
    before, _ = run((latents, encode_texts(table)), sana_tiny, tmp_path / "before")
    (folder / "0.png").rename(folder / "z.png")
    table, _, latents = encode(folder, **prompt)
    after, _ = run((latents, encode_texts(table)), sana_tiny, tmp_path / "after")
    assert before.digest() == after.digest()


def test_two_processes_do_not_train_the_same_run_at_once(caches, sana_tiny, tmp_path):
    (tmp_path / "run").mkdir()
    with (tmp_path / "run" / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with pytest.raises(InputError, match="another process is training this very run"):
            run(caches, sana_tiny, tmp_path)
    run(caches, sana_tiny, tmp_path)


def test_a_full_disk_ends_the_run_and_keeps_the_earlier_checkpoint(caches, sana_tiny, tmp_path, monkeypatch):
    def full_at_step_4(tensors, path, **options):
        if "00000004" in str(path):
            raise SafetensorError("Error while serializing: I/O error: No space left on device (os error 28)")
        return save_file(tensors, path, **options)

    monkeypatch.setattr("sanaflow.training.state.save_file", full_at_step_4)
    with pytest.raises(InputError, match=r"can't write a checkpoint.*No space left.*free some space"):
        run(caches, sana_tiny, tmp_path)
    assert [p.name for p in (tmp_path / "run/checkpoints").iterdir()] == ["step-00000002"]


def test_a_loss_that_is_no_number_ends_the_run_and_keeps_the_checkpoints(caches, sana_tiny, tmp_path):
    settings = SETTINGS.model_copy(update={"max_train_steps": 40, "learning_rate": 1e30, "max_grad_norm": 1e30})
    with pytest.raises(InputError, match=r"step \d+: the loss is .*lower training.learning_rate"):
        run(caches, sana_tiny, tmp_path, settings)
    for checkpoint in (tmp_path / "run" / "checkpoints").glob("step-*"):
        log = json.loads((checkpoint / "state.json").read_text())["log"]
        assert all(abs(row["loss"]) < float("inf") for row in log)


def test_gradient_checkpointing_changes_memory_not_the_result(caches, sana_tiny, tmp_path):
    plain, _ = run(caches, sana_tiny, tmp_path / "plain")
    checkpointed, _ = run(
        caches, sana_tiny, tmp_path / "other", SETTINGS.model_copy(update={"gradient_checkpointing": True})
    )
    for name, value in weights(plain).items():
        torch.testing.assert_close(weights(checkpointed)[name], value, rtol=1e-4, atol=1e-5)


def test_one_process_may_train_in_one_precision_after_the_other(caches, sana_tiny, tmp_path):
    for precision in ("bf16", "no"):
        settings = SETTINGS.model_copy(
            update={"mixed_precision": precision, "max_train_steps": 2, "lr_warmup_steps": 0}
        )
        tuned, log = run(caches, sana_tiny, tmp_path / precision, settings)
        assert log.steps["loss"].notna().all()
        assert {value.dtype for value in weights(tuned).values()} == {torch.float32}
