"""From the files that SimpleTuner's guide has one write to a finished run, by the commands of the README."""

import shutil

import yaml
from click.testing import CliRunner

from pipelines.finetune import finetune
from sanaflow.simpletuner.command import import_simpletuner
from tests.end_to_end.test_finetune import artifact, run
from tests.environment import SMALL_SANA
from tests.simpletuner.configurations import GUIDE, write_json

DEMO_SIZE = {
    **{"pretrained_model_name_or_path": str(SMALL_SANA), "max_train_steps": 4, "lr_warmup_steps": 1},
    **{"resolution": 64, "validation_resolution": "64x64", "validation_num_inference_steps": 2},
    **{"report_to": "none", "push_to_hub": "false", "push_checkpoints_to_hub": "false"},
}


def test_the_guides_files_become_a_trained_scored_and_released_model(pictures, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    shutil.copytree(pictures, "datasets/mine")
    guide = {name.removeprefix("--"): value for name, value in GUIDE.items()}
    small = {f"--{name}": value for name, value in (guide | DEMO_SIZE).items()}
    write_json("config/config.json", small | {"--data_backend_config": "config/multidatabackend.json"})
    write_json("config/user_prompt_library.json", {"fruit": "red apple", "animal": "panda"})
    entry = {"id": "mine", "type": "local", "instance_data_dir": "datasets/mine", "crop": True, "crop_aspect": "square"}
    text = {"id": "text-embeds", "type": "local", "dataset_type": "text_embeds", "default": True, "cache_dir": "cache"}
    write_json("config/multidatabackend.json", [entry | {"resolution": 64, "caption_strategy": "filename"}, text])

    ended = CliRunner().invoke(import_simpletuner, ["config/config.json", "-o", "mine.yaml"])
    assert ended.exit_code == 0, ended.output
    written = yaml.safe_load((tmp_path / "mine.yaml").read_text())
    written["parameters"]["evaluation"] = {"evaluation_model": "packaged", "evaluation_num_inference_steps": 2}
    (tmp_path / "mine.yaml").write_text(yaml.safe_dump(written))

    finished = run("mine.yaml", finetune)
    tuned = artifact(finished, "train_sana", "tuned_model").load()
    assert tuned.steps == 4 and tuned.kind == "full"
    drawn = artifact(finished, "train_sana", "validation_gallery").load().rows
    assert {"red apple", "panda", "A photo of a cat"} <= set(drawn["prompt"])
    assert len(artifact(finished, "score_clip", "clip_scores").load().scores) > 0
    assert (tmp_path / written["parameters"]["publishing"]["release_dir"] / "README.md").is_file()
