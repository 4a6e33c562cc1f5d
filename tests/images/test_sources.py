"""The same pictures from everywhere, over real servers: a folder, S3, the hub, a table of urls."""

import hashlib
import io
import shutil
from dataclasses import replace
from pathlib import Path

import boto3
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from huggingface_hub import HfApi
from PIL import Image

from sanaflow.datasets import DatasetSettings
from sanaflow.errors import InputError
from sanaflow.images import download
from sanaflow.images.scan import scan_datasets
from tests.servers.files import FileServer

NAMES = {"red_ball.png": (64, 48), "sub/blue_sky.jpg": (200, 120), "sub/tree.webp": (30, 90)}


@pytest.fixture(autouse=True)
def without_waiting(monkeypatch):
    monkeypatch.setattr(download, "wait_random_exponential", lambda *args, **kwargs: lambda state: 0)


@pytest.fixture
def folder(make_pictures):
    return make_pictures(NAMES)


@pytest.fixture
def files(folder) -> dict[str, bytes]:
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


@pytest.fixture
def bucket(s3_url, files):
    client = boto3.client("s3", endpoint_url=s3_url, region_name="us-east-1")
    client.create_bucket(Bucket="pictures")
    for name, data in files.items():
        client.put_object(Bucket="pictures", Key=f"set/{name}", Body=data)
    yield client
    for item in client.list_objects_v2(Bucket="pictures").get("Contents", []):
        client.delete_object(Bucket="pictures", Key=item["Key"])
    client.delete_bucket(Bucket="pictures")


@pytest.fixture
def scan(tmp_path):
    def run(*, downloads="downloads", **settings):
        dataset = DatasetSettings(**{"id": "set"} | settings)
        return scan_datasets([dataset], folder=tmp_path / downloads)

    return run


def s3_settings(s3_url):
    return {"type": "aws", "aws_bucket_name": "pictures", "aws_data_prefix": "set/", "aws_endpoint_url": s3_url}


def csv_of(tmp_path, files, prefix, name="table.csv"):
    captions = [n.split("/")[-1].split(".")[0].replace("_", " ") for n in files]
    table = pd.DataFrame({"url": [f"{prefix}{n}" for n in files], "caption": captions})
    table.to_csv(tmp_path / name, index=False)
    return {"type": "csv", "csv_file": str(tmp_path / name), "caption_strategy": "csv"}


def parquet_of(files) -> bytes:
    rows = [{"image": {"bytes": data, "path": name}} for name, data in files.items()]
    buffer = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(rows), buffer)
    return buffer.getvalue()


def test_the_same_pictures_from_everywhere_are_the_same_table(scan, folder, files, bucket, s3_url, hub, tmp_path):
    expected = scan(instance_data_dir=str(folder)).digest()
    hub.add_repo("datasets", "tester/plain", files)
    hub.add_repo("datasets", "tester/parquet", {"data/train-00000-of-00001.parquet": parquet_of(files)})
    with FileServer(files) as server:
        found = {
            "s3": scan(downloads="a", **s3_settings(s3_url)),
            "hub": scan(downloads="b", type="huggingface", dataset_name="tester/plain"),
            "parquet": scan(downloads="c", type="huggingface", dataset_name="tester/parquet"),
            "urls": scan(downloads="d", **csv_of(tmp_path, files, server.url + "/")),
            "paths": scan(downloads="e", instance_data_dir=str(folder), **csv_of(tmp_path, files, "", "paths.csv")),
        }
    assert {name: table.digest() for name, table in found.items()} == dict.fromkeys(found, expected)
    for table in found.values():
        assert table.rejected.empty
        assert all(Path(uri).exists() for uri in table.pictures["uri"])


def test_a_second_look_downloads_nothing_and_a_new_file_alone_is_fetched(scan, files, bucket, s3_url, capsys):
    scan(**s3_settings(s3_url))
    scan(**s3_settings(s3_url))
    assert "3 of 3 files are known, 0 to read" in capsys.readouterr().out
    bucket.put_object(Bucket="pictures", Key="set/red_ball.png", Body=files["sub/tree.webp"])
    changed = scan(**s3_settings(s3_url))
    assert "2 of 3 files are known, 1 to read" in capsys.readouterr().out
    assert changed.rejected["reason"].tolist() == ["same bytes as red_ball.png, which takes over its captions"]


def test_a_hub_dataset_is_pinned_and_looked_at_once(scan, files, hub, capsys):
    commit = hub.add_repo("datasets", "tester/plain", files)
    scan(type="huggingface", dataset_name="tester/plain")
    assert f"tester/plain at commit {commit}" in capsys.readouterr().out
    hub.requests.clear()
    scan(type="huggingface", dataset_name="tester/plain")
    assert not [path for _, path in hub.requests if "/resolve/" in path]


def test_a_parquet_of_the_hub_is_unpacked_once(scan, files, hub):
    hub.add_repo("datasets", "tester/parquet", {"data/train-00000-of-00001.parquet": parquet_of(files)})
    settings = {"type": "huggingface", "dataset_name": "tester/parquet"}
    first = scan(**settings)
    hub.requests.clear()
    assert scan(**settings).digest() == first.digest()
    assert not [path for _, path in hub.requests if "/resolve/" in path]
    with pytest.raises(InputError, match="nor Parquet files of the split 'test'"):
        scan(**settings, split="test")
    with pytest.raises(InputError, match="has no column 'picture': set 'image_column' to one of image"):
        scan(**settings, image_column="picture")


def test_a_hub_that_fails_for_a_moment_is_asked_again(scan, files, hub):
    hub.add_repo("datasets", "tester/plain", files)
    hub.fail_next("GET", "/resolve/.*/red_ball.png", 503, times=2)
    assert len(scan(type="huggingface", dataset_name="tester/plain").pictures) == 3


@pytest.mark.parametrize("failure", [503, 500, "cut", "long"])
def test_a_download_that_fails_twice_still_comes_whole(scan, files, tmp_path, failure):
    with FileServer(files) as server:
        server.failures = {"sub/blue_sky.jpg": [failure, failure]}
        table = scan(**csv_of(tmp_path, files, server.url + "/"))
        assert len([path for path, _ in server.requests if path == "sub/blue_sky.jpg"]) == 3
    assert table.rejected.empty
    for picture in table.pictures.itertuples():
        assert Path(picture.uri).read_bytes() in files.values()


def test_a_cut_download_goes_on_where_it_was(scan, tmp_path):
    buffer = io.BytesIO()
    Image.effect_noise((600, 600), 90).save(buffer, "PNG")
    files = {"noise.png": buffer.getvalue()}
    with FileServer(files) as server:
        server.failures = {"noise.png": ["cut"]}
        table = scan(**csv_of(tmp_path, files, server.url + "/"))
        (_, first), (_, second) = server.requests
    assert first is None
    assert 0 < int(second.removeprefix("bytes=").rstrip("-")) <= len(files["noise.png"]) // 2
    assert table.pictures["id"].tolist() == [hashlib.sha256(files["noise.png"]).hexdigest()]


def test_what_never_comes_is_left_out_by_name_and_tried_again_next_time(scan, files, tmp_path):
    with FileServer(files) as server:
        server.failures = {"red_ball.png": [503] * 5}
        settings = csv_of(tmp_path, files, server.url + "/")
        [row] = scan(**settings).rejected.to_dict("records")
        assert row["file"].endswith("/red_ball.png")
        assert row["reason"] == "can't be had: the server answered 503 Service Unavailable"
        assert len(scan(**settings).pictures) == 3


def test_half_a_picture_under_a_wrong_length_is_noticed_and_tried_again_next_time(scan, files, tmp_path):
    with FileServer(files) as server:
        server.failures = {"sub/blue_sky.jpg": ["short"]}
        settings = csv_of(tmp_path, files, server.url + "/")
        assert len(scan(**settings).pictures) == 2
        assert len(scan(**settings).pictures) == 3


def test_bytes_that_do_not_match_their_checksum_are_never_used(scan, files, bucket, s3_url, monkeypatch):
    from sanaflow.images.sources import s3

    original = s3.open_s3

    def tampered(dataset):
        source = original(dataset)
        first, *others = source.entries
        return replace(source, entries=[replace(first, checksum="md5:" + "0" * 32), *others])

    monkeypatch.setattr("sanaflow.images.scan.open_s3", tampered)
    [row] = scan(**s3_settings(s3_url)).rejected.to_dict("records")
    assert row["reason"] == "can't be had: its bytes are not those that the source's checksum promises"


def test_secrets_are_in_no_table_and_no_error(scan, files, bucket, s3_url, tmp_path, monkeypatch, capsys):
    with FileServer(files) as server:
        table = csv_of(tmp_path, files, server.url.replace("//", "//me:sesame@") + "/")
        text = (tmp_path / "table.csv").read_text().replace(".png", ".png?signature=sesame")
        (tmp_path / "table.csv").write_text(text)
        server.failures = {"red_ball.png": [403] * 5}
        found = scan(**table)
    assert len(found.rejected) == 1
    assert "sesame" not in found.pictures.to_csv() + found.rejected.to_csv() + capsys.readouterr().out
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "open-sesame")
    with pytest.raises(InputError, match=r"aws_bucket_name 'nowhere': can't be listed") as refused:
        scan(type="aws", aws_bucket_name="nowhere", aws_endpoint_url=s3_url)
    assert "sesame" not in refused.value.message


@pytest.mark.parametrize(
    ("where", "reason"),
    [
        ("../outside.png", "neither an http"),
        ("/etc/hostname", "neither an http"),
        ("link.png", "neither an http"),
        ("ftp://host/a.png", "neither an http"),
        ("gone.png", "can't be read: No such file"),
        ("", "its cell is empty"),
    ],
)
def test_paths_of_a_table_never_leave_the_folder(scan, folder, tmp_path, where, reason):
    (tmp_path / "outside.png").write_bytes((folder / "red_ball.png").read_bytes())
    (folder / "link.png").symlink_to(tmp_path / "outside.png")
    (folder / "t.csv").write_text(f'url,caption\n"{where}",secret\nred_ball.png,a ball\n')
    table = scan(type="csv", csv_file=str(folder / "t.csv"), caption_strategy="csv")
    assert table.pictures["captions"].tolist() == [["a ball"]]
    assert reason in table.rejected["reason"].tolist()[0]


def test_a_table_without_its_columns_is_refused(scan, folder):
    (folder / "t.csv").write_text("link\nred_ball.png\n")
    with pytest.raises(InputError, match=r"has no column 'url': set 'csv_url_column' .* two of link"):
        scan(type="csv", csv_file=str(folder / "t.csv"))


@pytest.mark.parametrize("ending", ["parquet", "jsonl", "csv"])
def test_captions_come_from_a_table_in_the_set_itself(scan, folder, ending):
    table = pd.DataFrame(
        {"id": ["red_ball", "blue_sky", "tree"], "description": ["a ball", None, ""], "alt": ["", "sky", None]}
    )
    if ending == "parquet":
        table.to_parquet(folder / "captions.parquet")
    elif ending == "jsonl":
        table.to_json(folder / "captions.jsonl", orient="records", lines=True)
    else:
        table.to_csv(folder / "captions.csv", index=False)
    parquet = {"path": f"captions.{ending}", "fallback_caption_column": "alt"}
    found = scan(instance_data_dir=str(folder), caption_strategy="parquet", metadata_backend="parquet", parquet=parquet)
    assert found.pictures["captions"].tolist() == [["a ball"], ["sky"]]
    assert found.rejected["reason"].tolist() == [f"its row in the table 'captions.{ending}' has no caption"]


def test_text_files_come_from_s3_too(scan, bucket, s3_url, capsys):
    bucket.put_object(Bucket="pictures", Key="set/red_ball.txt", Body=b"a ball\na round thing")
    table = scan(**s3_settings(s3_url), caption_strategy="textfile")
    assert table.pictures["captions"].tolist() == [["a ball", "a round thing"]]
    assert len(table.rejected) == 2


def test_max_num_samples_picks_the_same_pictures_everywhere(scan, folder, bucket, s3_url):
    few = {"max_num_samples": 2}
    assert scan(instance_data_dir=str(folder), **few).digest() == scan(**s3_settings(s3_url), **few).digest()


def test_hub_errors_are_one_line(scan, hub):
    with pytest.raises(InputError, match="is no repository that the hub shows you: correct 'dataset_name'"):
        scan(type="huggingface", dataset_name="tester/none")
    hub.add_repo("datasets", "tester/empty", {"notes.md": b"x"})
    with pytest.raises(InputError, match=r"has no such revision: correct or remove 'revision' \(v2\)"):
        scan(type="huggingface", dataset_name="tester/empty", revision="v2")
    with pytest.raises(InputError, match="has neither picture files nor Parquet"):
        scan(type="huggingface", dataset_name="tester/empty")


def test_a_hub_out_of_reach_is_one_line(scan, monkeypatch):
    monkeypatch.setattr("sanaflow.images.sources.hub.HfApi", lambda: HfApi(endpoint="http://127.0.0.1:9"))
    with pytest.raises(InputError, match=r"the hub can't be asked .*; try again"):
        scan(type="huggingface", dataset_name="tester/plain")


def test_urls_that_differ_in_their_query_are_different_pictures(scan, files, tmp_path):
    one, other = list(files.values())[:2]
    with FileServer({"get": one}) as server:
        server.answer = lambda path, query: {"id=1": one, "id=2&Signature=sesame": other}.get(query)
        (tmp_path / "t.csv").write_text(f"url,caption\n{server.url}/get?id=1,one\n")
        settings = {"type": "csv", "csv_file": str(tmp_path / "t.csv"), "caption_strategy": "csv"}
        first = scan(**settings).pictures
        (tmp_path / "t.csv").write_text(f"url,caption\n{server.url}/get?id=2&Signature=sesame,two\n")
        second = scan(**settings).pictures
    assert first["id"].tolist() == [hashlib.sha256(one).hexdigest()]
    assert second["id"].tolist() == [hashlib.sha256(other).hexdigest()]
    assert "sesame" not in second.to_csv()


def test_a_url_in_several_rows_is_one_picture_with_all_captions(scan, files, tmp_path):
    with FileServer(files) as server:
        rows = [f"{server.url}/{name},caption {i}" for i in range(4) for name in files]
        (tmp_path / "t.csv").write_text("\n".join(["url,caption", *rows]))
        table = scan(type="csv", csv_file=str(tmp_path / "t.csv"), caption_strategy="csv")
        assert len(server.requests) == 3
    assert table.pictures["captions"].tolist() == [[f"caption {i}" for i in range(4)]] * 3
    assert table.rejected.empty


@pytest.mark.parametrize(
    "cell", ["http://[::1/x.png", "http://host:abc/x.png", ".", "ftp://me:sesame@host/x.png", "//me:sesame@host/x.png"]
)
def test_odd_cells_are_rejected_and_tell_no_password(scan, folder, cell):
    (folder / "t.csv").write_text(f'url,caption\n"{cell}",x\nred_ball.png,a ball\n')
    table = scan(type="csv", csv_file=str(folder / "t.csv"), caption_strategy="csv")
    assert len(table.pictures) == len(table.rejected) == 1
    assert "sesame" not in table.rejected.to_csv()


def test_another_file_is_not_joined_to_a_begun_download(scan, tmp_path):
    noise = [io.BytesIO(), io.BytesIO()]
    for buffer in noise:
        Image.effect_noise((600, 600), 90).save(buffer, "PNG")
    with FileServer({"noise.png": noise[0].getvalue()}) as server:
        server.failures = {"noise.png": ["cut"] * 5}
        settings = csv_of(tmp_path, server.files, server.url + "/")
        with pytest.raises(InputError, match="the connection failed"):
            scan(**settings)
        server.files["noise.png"] = noise[1].getvalue()
        table = scan(**settings)
    assert table.pictures["id"].tolist() == [hashlib.sha256(noise[1].getvalue()).hexdigest()]


def test_a_logo_beside_a_parquet_is_no_data(scan, files, hub):
    hub.add_repo("datasets", "t/p", {"data/train-0.parquet": parquet_of(files), "logo.png": files["red_ball.png"]})
    assert len(scan(type="huggingface", dataset_name="t/p").pictures) == 3


def test_a_parquet_that_fails_is_asked_again_and_a_damaged_one_never_used(scan, files, hub, tmp_path, monkeypatch):
    hub.add_repo("datasets", "t/p", {"data/train-0.parquet": parquet_of(files)})
    hub.fail_next("GET", "/resolve/.*parquet", 503, times=2)
    assert len(scan(type="huggingface", dataset_name="t/p").pictures) == 3
    other = tmp_path / "other"
    monkeypatch.setattr(
        "sanaflow.images.sources.hub.hf_hub_download", lambda *a, **k: (other.write_bytes(b"other"), str(other))[1]
    )
    with pytest.raises(InputError, match=r"its data/train-0\.parquet can't be had: its bytes are not those"):
        scan(type="huggingface", dataset_name="t/p", downloads="fresh")


def test_unpacked_pictures_that_are_gone_are_unpacked_again(scan, files, hub, tmp_path):
    hub.add_repo("datasets", "t/p", {"data/train-0.parquet": parquet_of(files)})
    scan(type="huggingface", dataset_name="t/p")
    shutil.rmtree(tmp_path / "downloads/objects")
    table = scan(type="huggingface", dataset_name="t/p")
    assert all(Path(uri).exists() for uri in table.pictures["uri"])


def test_an_imagefolders_metadata_gives_the_captions(scan, files, hub):
    metadata = (
        b'{"file_name": "blue_sky.jpg", "text": "a sky"}\n{"file_name": "tree.webp", "text": ["a tree", "green"]}\n'
    )
    hub.add_repo("datasets", "t/folder", files | {"sub/metadata.jsonl": metadata})
    table = scan(type="huggingface", dataset_name="t/folder", caption_strategy="huggingface")
    assert table.pictures.set_index("file")["captions"].to_dict() == {
        "sub/blue_sky.jpg": ["a sky"],
        "sub/tree.webp": ["a tree", "green"],
    }


def test_captions_of_a_table_may_be_lists_and_rows_add_up(scan, folder):
    rows = [("red_ball", ["a ball", "red"]), ("blue_sky", ["NA"]), ("blue_sky", ["sky"]), ("tree", [])]
    pd.DataFrame(rows, columns=["id", "description"]).to_parquet(folder / "c.parquet")
    table = scan(instance_data_dir=str(folder), caption_strategy="parquet", parquet={"path": "c.parquet"})
    assert table.pictures["captions"].tolist() == [["a ball", "red"], ["NA", "sky"]]


def test_a_store_that_breaks_off_is_asked_again(scan, bucket, s3_url, monkeypatch):
    import aiohttp
    import s3fs

    original, calls = s3fs.S3FileSystem.get_file, []

    def broken(self, *args, **kwargs):
        calls.append(args)
        if len(calls) == 1:
            raise aiohttp.ClientPayloadError("cut")
        return original(self, *args, **kwargs)

    monkeypatch.setattr(s3fs.S3FileSystem, "get_file", broken)
    assert len(scan(**s3_settings(s3_url)).pictures) == 3
    with pytest.raises(InputError, match="can't be listed"):
        scan(type="aws", aws_bucket_name="x", aws_endpoint_url="localhost:9000")


def test_urls_of_one_host_and_two_ports_are_two_pictures(scan, files, tmp_path):
    one, other = list(files.values())[:2]
    with FileServer({"a.png": one}) as first, FileServer({"a.png": other}) as second:
        (tmp_path / "t.csv").write_text(f"url,caption\n{first.url}/a.png,one\n{second.url}/a.png,two\n")
        table = scan(type="csv", csv_file=str(tmp_path / "t.csv"), caption_strategy="csv").pictures
    expected = {hashlib.sha256(one).hexdigest(): ["one"], hashlib.sha256(other).hexdigest(): ["two"]}
    assert dict(zip(table["id"], table["captions"], strict=True)) == expected
