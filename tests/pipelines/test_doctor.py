"""A report that says what is here, and no secret."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner
from huggingface_hub import constants

from pipelines.checking.redaction import host_of, without_secrets, without_user
from pipelines.diagnosis import packages
from pipelines.diagnosis.packages import look_at_packages
from pipelines.doctor import doctor
from tests.environment import HOME, PROJECT

SECTIONS = ["Versions", "GPU", "ZenML", "Disks", "Network"]


def report(*options: str):
    return CliRunner().invoke(doctor, list(options))


def test_a_good_machine_is_reported_for_people_and_for_programs(hub, monkeypatch):
    monkeypatch.setenv("HF_TOKEN", hub.token)
    text = report()
    assert text.exit_code == 0, text.output
    assert [line[4:] for line in text.output.splitlines() if line.startswith("### ")] == SECTIONS
    assert "bitsandbytes on " in text.output and "works, in 4 bits and with an 8-bit optimizer" in text.output
    assert "- token: of 'tester'" in text.output and "- active stack: default" in text.output
    assert text.output.splitlines()[-1] == "nothing is broken"
    found = json.loads(report("--json").stdout)
    assert list(found) == SECTIONS
    assert {"torch", "zenml", "sanaflow"} <= {finding["where"] for finding in found["Versions"]}
    for shown in (text.output, json.dumps(found)):
        assert hub.token not in shown and str(Path.home()) + "/" not in shown


def test_an_expired_token_is_broken_and_not_shown(hub, monkeypatch):
    monkeypatch.setenv("HF_TOKEN", "hf_expired_secret")
    text = report()
    assert text.exit_code == 1
    assert "the hub refuses the token (401)" in text.output and "hf_expired_secret" not in text.output
    assert text.output.splitlines()[-1] == "1 part broken"


def test_a_machine_without_a_network_is_not_broken(hub, monkeypatch):
    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")
    text = report()
    assert text.exit_code == 0
    assert "- hub: no answer from http://127.0.0.1:9 (ConnectError)" in text.output


def test_a_server_that_is_gone_is_one_line_and_the_rest_is_still_told():
    gone = {"ZENML_STORE_TYPE": "rest", "ZENML_STORE_URL": "http://me:secret@127.0.0.1:9"}
    ended = subprocess.run(
        [sys.executable, "-m", "sanaflow", "doctor"],
        **{"capture_output": True, "text": True, "cwd": PROJECT, "timeout": 120},
        env=os.environ | gone | {"ZENML_CONFIG_PATH": str(HOME / "other")},
    )
    assert ended.returncode == 1
    assert "ZenML's server (rest at http://127.0.0.1:9) doesn't answer" in ended.stdout
    assert "- downloads from the hub: " in ended.stdout
    assert "secret" not in ended.stdout + ended.stderr and "Traceback" not in ended.stdout + ended.stderr


def test_versions_that_were_not_tested_are_marked(monkeypatch, tmp_path):
    tested = packages.tested_versions(PROJECT / "constraints.txt")
    assert all(finding.level == "ok" for finding in look_at_packages())
    (tmp_path / "constraints.txt").write_text(f"# a comment\ntorch=={tested['torch']}\npandas==0.1\n")
    monkeypatch.setattr(packages, "ROOT", tmp_path)
    found = {finding.where: finding for finding in look_at_packages()}
    assert found["torch"].level == "ok"
    assert found["pandas"].level == "warning" and found["pandas"].text.endswith("tested with 0.1")


@pytest.mark.parametrize(
    ("told", "kept"),
    [
        (f"{Path.home()}/data", "~/data"),
        ("see /scratch/someone/data, please", "see /scratch/~/data, please"),
        ("someone's /data/someonesthing", "someone's /data/someonesthing"),
    ],
)
def test_a_path_tells_no_user(monkeypatch, told, kept):
    monkeypatch.setenv("LOGNAME", "someone")
    assert without_user(told) == kept


def test_an_address_tells_no_password_and_a_text_no_token():
    assert host_of("mysql://root:pw@db.example.com:3306/zenml?x=1") == "mysql://db.example.com:3306"
    assert without_secrets("GET https://me:pw@host/x with hf_abcDEF123") == "GET https://host/x with hf_..."
