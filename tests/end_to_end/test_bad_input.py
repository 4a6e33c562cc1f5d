"""What a user sees: one line that names the file or key and the way out, exit code 1, no stack trace, no harm done."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from pipelines.code_commit import code_commit
from pipelines.finetune import finetune
from pipelines.prepare import prepare
from sanaflow.errors import InputError
from tests.environment import PROJECT

ZENML = Path(sys.executable).with_name("zenml")


def command_line(*command) -> subprocess.CompletedProcess:
    return subprocess.run(
        [str(part) for part in command], capture_output=True, text=True, cwd=PROJECT, timeout=240, env={**os.environ}
    )


@pytest.mark.parametrize(
    "command", [(ZENML, "pipeline", "run", "pipelines.prepare.prepare"), (sys.executable, "-m", "pipelines.prepare")]
)
def test_a_mistake_found_by_a_step_ends_both_commands_with_one_line(write_run, pictures, command):
    without_captions = {"instance_data_dir": str(pictures), "resolution": 64, "caption_strategy": "textfile"}
    ended = command_line(*command, "-c", write_run(datasets=[{"id": "set", **without_captions}]))
    assert ended.returncode == 1
    last = ended.stderr.strip().splitlines()[-1]
    assert last.startswith(
        f"Error: dataset 'set': instance_data_dir '{pictures}' holds no usable picture: all 5 were left out"
    )
    assert "`download_dataset` has started" in ended.stdout + ended.stderr
    assert "Traceback" not in ended.stdout + ended.stderr


def test_an_empty_folder_is_refused_before_anything_runs(write_run, pictures):
    for picture in pictures.iterdir():
        picture.unlink()
    ended = command_line(sys.executable, "-m", "pipelines.prepare", "-c", write_run())
    assert ended.returncode == 1
    last = ended.stderr.strip().splitlines()[-1]
    assert last.startswith(f"Error: dataset 'set': instance_data_dir '{pictures}' holds no pictures")
    assert "has started" not in ended.stdout + ended.stderr
    assert not list(pictures.iterdir())


def test_a_typo_in_the_yaml_ends_the_command_before_anything_runs(write_run):
    ended = command_line(sys.executable, "-m", "pipelines.finetune", "-c", write_run(training={"learning_rte": 1}))
    assert ended.returncode == 1
    assert "did you mean 'learning_rate'?" in ended.stderr
    assert "Traceback" not in ended.stdout + ended.stderr
    assert "Step" not in ended.stdout


def test_help_says_what_the_commands_do():
    helped = command_line(sys.executable, "-m", "pipelines.finetune", "--help")
    assert helped.returncode == 0
    assert "Encode, train, score against the base model and the champion, decide, publish." in helped.stdout.replace(
        "\n  ", " "
    )
    missing = command_line(sys.executable, "-m", "pipelines.finetune", "-c", "nowhere.yaml")
    assert missing.returncode == 2
    assert "'nowhere.yaml' does not exist" in missing.stderr


def test_a_truncated_jpeg_among_good_pictures_does_not_stop_the_run(write_run, pictures):
    (pictures / "torn.jpg").write_bytes(b"\xff\xd8\xff\xe0 torn")
    finished = prepare.with_options(config_path=str(write_run()))()
    table = finished.steps["download_dataset"].outputs["image_table"][0].load()
    assert table.rejected["file"].tolist() == ["torn.jpg"]
    assert len(table.pictures) == 5


@pytest.mark.parametrize(
    ("sections", "message"),
    [
        ({"model": {"pretrained_model_name_or_path": str(PROJECT / "configs")}}, "it has no model_index.json"),
        (
            {"model": {"pretrained_model_name_or_path": "nobody/nothing"}},
            "'nobody/nothing' is neither a folder here nor",
        ),
        (
            {"datasets": [{"id": "set", "instance_data_dir": "assets/pictures", "resolution": 60}]},
            "resolution 60 can't be divided by 8.*use 56 or 64",
        ),
        (
            {"datasets": [{"id": "s", "instance_data_dir": "assets/pictures", "caption_strategy": "textfile"}]},
            r"all 64 were left out, for example airplane\.webp: its caption file airplane\.txt is missing",
        ),
        ({"datasets": [{"id": "s", "instance_data_dir": "nowhere"}]}, "'nowhere' is not a folder"),
        (
            {"training": {"train_batch_size": 6, "allow_dataset_oversubscription": False}},
            "buckets can't fill a batch of 6 .*repeats: 5; or bring .* down to 1",
        ),
        ({"evaluation": {"evaluation_model": "ViT-L-14-337"}}, "did you mean 'ViT-L-14-336'"),
        ({"publishing": {"release_dir": str(PROJECT / "configs")}}, "is or holds something else"),
        ({"publishing": {"hub_model_id": "tester/sana"}}, "there is no hub token: set HF_TOKEN"),
    ],
    ids=lambda value: "" if isinstance(value, dict) else value[:30],
)
def test_every_wrong_input_is_one_clear_line(write_run, monkeypatch, hub, sections, message):
    monkeypatch.chdir(PROJECT)
    with pytest.raises(InputError, match=message) as caught:
        finetune.with_options(config_path=str(write_run(**sections)))()
    assert "\n" not in caught.value.message


def test_a_push_goes_to_the_hub_and_an_expired_token_is_one_line(write_run, monkeypatch, hub):
    path = write_run(publishing={"hub_model_id": "tester/sana-tiny", "push_checkpoints_to_hub": True})
    monkeypatch.setenv("HF_TOKEN", "hf_expired")
    with pytest.raises(InputError, match="the token is expired"):
        finetune.with_options(config_path=str(path))()
    monkeypatch.setenv("HF_TOKEN", hub.token)
    finished = finetune.with_options(config_path=str(path))()
    release = finished.steps["push_to_hub"].outputs["hub_release"][0].load()
    assert release.commit == hub.commits("models", "tester/sana-tiny")[-1]
    files = hub.files("models", "tester/sana-tiny")
    assert set(files) == set(release.files)
    card = files["README.md"].decode()
    assert "- pictures: 5, with 5 captions\n- sizes in pixels: 64x64 (4), 64x56 (1)\n" in card
    assert f"- code: {code_commit()}" in card or code_commit() is None
    on_the_way = hub.commits("models", "tester/sana-tiny", "checkpoints")[-3:]
    weights = [hub.files("models", "tester/sana-tiny", commit) for commit in on_the_way]
    assert all("transformer/diffusion_pytorch_model.safetensors" in files for files in weights)
    assert len({str(files) for files in weights}) == 3, "of steps 2, 4 and 6"
    assert {path: files[path] for path in weights[-1]} == weights[-1], "the last is the release's"
