import os
import signal
import sqlite3
import subprocess
import sys
import threading
import time

import pytest

from sanaflow.datasets import DatasetSettings
from sanaflow.images import looks
from sanaflow.images.index import open_index
from sanaflow.images.scan import scan_datasets


def look(folder, index, **settings):
    return scan_datasets([DatasetSettings(id="set", instance_data_dir=str(folder), **settings)], folder=index)


@pytest.fixture
def opened(monkeypatch):
    """The pictures whose bytes are read."""
    names = []
    identify = looks._identify
    monkeypatch.setattr(looks, "_identify", lambda data: (names.append(len(data)), identify(data))[1])
    return names


def test_an_unchanged_file_is_not_read_again(make_pictures, tmp_path, opened):
    folder = make_pictures({"a.png": (8, 8), "b.png": (9, 9)})
    (folder / "a.txt").write_text("a dot")
    (folder / "b.txt").write_text("b dot")
    first = look(folder, tmp_path / "index", caption_strategy="textfile")
    assert len(opened) == 2
    again = look(folder, tmp_path / "index", caption_strategy="textfile")
    assert len(opened) == 2
    assert again.digest() == first.digest()


def test_an_index_that_another_process_is_making_is_waited_for(tmp_path):
    other = sqlite3.connect(tmp_path / "index.sqlite", check_same_thread=False, isolation_level=None)
    other.execute("create table anything (value)")
    other.execute("begin")
    other.execute("select * from anything").fetchall()
    threading.Timer(0.5, lambda: other.execute("commit")).start()
    with open_index(tmp_path) as index:
        assert index.looks("any") == {}


def test_a_file_rewritten_with_the_same_size_and_time_is_read_again(make_pictures, tmp_path):
    folder = make_pictures({"a.png": (8, 8)})
    before = look(folder, tmp_path / "index")
    data = bytearray((folder / "a.png").read_bytes())
    times = (folder / "a.png").stat()
    data[-20] ^= 1  # as a tool does that sets the old time again
    (folder / "a.png").write_bytes(data)
    os.utime(folder / "a.png", ns=(times.st_atime_ns, times.st_mtime_ns))
    assert look(folder, tmp_path / "index").digest() != before.digest()


def test_a_changed_caption_file_is_read_again(make_pictures, tmp_path):
    folder = make_pictures({"a.png": (8, 8)})
    (folder / "a.txt").write_text("one")
    look(folder, tmp_path / "index", caption_strategy="textfile")
    (folder / "a.txt").write_text("two")
    table = look(folder, tmp_path / "index", caption_strategy="textfile")
    assert table.pictures["captions"].tolist() == [["two"]]


def test_two_sets_of_one_folder_read_it_once(make_pictures, tmp_path, opened):
    folder = make_pictures({"a.png": (8, 8), "b.png": (9, 9)})
    sets = [DatasetSettings(id=i, instance_data_dir=str(folder), resolution=r) for i, r in (("a", 512), ("b", 1024))]
    assert len(scan_datasets(sets, folder=tmp_path / "index").pictures) == 4
    assert len(opened) == 2


def test_a_damaged_index_is_made_anew(make_pictures, tmp_path):
    folder = make_pictures({"a.png": (8, 8)})
    before = look(folder, tmp_path / "index")
    (tmp_path / "index/index.sqlite").write_bytes(b"no database " * 1000)
    assert look(folder, tmp_path / "index").digest() == before.digest()


def test_a_killed_look_goes_on_where_it_was(make_pictures, tmp_path):
    folder = make_pictures({f"{i:04}.png": (8, 8 + i % 50) for i in range(1200)})
    program = (
        "import sys, time\nfrom sanaflow.images import looks, scan\nfrom sanaflow.datasets import DatasetSettings\n"
        "identify = looks._identify\n"
        "looks._identify = lambda data: (time.sleep(0.01), identify(data))[1]\n"
        f"dataset = DatasetSettings(id='set', instance_data_dir={str(folder)!r})\n"
        "scan.scan_datasets([dataset], folder=scan.Path(sys.argv[1]))"
    )
    process = subprocess.Popen([sys.executable, "-c", program, str(tmp_path / "index")], stdout=subprocess.DEVNULL)
    deadline = time.monotonic() + 60
    while _known(tmp_path / "index") == 0 and time.monotonic() < deadline:
        time.sleep(0.05)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert 0 < _known(tmp_path / "index") < 1200
    assert look(folder, tmp_path / "index").digest() == look(folder, tmp_path / "fresh").digest()


def _known(index) -> int:
    import sqlite3

    try:
        with sqlite3.connect(f"file:{index / 'index.sqlite'}?mode=ro", uri=True) as connection:
            return connection.execute("select count(*) from looks").fetchone()[0]
    except sqlite3.OperationalError:
        return 0
