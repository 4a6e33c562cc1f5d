"""Each ready file trains: a few steps of the real thing, on the bundled model and pictures in place of its own."""

import math
import re
import shutil
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from pipelines.run_file import check_run_file
from sanaflow.run_yaml import parse_run_settings, read_yaml
from tests.environment import PROJECT, SANA_TINY
from tests.training.runs import start, write_request
from tests.training.test_processes import ENVIRONMENT, LAUNCH

CONFIGS = sorted(PROJECT.glob("configs/*.yaml"))
PUBLISHED = [path for path in CONFIGS if "Efficient-Large-Model/" in path.read_text()]
OF_A_CLUSTER = "kubernetes.yaml"
SEVERAL_GPUS = "full-several-gpus.yaml"
EDGE = 128
"""What a file's largest resolution becomes; the others in proportion."""


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> Path:
    """Folders of pictures, with captions beside them, of masks, and of other things; and a store for all runs."""
    folder = tmp_path_factory.mktemp("configs")
    for role, bundled in (("train", "fruit-and-vegetables"), ("regularisation", "things"), ("mask", "")):
        (folder / role).mkdir()
        for picture in sorted((PROJECT / "assets" / (bundled or "fruit-and-vegetables")).glob("*.webp"))[:6]:
            if bundled:
                shutil.copy(picture, folder / role)
                (folder / role / f"{picture.stem}.txt").write_text(picture.stem)
            else:
                Image.open(picture).convert("L").save(folder / role / f"{picture.stem}.png")
    return folder


def put_in_place(parameters: dict[str, Any], data: Path) -> dict[str, Any]:
    """The same run on the bundled model and six pictures, as short as can be."""
    run = parse_run_settings(parameters, source="")
    scale = EDGE / max(dataset.resolution for dataset in run.datasets if dataset.role != "mask")
    datasets = []
    for entry, dataset in zip(parameters["datasets"], run.datasets, strict=True):
        sizes = {k: entry[k] * scale for k in ("resolution", "minimum_image_size") if k in entry}
        role = "train" if dataset.role == "eval" else dataset.role
        datasets.append(entry | sizes | {"instance_data_dir": str(data / role)})
    training = parameters["training"] | {"max_train_steps": 2, "allow_dataset_oversubscription": True}
    training |= {"lr_warmup_steps": 1} if training.get("lr_warmup_steps") else {}
    return parameters | {
        "model": {"pretrained_model_name_or_path": str(SANA_TINY)},
        "datasets": datasets,
        "training": training,
        "validation": parameters.get("validation", {}) | {"validation_resolution": EDGE, "eval_timesteps": 1},
    }


def prepared(path: Path, data: Path):
    """The short run with its model and its caches, which all runs share."""
    from sanaflow.model.reference import resolve_model
    from sanaflow.training.__main__ import prepare

    parameters = {"training": {}} | read_yaml(path)["parameters"]
    run = parse_run_settings(put_in_place(parameters, data), source=path)
    model = resolve_model(run.model)
    return run, model, prepare(run, model, data / "store")


@pytest.mark.parametrize("path", [p for p in CONFIGS if p.name != SEVERAL_GPUS], ids=lambda path: path.stem)
def test_it_takes_two_steps(path, data, tmp_path):
    from sanaflow.training.run import train_sana

    if path.name != OF_A_CLUSTER:  # which is refused on a stack that has no cluster
        check_run_file(str(path))
    run, model, caches = prepared(path, data)
    tuned, log = train_sana(
        *caches,
        model=model,
        settings=run.training,
        run_folder=tmp_path / "run",
        models_folder=tmp_path / "models",
        validation=run.validation,
    )
    assert log.steps["step"].tolist() == [1, 2] and log.steps["loss"].gt(0).all()
    assert tuned.kind == ("full" if run.training.model_type == "full" else run.training.lora_type)
    assert set(caches[0].entries["dataset"]) == {dataset.id for dataset in run.datasets if dataset.role != "mask"}


def test_that_for_several_gpus_takes_two_steps_in_several_processes(data, tmp_path):
    path = PROJECT / "configs" / SEVERAL_GPUS
    check_run_file(str(path))
    run, model, caches = prepared(path, data)
    assert run.training.num_processes > 1 and run.training.fsdp_enable
    settings = run.training.model_dump(exclude_unset=True) | {"num_processes": 2, "train_batch_size": 2}
    folder = write_request(caches, model, tmp_path, settings)
    said, _ = start(folder, *LAUNCH, env=ENVIRONMENT).communicate(timeout=240)
    assert "RESULT" in said, said[-3000:]


@pytest.mark.parametrize("path", [p for p in PUBLISHED if p.name != OF_A_CLUSTER], ids=lambda path: path.stem)
def test_it_takes_the_memory_that_its_first_comment_says_and_names_its_command(path):
    from sanaflow.model.variants import variant_of
    from sanaflow.training.fit import GIB, OVERHEAD
    from sanaflow.training.memory import estimate

    comment = re.match(r"(#.*\n)+", path.read_text())
    said = " ".join(comment[0].replace("#", "").split())
    assert f"-c configs/{path.name}" in said
    run = parse_run_settings(read_yaml(path)["parameters"], source=path)
    variant = variant_of(run.model.pretrained_model_name_or_path)
    edge = max(dataset.resolution for dataset in run.datasets)
    assert edge == variant.edge, "the model was made for another size"
    tokens = math.ceil(edge / 32)
    found = estimate(variant.config(), run.training, latent_size=(tokens, tokens), text_tokens=300)
    [gib] = re.findall(r"step takes (\d+) GiB(?: of each)? by `python -m sanaflow fit`", said)
    assert int(gib) == round((found.total + OVERHEAD) / GIB)
