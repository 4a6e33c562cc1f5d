"""What `python -m sanaflow configure` asks, finds and writes."""

import io
import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import boto3
import pandas as pd
import pytest
import yaml
from click.testing import CliRunner
from PIL import Image

from pipelines.configure import configure
from pipelines.configuring.fitting import Card
from pipelines.configuring.lines import as_yaml
from pipelines.configuring.pictures import look_at_pictures
from pipelines.run_file import check_run_file
from sanaflow.errors import InputError
from sanaflow.model.variants import VARIANTS
from tests.environment import PROJECT, SANA_TINY

FRUIT = PROJECT / "assets" / "fruit-and-vegetables"
ANSWERS = {
    **{"pictures": str(FRUIT), "captions": None, "memory": 24, "model": str(SANA_TINY), "resolution": None},
    **{"train": "lokr", "steps": None, "prompts": ["red apple", "a pear: green"], "hub_model_id": None},
    "schedule": None,
}


def run(output: Path, *options: str, keys: str | None = None):
    return CliRunner().invoke(configure, ["-o", str(output), *options], input=keys)


@pytest.fixture
def answered(tmp_path):
    """Writes answers that differ from the usual ones, and runs on them; `leave_out` takes one away."""

    def answer(leave_out: str = "", **other):
        given = {key: value for key, value in (ANSWERS | other).items() if key != leave_out}
        (tmp_path / "answers.yaml").write_text(yaml.safe_dump(given))
        return run(tmp_path / "my.yaml", "--answers", str(tmp_path / "answers.yaml"))

    return answer


def refusal(result) -> str:
    assert result.exit_code == 1 and isinstance(result.exception, SystemExit), result.output
    return result.output.strip().splitlines()[-1]


def test_wrong_answers_are_explained_and_asked_again(tmp_path):
    keys = f"nowhere\n{FRUIT}\ntextfile\n\nlots\n24\n1.6b-1O24\n{SANA_TINY}\n100\n4096\n128\nful\nlokr\nmany\n50\n\n"
    result = run(tmp_path / "my.yaml", keys=keys + "my-sana\nme/my-sana\n61 * * * *\n0 3 * * *\n")
    assert result.exit_code == 0, result.output
    for said in (
        "'nowhere' is no folder here; nor is it s3://bucket/prefix, a .csv, or owner/name on the hub",
        "found 36 pictures",
        "'textfile' is none of filename, instanceprompt: did you mean 'filename'?",
        "'lots' is no card's memory in GiB, such as 24",
        "there is no model '1.6b-1O24': did you mean '1.6b-1024'?",
        "100 can't be divided by 16, this model's pixels a token: 96 can",
        "this model was made for 128 px: take 128 or less, or a larger model",
        "'ful' is none of full, lokr, lora: did you mean 'full'?",
        "'many' is no number of steps",
        "'my-sana' has no owner: write it as me/my-sana",
        "'61 * * * *': ",
        "python -m sanaflow schedule",
    ):
        assert said in result.output
    parameters = yaml.safe_load((tmp_path / "my.yaml").read_text())["parameters"]
    assert parameters["training"]["max_train_steps"] == 50
    assert parameters["publishing"]["hub_model_id"] == "me/my-sana"


def test_enter_takes_what_is_suggested(tmp_path):
    result = run(tmp_path / "my.yaml", keys=f"{FRUIT}\n\n\n{SANA_TINY}\n\n\n\n\n\n\n")
    assert result.exit_code == 0, result.output
    parameters = yaml.safe_load((tmp_path / "my.yaml").read_text())["parameters"]
    assert parameters["datasets"][0]["caption_strategy"] == "filename"
    assert parameters["training"]["model_type"] == "full", "so small a model fits"
    assert parameters["training"]["max_train_steps"] == 900, "36 pictures, each a hundred times, in fours"
    assert list(parameters["validation"]["user_prompt_library"].values()) == ["avocado", "banana"]
    assert "sanaflow schedule" not in (tmp_path / "my.yaml").read_text() + result.output


def test_what_is_written_says_why_and_trains(answered, tmp_path):
    from sanaflow.model.reference import resolve_model
    from sanaflow.training.__main__ import prepare
    from sanaflow.training.run import train_sana

    result = answered(steps=2, train="lora", schedule="0 3 * * *")
    assert result.exit_code == 0, result.output
    text = (tmp_path / "my.yaml").read_text()
    assert "caption_strategy: filename # 36 of 36 have words in their names" in text
    assert "prompt_2: 'a pear: green'" in text and "of 24 GiB by `python -m sanaflow fit`" in text
    settings = check_run_file(str(tmp_path / "my.yaml"))
    model = resolve_model(settings.model)
    _, log = train_sana(
        *prepare(settings, model, tmp_path / "store"),
        model=model,
        settings=settings.training,
        run_folder=tmp_path / "run",
        models_folder=tmp_path / "models",
    )
    assert log.steps["step"].tolist() == [1, 2]


def test_an_answer_that_is_unknown_missing_wrong_or_left_over_is_named(answered, tmp_path):
    assert "answers.yaml: no question 'step': did you mean 'steps'?" in refusal(answered(step=3))
    missing = refusal(answered(leave_out="steps"))
    assert "no answer to 'steps' (Steps): add it, or `steps: null` for '900'" in missing
    assert "answers.yaml: 'train': 'loha' is none of full, lokr, lora" in refusal(answered(train="loha"))
    assert "answers.yaml: 'pictures' (Where are your pictures?) needs an answer" in refusal(answered(pictures=None))
    assert "'instance_prompt' isn't asked with these other answers: remove it" in refusal(answered(instance_prompt="a"))
    (tmp_path / "bad.json").write_text("[1, 2")
    assert "bad.json: is neither YAML nor JSON" in refusal(
        run(tmp_path / "my.yaml", "--answers", str(tmp_path / "bad.json"))
    )
    assert not list(tmp_path.glob("*my.yaml*"))


@pytest.mark.parametrize("text", ["a red fruit\non a table", "a: b # c", "", "no", "ünï", 'it\'s "so"'])
def test_any_text_is_one_line_of_yaml(text):
    assert "\n" not in as_yaml(text)
    assert yaml.safe_load(f"key: {as_yaml(text)}") == {"key": text}
    assert yaml.safe_load(f"key: {as_yaml([text])}") == {"key": [text]}


def test_json_answers_are_as_good(tmp_path):
    (tmp_path / "answers.json").write_text(json.dumps(ANSWERS))
    result = run(tmp_path / "my.yaml", "--answers", str(tmp_path / "answers.json"))
    assert result.exit_code == 0 and "written: " in result.output, result.output


def test_a_file_is_never_replaced_unless_that_is_asked_for(answered, tmp_path):
    (tmp_path / "my.yaml").write_text("mine")
    assert "is there already: name another file, or add --force" in refusal(answered())
    assert (tmp_path / "my.yaml").read_text() == "mine"
    options = ("--force", "--answers", str(tmp_path / "answers.yaml"))
    assert run(tmp_path / "my.yaml", *options).exit_code == 0
    assert (tmp_path / "my.yaml").read_text().startswith("# Written by")
    assert "should end in .yaml" in refusal(run(tmp_path / "my.txt"))
    assert "there is no folder" in refusal(run(tmp_path / "none" / "my.yaml"))


@pytest.mark.parametrize("how", ["no more answers", "Ctrl-C"])
def test_an_end_midway_leaves_nothing_behind(tmp_path, how):
    command = [sys.executable, "-m", "sanaflow", "configure", "-o", str(tmp_path / "my.yaml")]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    process = subprocess.Popen(command, cwd=PROJECT, text=True, bufsize=0, **pipes)
    process.stdin.write(f"{FRUIT}\n")
    said = ""
    until = time.monotonic() + 60
    while "Captions [filename]" not in said and time.monotonic() < until:
        said += process.stdout.read(1)
    if how == "Ctrl-C":
        process.send_signal(signal.SIGINT)
    _, error = process.communicate(timeout=60)
    assert process.returncode == 130
    assert error.strip() == "ended: nothing was written"
    assert not list(tmp_path.iterdir())


def test_folders_without_a_usable_picture_are_refused_with_what_is_there(tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="there is no picture: it is empty"):
        look_at_pictures(str(tmp_path / "empty"))
    papers = tmp_path / "papers"
    papers.mkdir()
    for number in range(3):
        (papers / f"{number}.pdf").write_bytes(b"%PDF-1.7")
    with pytest.raises(InputError, match=r"there is no picture: its 3 files are \.pdf"):
        look_at_pictures(str(papers))
    (papers / "broken.png").write_bytes(b"no picture")
    with pytest.raises(InputError, match=r"no picture can be used, for example broken\.png \(not a picture"):
        look_at_pictures(str(papers))


def test_one_picture_is_enough_and_shown_as_often_as_a_batch_needs(answered, make_pictures):
    folder = make_pictures({"IMG_0042.png": (200, 120)})
    assert "no answer to 'instance_prompt'" in refusal(answered(pictures=str(folder)))
    result = answered(pictures=str(folder), instance_prompt="a photo of ohwx cup")
    assert result.exit_code == 0, result.output
    text = (folder.parent / "my.yaml").read_text()
    assert "for 1 picture," in text and "instance_prompt: a photo of ohwx cup" in text
    assert "# 1 of 1 shapes holds fewer than 4 pictures, which are shown more often" in text


def test_captions_are_found_in_files_tables_and_names(make_pictures):
    folder = make_pictures({f"IMG_{n}.png": (64, 64) for n in range(4)})
    assert look_at_pictures(str(folder)).captions[0].strategy == "instanceprompt", "a camera's names are no captions"
    rows = [{"file_name": f"IMG_{n}.png", "text": "a ball"} for n in range(4)]
    (folder / "metadata.jsonl").write_text("\n".join(map(json.dumps, rows)))
    table = look_at_pictures(str(folder)).captions[0]
    assert table.strategy == "parquet" and table.keys["parquet"]["filename_column"] == "file_name"
    (folder / "IMG_0.txt").write_text("a red ball\nanother")
    found = look_at_pictures(str(folder))
    assert found.captions[0].why == "1 of 4 have a .txt of their name beside them"
    assert found.examples == ["a red ball"]


def test_a_table_of_paths_is_read_by_the_columns_it_has(make_pictures):
    folder = make_pictures({"a.png": (640, 480), "b.png": (640, 480)})
    (folder / "all.csv").write_text("path,text\na.png,one ball\nb.png,two balls\n")
    found = look_at_pictures(str(folder / "all.csv"))
    assert found.entry["csv_url_column"] == "path" and found.captions[0].keys == {"csv_caption_column": "text"}
    assert found.pictures == 2 and found.edge == 554 and found.examples == ["one ball", "two balls"]
    (folder / "bad.csv").write_text("a,b\n1,2\n")
    with pytest.raises(InputError, match="has the columns a, b: name that of urls or paths 'url'"):
        look_at_pictures(str(folder / "bad.csv"))


def test_a_dataset_on_the_hub_is_looked_at_without_its_pictures(answered, hub, tmp_path):
    data = io.BytesIO()
    Image.new("RGB", (64, 64)).save(data, "PNG")
    table = io.BytesIO()
    pd.DataFrame([{"img": {"bytes": data.getvalue(), "path": None}, "text": "a square"}] * 5).to_parquet(table)
    hub.add_repo("datasets", "me/squares", {"data/train-00000-of-00001.parquet": table.getvalue()})
    result = answered(pictures="me/squares")
    assert result.exit_code == 0, result.output
    [entry] = yaml.safe_load((tmp_path / "my.yaml").read_text())["parameters"]["datasets"]
    assert entry["image_column"] == "img" and entry["caption_column"] == "text"
    with pytest.raises(InputError, match="'me/none' is neither a folder here nor a dataset that the hub shows you"):
        look_at_pictures("me/none")


def test_a_bucket_is_listed(answered, s3_url, tmp_path):
    bucket = boto3.resource("s3", endpoint_url=s3_url, region_name="us-east-1").Bucket("to-configure")
    bucket.create()
    for name in ("set/red_ball.png", "set/red_ball.txt"):
        bucket.put_object(Key=name, Body=b"x")
    result = answered(pictures="s3://to-configure/set", endpoint=s3_url)
    assert result.exit_code == 0, result.output
    [entry] = yaml.safe_load((tmp_path / "my.yaml").read_text())["parameters"]["datasets"]
    assert entry["aws_endpoint_url"] == s3_url and entry["caption_strategy"] == "textfile"


def test_settings_are_the_best_that_fit_the_card():
    config = VARIANTS["1.6b-1024"].config()
    card = Card(config, (32, 32), 24)
    full, fits = card.fit("full")
    assert fits and full.gib < 24
    assert full.settings.optimizer == "bnb-adamw8bit" and full.settings.gradient_checkpointing
    assert full.settings.train_batch_size == 4, "what 8 bits save leaves room for a whole batch"
    assert card.suggested() == "lokr" and Card(config, (32, 32), 80).suggested() == "full"
    assert Card(config, (32, 32), 6).suggested() == "lora"
    nothing, fits = Card(config, (32, 32), 2).fit("lora")
    assert not fits and nothing.settings.base_model_precision == "nf4-bnb"
