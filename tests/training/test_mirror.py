"""Checkpoints in an object store, by a real S3 server: another machine goes on from them."""

import shutil

import boto3
import pytest
import s3fs

from sanaflow.config import ValidationSettings
from sanaflow.errors import InputError
from sanaflow.training.checkpoints import Checkpoints
from sanaflow.training.mirror import Mirror


class Bucket:
    """What is asked of a store, by s3fs."""

    def __init__(self, url: str) -> None:
        self.fs = s3fs.S3FileSystem(endpoint_url=url, skip_instance_cache=True, use_listings_cache=False)
        self.open, self.exists, self.remove = self.fs.open, self.fs.exists, self.fs.rm_file
        self.size = self.fs.size

    def listdir(self, path):
        return [name.rstrip("/").rsplit("/", 1)[-1] for name in self.fs.ls(path, detail=False)]


@pytest.fixture
def bucket(s3_url):
    made = boto3.resource("s3", endpoint_url=s3_url, region_name="us-east-1").Bucket("checkpoints")
    made.create()
    yield Bucket(s3_url)
    made.objects.delete()
    made.delete()


def names(bucket):
    return sorted(bucket.listdir("checkpoints/run")) if bucket.exists("checkpoints/run") else []


def stop_at_5(transformer, step, weights):
    if step == 5:
        raise KeyError("stopped")
    return {}


def test_a_run_goes_on_on_another_machine_to_the_very_same_weights(run, bucket, tmp_path):
    straight, _ = run("straight")
    validation = ValidationSettings(validation_prompt="a", validation_steps=1)
    with pytest.raises(KeyError):
        options = {"validation": validation, "draw": stop_at_5, "mirror": Mirror(bucket, "checkpoints/run")}
        run("here", options=options)
    options["mirror"].wait()
    assert names(bucket) == ["step-00000002", "step-00000004"], "as many as are kept here"
    shutil.rmtree(tmp_path / "here")
    resumed, log = run("there", options={"mirror": Mirror(bucket, "checkpoints/run")})
    assert resumed.digest() == straight.digest()
    assert log.steps["step"].tolist() == [1, 2, 3, 4, 5, 6]
    assert names(bucket) == [], "a finished run leaves none"


def test_a_checkpoint_that_was_copied_in_part_is_not_there(run, bucket, tmp_path):
    validation = ValidationSettings(validation_prompt="a", validation_steps=1)
    options = {"validation": validation, "draw": stop_at_5, "mirror": Mirror(bucket, "checkpoints/run")}
    with pytest.raises(KeyError):
        run("here", options=options)
    options["mirror"].wait()
    bucket.remove("checkpoints/run/step-00000004/state.json")
    _, state = Checkpoints(tmp_path / "fetched", keep=2, mirror=Mirror(bucket, "checkpoints/run")).load()
    assert state["step"] == 2


def test_damaged_copies_fall_back_here_and_there(run, bucket, tmp_path, capsys):
    validation = ValidationSettings(validation_prompt="a", validation_steps=1)
    options = {"validation": validation, "draw": stop_at_5, "mirror": Mirror(bucket, "checkpoints/run")}
    with pytest.raises(KeyError):
        run("here", options=options)
    options["mirror"].wait()
    here = tmp_path / "here/run/checkpoints"
    (here / "step-00000004/state.json").write_text("{")

    def newest(folder):
        return Checkpoints(folder, keep=2, mirror=Mirror(bucket, "checkpoints/run")).load()[1]["step"]

    assert newest(here) == 4, "damaged here, whole there"
    with bucket.open("checkpoints/run/step-00000004/model.safetensors", "wb") as file:
        file.write(b"damaged")
    assert newest(tmp_path / "elsewhere") == 2, "damaged there: the one before"
    assert "step-00000004 is damaged" in capsys.readouterr().out


def test_a_store_that_refuses_ends_the_run_in_words(run, bucket):
    def refuse(path, mode="r"):
        raise PermissionError("Access Denied")

    bucket.open = refuse
    with pytest.raises(InputError, match=r"a checkpoint can't be copied to 'checkpoints/run' \(Access Denied\)"):
        run("here", options={"mirror": Mirror(bucket, "checkpoints/run")})
