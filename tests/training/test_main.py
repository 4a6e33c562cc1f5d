import subprocess
import sys

import pandas as pd
import yaml
from diffusers import SanaTransformer2DModel

from tests.environment import PROJECT, SMALL_SANA


def run(path, store):
    command = [sys.executable, "-m", "sanaflow.training", str(path), "--store", str(store)]
    return subprocess.run(command, capture_output=True, text=True, cwd=PROJECT, timeout=240)


def test_the_library_trains_without_zenml(make_pictures, tmp_path):
    parameters = {
        "model": {"pretrained_model_name_or_path": str(SMALL_SANA)},
        "datasets": [
            {
                "id": "a",
                "instance_data_dir": str(make_pictures({"a.png": (64, 64), "b.png": (64, 64)})),
                "resolution": 64,
            }
        ],
        "training": {"max_train_steps": 3, "train_batch_size": 2, "mixed_precision": "no"},
        "validation": {"validation_prompt": "a", "validation_num_inference_steps": 2},
    }
    path = tmp_path / "run.yaml"
    path.write_text(yaml.safe_dump({"parameters": parameters}))
    done = run(path, tmp_path / "store")
    assert done.returncode == 0, done.stderr
    [folder] = (tmp_path / "store/models").iterdir()
    assert SanaTransformer2DModel.from_pretrained(folder).config.num_layers == 4
    [log] = (tmp_path / "store/training").glob("*/log.csv")
    assert pd.read_csv(log)["step"].tolist() == [1, 2, 3]
    assert len(list(log.parent.glob("validation/*/*/*.png"))) == 2
    assert "2 of 2 latents reused, 0 to encode" in run(path, tmp_path / "store").stdout


def test_a_mistake_is_one_line(tmp_path):
    path = tmp_path / "run.yaml"
    path.write_text("parameters: {modl: {}}")
    done = run(path, tmp_path / "store")
    assert done.returncode == 1
    assert "unknown key 'modl' in 'parameters': did you mean 'model'?" in done.stderr
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "store").exists()
