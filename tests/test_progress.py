import os
import pty
import re
import subprocess
import sys
import termios

from sanaflow import progress
from tests.environment import PROJECT

SCRIPT = """
from sanaflow import progress
progress.FIRST_SECONDS = 0
for i in progress.progress_bar(range(3), desc="encoding latents", unit="picture"):
    if i == 1:
        progress.say("one is damaged")
"""


def in_a_log() -> str:
    command = [sys.executable, "-c", SCRIPT]
    done = subprocess.run(
        command, cwd=PROJECT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=True, timeout=60
    )
    return done.stdout.decode()


def on_a_terminal() -> str:
    ours, theirs = pty.openpty()
    termios.tcsetwinsize(theirs, (24, 80))
    process = subprocess.Popen([sys.executable, "-c", SCRIPT], cwd=PROJECT, stdout=theirs, stderr=theirs)
    os.close(theirs)
    shown = b""
    try:
        while part := os.read(ours, 4096):
            shown += part
    except OSError:  # Linux says the end of a terminal so
        pass
    os.close(ours)
    assert process.wait(timeout=60) == 0
    return shown.decode()


def test_a_log_gets_whole_lines_with_rate_and_time_left_and_no_carriage_return():
    said = in_a_log()
    assert "\r" not in said and "\x1b" not in said
    lines = said.splitlines()
    assert lines.count("one is damaged") == 1 and "" not in lines
    assert re.fullmatch(r"encoding latents: 3 of 3 \(100 %\), 00:00 gone, 00:00 left, [\d.]+picture/s", lines[-1])
    assert len(lines) == len(set(lines)), "no state is told twice"


def test_a_terminal_gets_a_bar_on_one_line():
    shown = on_a_terminal()
    assert "100%|" in shown and "\r" in shown
    assert shown.count("\n") == 2, "the line that was said, and the end of the bar"


def test_lines_come_every_ten_seconds_then_by_the_minute(monkeypatch, capsys):
    now = [0.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    with progress.progress_bar(total=10_000, desc="training", unit="step", leave=False) as bar:

        def lines(seconds: int) -> int:
            for _ in range(seconds):
                now[0] += 1
                bar.update()
                bar.refresh()
            return capsys.readouterr().err.count("\n")

        assert [lines(9), lines(2), lines(588), lines(601)] == [0, 1, 58, 10]


def test_what_ends_at_once_is_one_line_and_what_holds_nothing_none(capsys):
    list(progress.progress_bar(range(3), desc="reading"))
    list(progress.progress_bar([], desc="nothing"))
    list(progress.progress_bar(range(3), desc="in passing", leave=False))
    assert re.fullmatch(r"reading: 3 of 3 .*\n", capsys.readouterr().err)
