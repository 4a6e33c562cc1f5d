"""What a check finds in runs that would fail, each refused by the code that the run itself would ask."""

import json
import os
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path

import boto3
import pytest
import yaml
from click.testing import CliRunner
from huggingface_hub import constants
from zenml.client import Client
from zenml.enums import StackComponentType

from materializers.shards import shard_store
from pipelines.check import check
from pipelines.checking.disk import LEAST, STORE, look_at_full_disks
from pipelines.checking.start import check_at_start, has_a_picture
from pipelines.finetune import finetune
from pipelines.prepare import prepare
from pipelines.run_file import check_run_file
from sanaflow.errors import InputError
from sanaflow.run_yaml import read_yaml
from tests.environment import PROJECT, SMALL_SANA

PICTURES = {"red ball.png": (64, 64), "blue sky.png": (64, 64), "green tree.png": (64, 64), "tower.png": (48, 80)}


@pytest.fixture
def write(tmp_path, make_pictures):
    """Writes a run's YAML, by default of four pictures and the model of random weights."""
    folder = make_pictures(PICTURES)

    def run(top: dict | None = None, **sections) -> Path:
        parameters = {
            "model": {"pretrained_model_name_or_path": str(SMALL_SANA)},
            "datasets": [{"id": "set", "instance_data_dir": str(folder), "resolution": 64}],
            "training": {"max_train_steps": 2, "train_batch_size": 2, "allow_dataset_oversubscription": True},
            "evaluation": {"evaluation_model": "packaged"},
            "publishing": {"release_dir": str(tmp_path / "release")},
        }
        path = tmp_path / "run.yaml"
        path.write_text(yaml.safe_dump({"parameters": parameters | sections, **(top or {})}))
        return path

    return run


def findings(path: Path, *options: str, fails: bool) -> dict[str, list[str]]:
    """Texts by level."""
    result = CliRunner().invoke(check, [str(path), "--json", *options])
    assert result.exit_code == int(fails), result.output
    found: dict[str, list[str]] = {"ok": [], "warning": [], "error": []}
    for finding in json.loads(result.stdout):
        assert "\n" not in finding["text"] and finding["where"]
        found[finding["level"]].append(finding["text"])
    return found


def a_set(**entry) -> list[dict]:
    return [{"id": "set", "resolution": 64, **entry}]


def test_a_good_run_passes_every_look_and_nothing_is_encoded(write):
    before = shard_store("latents").names()
    result = CliRunner().invoke(check, [str(write())])
    assert result.exit_code == 0, result.output
    for said in (
        "every key is known",
        "'default': orchestrator 'default'",
        str(SMALL_SANA),
        "datasets.set: 4 pictures with 4 captions",
        "2 buckets for 4 pictures fill batches of 2",
        "a step takes 0.0",
        "will be written (latents ",
    ):
        assert said in result.output, said
    assert "error" not in result.output.replace("0 errors", "")
    assert "\x1b[" not in result.output
    assert result.stdout.splitlines()[-1] == "0 errors, 1 warning"  # of the bucket of one picture
    assert shard_store("latents").names() == before


def test_every_mistake_in_the_yaml_is_listed_in_both_of_its_halves(write):
    path = write({"enable_cach": True}, training={"learning_rte": 1, "max_train_steps": "many"}, datsets=[])
    said = findings(path, fails=True)["error"]
    for mistake in ("'enable_cach'", "'learning_rte'", "(it is 'many')", "'datsets'"):
        assert sum(mistake in line for line in said) == 1, mistake
    assert all(line.startswith(str(path)) for line in said)


@pytest.mark.parametrize("text", ["", "parameters: [", "parameters: 3", None])
def test_what_is_no_run_file_is_one_line(tmp_path, text):
    path = tmp_path / "run.yaml"
    if text is not None:
        path.write_text(text)
    [said] = findings(path, fails=True)["error"]
    assert said.startswith(str(path))


def test_folders_without_pictures_are_told_apart(write, tmp_path):
    (tmp_path / "empty").mkdir()
    (tmp_path / "papers").mkdir()
    for name in ("one.pdf", "two.pdf", "three.docx"):
        (tmp_path / "papers" / name).write_bytes(b"%PDF")
    names = ("nowhere", "empty", "papers")
    sets = [{"id": name, "instance_data_dir": str(tmp_path / name), "resolution": 64} for name in names]
    nowhere, empty, papers = findings(write(datasets=sets), fails=True)["error"]
    assert "is not a folder" in nowhere
    assert empty.endswith("holds no pictures: put some in it; it holds nothing at all")
    assert "its one.pdf is not a picture" in papers and papers.endswith("it holds 2 .pdf, 1 .docx")


def test_missing_captions_torn_files_and_a_single_picture_are_warnings_with_examples(write, make_pictures, tmp_path):
    folder = make_pictures(PICTURES, folder="texts")
    (folder / "tower.txt").write_text("a tower")
    (folder / "torn.jpg").write_bytes(b"\xff\xd8\xff\xe0 torn")
    (folder / "notes.pdf").write_bytes(b"%PDF")
    found = findings(write(datasets=a_set(instance_data_dir=str(folder), caption_strategy="textfile")), fails=False)
    assert any("1 picture with 1 caption, 1 other file" in line for line in found["ok"])
    assert any(
        line.startswith("3 of 6 files have no caption") and "blue sky.txt is" in line for line in found["warning"]
    )
    assert any(line.startswith("1 of 6 files can't be used") and "torn.jpg" in line for line in found["warning"])
    assert any("one picture only" in line for line in found["warning"])


def test_a_set_without_its_masks_is_looked_at_all_the_same(write, make_pictures, tmp_path):
    folder = str(make_pictures(PICTURES))
    masks = {"id": "masks", "dataset_type": "conditioning", "conditioning_type": "mask", "resolution": 64}
    masked = a_set(instance_data_dir=folder, conditioning_data="masks")
    found = findings(write(datasets=[*masked, masks | {"instance_data_dir": str(tmp_path / "none")}]), fails=True)
    assert len(found["error"]) == 1 and found["error"][0].startswith("dataset 'masks'")
    assert any(line.startswith("4 pictures") for line in found["ok"])
    some = str(make_pictures({"tower.png": (48, 80)}, folder="masks"))
    found = findings(write(datasets=[*masked, masks | {"instance_data_dir": some}]), fails=False)
    assert "holds masks" in found["ok"] and any(line.startswith("1 picture ") for line in found["ok"])
    assert any("3 of 4 files can't be used" in line and "no mask of its name" in line for line in found["warning"])


def test_every_bucket_that_cannot_fill_a_batch_is_named_with_the_runs_own_advice(write):
    path = write(training={"max_train_steps": 2, "train_batch_size": 4})
    [said] = findings(path, fails=True)["error"]
    with pytest.raises(InputError) as refused:
        prepare.with_options(config_path=str(path))()
    assert said.startswith(refused.value.message)
    assert said.endswith("(all of them: 48x80 with 1, 64x64 with 3)") and "repeats: 3" in said


def test_memory_is_compared_with_the_card_that_is_named(write):
    assert any("it fits into 24 GiB" in line for line in findings(write(), "--memory", "24", fails=False)["ok"])
    [said] = findings(write(), "--memory", "0.5", fails=True)["error"]
    assert "it does not fit into 0.5 GiB" in said and "python -m sanaflow fit" in said


def test_what_would_show_hours_later_shows_now(write, monkeypatch, tmp_path):
    for name in ("WANDB_API_KEY", "WANDB_MODE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("NETRC", str(tmp_path / "none"))
    path = write(
        evaluation={"evaluation_model": "ViT-L-14-337"},
        validation={"report_to": "wandb"},
        training={"max_train_steps": 2, "train_batch_size": 1, "resume_from_checkpoint": str(tmp_path / "step-1")},
        publishing={"release_dir": str(PROJECT / "configs")},
    )
    said = "\n".join(findings(path, fails=True)["error"])
    for mistake in (
        "did you mean 'ViT-L-14-336'",
        "WANDB_API_KEY",
        "is not a checkpoint",
        "is or holds something else",
    ):
        assert mistake in said


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (str(PROJECT / "configs"), "it has no model_index.json"),
        ("/no/where", "is neither a folder nor a hub id"),
        ("nobody/nothing", "is neither a folder here nor a repository that the hub shows you"),
    ],
)
def test_what_is_no_model_is_refused(write, hub, model, message):
    [said] = findings(write(model={"pretrained_model_name_or_path": model}), fails=True)["error"]
    assert message in said


def test_a_model_on_the_hub_is_looked_at_without_its_weights(write, hub):
    files = {p.relative_to(SMALL_SANA).as_posix(): p.read_bytes() for p in SMALL_SANA.rglob("*") if p.is_file()}
    commit = hub.add_repo("models", "maker/sana", files)
    found = findings(write(model={"pretrained_model_name_or_path": "maker/sana"}), fails=False)
    assert any(f"commit {commit}" in line and "of them to download" in line for line in found["ok"])
    assert any("the model " in line for line in found["ok"]), "its download counts against the disk"
    assert not any(path.endswith(".safetensors") for _, path in hub.requests)


def test_a_hub_that_cannot_be_reached_is_one_line(write, hub, monkeypatch):
    monkeypatch.setattr(constants, "ENDPOINT", "http://user:secret@127.0.0.1:9")
    judge = {"evaluation_model": "ViT-L-14-336"}
    path = write(model={"pretrained_model_name_or_path": "maker/sana"}, evaluation=judge)
    found = findings(path, fails=True)
    [said] = found["error"]
    assert said.startswith("no answer from http://127.0.0.1:9 (ConnectError)") and "secret" not in said
    assert said.endswith("it is needed for model.pretrained_model_name_or_path, evaluation.evaluation_model")
    assert any("'maker/sana' is no folder here, and the hub wasn't asked" in line for line in found["warning"])


@pytest.mark.parametrize(
    ("token", "role", "repo", "message"),
    [
        ("hf_expired_secret", "write", "tester/x", "refuses the token (401): it is expired or wrong"),
        (None, "write", "tester/x", "there is no hub token: set HF_TOKEN"),
        ("hf_test", "read", "tester/x", "the token may only read there"),
        ("hf_test", "write", "another/x", "which may not write to 'another'"),
    ],
)
def test_a_token_that_will_not_do_is_one_line(write, hub, monkeypatch, token, role, repo, message):
    monkeypatch.setattr(hub, "auth", {"type": "access_token", "accessToken": {"displayName": "t", "role": role}})
    if token:
        monkeypatch.setenv("HF_TOKEN", token)
    [said] = findings(write(publishing={"hub_model_id": repo}), fails=True)["error"]
    assert message in said and "secret" not in said


def test_a_token_that_may_write_is_told_by_its_account(write, hub, monkeypatch):
    monkeypatch.setenv("HF_TOKEN", hub.token)
    found = findings(write(publishing={"hub_model_id": "tester/x"}), fails=False)
    assert "'tester' may write to 'tester/x'" in found["ok"]
    assert not any(method == "POST" for method, _ in hub.requests)


def test_a_data_set_on_the_hub_is_listed_and_not_downloaded(write, hub):
    hub.add_repo("datasets", "maker/pictures", {"data/train-0.parquet": b"x" * 1000})
    entry = {"type": "huggingface", "caption_strategy": "huggingface"}
    found = findings(write(datasets=a_set(dataset_name="maker/pictures", **entry)), fails=False)
    assert any("1 Parquet file" in line for line in found["ok"])
    [said] = findings(write(datasets=a_set(dataset_name="maker/picture", **entry)), fails=True)["error"]
    assert "is no repository that the hub shows you" in said
    wrong_split = a_set(dataset_name="maker/pictures", split="validation", **entry)
    [said] = findings(write(datasets=wrong_split), fails=True)["error"]
    assert "correct 'split'" in said


def test_a_bucket_is_listed(write, s3_url):
    client = boto3.client("s3", endpoint_url=s3_url, region_name="us-east-1")
    client.create_bucket(Bucket="pictures")
    for name in ("a.png", "a.txt", "b.png"):
        client.put_object(Bucket="pictures", Key=name, Body=b"x")
    entry = {"type": "aws", "aws_endpoint_url": s3_url, "caption_strategy": "textfile"}
    found = findings(write(datasets=a_set(aws_bucket_name="pictures", **entry)), fails=False)
    assert "lists 2 pictures" in found["ok"]
    assert "1 of 2 pictures have no caption: b.png" in found["warning"]
    [said] = findings(write(datasets=a_set(aws_bucket_name="nowhere", **entry)), fails=True)["error"]
    assert "can't be listed" in said


def test_a_table_lacks_a_column_or_names_urls_that_nobody_serves(write, tmp_path):
    table = tmp_path / "table.csv"
    table.write_text("url,text\nhttp://127.0.0.1:9/a.png,a\nhttp://127.0.0.1:9/b.png,b\n")
    entry = {"type": "csv", "csv_file": str(table), "caption_strategy": "csv"}
    [said] = findings(write(datasets=a_set(**entry)), fails=True)["error"]
    assert "has no column 'caption'" in said
    [said] = findings(write(datasets=a_set(csv_caption_column="text", **entry)), fails=True)["error"]
    assert said.startswith("of 2 urls that were tried 2 can't be had")
    (tmp_path / "table.csv").write_text("url,caption\npictures/tower.png,a tower\npictures/gone.png,gone\n")
    found = findings(write(datasets=a_set(**entry)), fails=False)
    assert any("1 of 2 files can't be used" in line and "gone.png" in line for line in found["warning"])


@contextmanager
def disk_of(folder: Path, size: int):
    folder.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(folder)], capture_output=True)
    if mounted.returncode:
        pytest.skip("only root may mount a small disk")
    try:
        yield folder
    finally:
        subprocess.run(["umount", str(folder)], check=True)


def test_a_full_disk_is_an_error_for_the_check_and_for_a_run_only_where_every_run_writes(write, tmp_path):
    with disk_of(tmp_path / "full", 1 << 20) as disk:
        path = write(publishing={"release_dir": str(disk / "release")})
        [said] = findings(path, fails=True)["error"]
        assert said.startswith(f"the disk of '{disk}/release' is full, or nearly (1.0 MiB are free)")
        [at_start] = look_at_full_disks({"release": disk})
        assert at_start.level == "warning", "all may be there already"
        [at_start] = look_at_full_disks({STORE: disk})
        assert at_start.level == "error"


def test_a_disk_that_will_be_full_is_an_error(write, tmp_path):
    with disk_of(tmp_path / "small", LEAST + (1 << 17)) as disk:
        [said] = findings(write(publishing={"release_dir": str(disk / "release")}), fails=True)["error"]
        assert "will be written (release" in said and said.endswith("free some space")


def test_workers_gain_nothing_where_steps_run_one_after_the_other(write):
    assert any(
        "which gains nothing" in line for line in findings(write(caches={"encode_workers": 3}), fails=False)["warning"]
    )


@pytest.fixture
def far_orchestrator():
    """A stack whose steps run on a cluster, with artifacts on this machine."""
    client, kind = Client(), StackComponentType.ORCHESTRATOR
    before = client.active_stack_model
    cluster = client.create_stack_component("cluster", "kubernetes", kind, configuration={"kubernetes_context": "none"})
    parts = {other: components[0].id for other, components in before.components.items()}
    stack = client.create_stack("far", parts | {kind: cluster.id})
    client.activate_stack(stack.id)
    yield
    client.activate_stack(before.id)
    client.delete_stack(stack.id)
    client.delete_stack_component("cluster", kind)


def test_a_far_orchestrator_cannot_see_an_artifact_store_here_and_its_data_is_only_warned_of(far_orchestrator, write):
    path = write(datasets=a_set(instance_data_dir="/on/the/cluster"))
    found = findings(path, fails=True)
    assert any("can't see an artifact store on this machine" in line for line in found["error"])
    assert any("'/on/the/cluster' is not a folder" in line for line in found["warning"])
    assert any("add `retry: {max_retries: 2}`" in line for line in found["warning"])


def start(path: Path, *, publishes: bool = True) -> None:
    check_at_start(check_run_file(str(path)), read_yaml(path), publishes=publishes)


def test_a_run_is_refused_with_all_that_is_wrong_before_it_starts(write, tmp_path, capsys):
    runs = Client().list_pipeline_runs().total
    publishing = {"release_dir": str(PROJECT / "configs"), "hub_model_id": "tester/x"}
    path = write(datasets=a_set(instance_data_dir=str(tmp_path / "nowhere")), publishing=publishing)
    with pytest.raises(InputError) as refused:
        finetune.with_options(config_path=str(path))()
    folder, release, token = refused.value.message.splitlines()
    assert "is not a folder" in folder and "is or holds something else" in release and "no hub token" in token
    assert Client().list_pipeline_runs().total == runs
    with pytest.raises(InputError) as refused:  # `prepare` releases nothing
        start(path, publishes=False)
    assert refused.value.message == folder


def test_of_pictures_that_another_machine_will_read_a_run_only_warns(write, tmp_path, capsys):
    run = check_run_file(str(write(datasets=a_set(instance_data_dir="/on/a/gpu/box"))))
    check_at_start(run, {"steps": {"download_dataset": {"step_operator": "gpu"}}}, publishes=True)
    assert "'/on/a/gpu/box' is not a folder" in capsys.readouterr().out


def test_a_run_with_secrets_of_its_own_needs_no_token_here(write):
    run = check_run_file(str(write(publishing={"hub_model_id": "tester/x"})))
    check_at_start(run, {"secrets": ["hub"]}, publishes=True)
    with pytest.raises(InputError, match="there is no hub token"):
        check_at_start(run, {}, publishes=True)


def test_pictures_behind_a_link_are_found(write, tmp_path):
    (tmp_path / "links").mkdir()
    (tmp_path / "links" / "all").symlink_to(tmp_path / "pictures")
    path = write(datasets=a_set(instance_data_dir=str(tmp_path / "links")))
    [behind] = check_run_file(str(path)).datasets
    assert has_a_picture(behind)
    for picture in (tmp_path / "pictures").iterdir():
        picture.unlink()
    assert not has_a_picture(behind)
    with pytest.raises(InputError, match="holds no pictures"):
        start(path)


def test_the_first_look_takes_no_torch(write, tmp_path):
    path = write()
    script = tmp_path / "start.py"
    script.write_text("""
import sys
from pipelines.checking.start import check_at_start, has_a_picture
from pipelines.run_file import check_run_file
from sanaflow.run_yaml import read_yaml
check_at_start(check_run_file(sys.argv[1]), read_yaml(sys.argv[1]), publishes=True)
print("torch" in sys.modules)
""")
    command = [sys.executable, str(script), str(path)]
    said = subprocess.run(
        command, capture_output=True, text=True, check=True, timeout=120, env=os.environ | {"PYTHONPATH": str(PROJECT)}
    )
    assert said.stdout.splitlines()[-1] == "False"
