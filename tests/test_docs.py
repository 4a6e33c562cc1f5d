"""What the README and docs/ say can be done can be done: links lead somewhere, commands and keys are there."""

import ast
import importlib
import re
import shlex
from collections.abc import Iterator, Set
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import Any, get_args

import click
import pytest
import yaml
from click.testing import CliRunner
from markdown_it import MarkdownIt
from pydantic import BaseModel

from pipelines.configuring.questions import QUESTIONS
from sanaflow.__main__ import main
from sanaflow.config import RunSettings
from sanaflow.options_page import PAGE, options_page
from sanaflow.run_yaml import parse_run_settings
from tests.environment import PROJECT, SANA_TINY

PAGES = [PROJECT / "README.md", *sorted((PROJECT / "docs").glob("*.md"))]
NAMES = [page.name for page in PAGES]
SHELL = {"", "sh", "bash", "shell"}
STARTS = re.compile(r"(make|zenml|python|accelerate) ")
OUR_PARTS = ("assets", "benchmarks", "configs", "docs", "materializers", "pipelines", "sanaflow", "steps", "tests")
MODEL = {"pretrained_model_name_or_path": str(SANA_TINY)}
DATASET = {"id": "a", "instance_data_dir": "pictures"}


def tokens(page: Path) -> list[Any]:
    """All of a page's Markdown, what is inside a paragraph or cell too."""
    outer = MarkdownIt("commonmark").enable("table").parse(page.read_text())
    return [inner for token in outer for inner in (token, *(token.children or []))]


def plain(text: str) -> str:
    return re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", text).replace("`", "").replace("*", "")


@cache
def anchors(page: Path) -> set[str]:
    """GitHub's, of a page's headings."""
    found: dict[str, int] = {}
    parsed = MarkdownIt("commonmark").enable("table").parse(page.read_text())
    for opening, heading in pairwise(parsed):
        if opening.type == "heading_open":
            slug = re.sub(r"[^\w\- ]", "", plain(heading.content).lower()).replace(" ", "-")
            found[slug] = found.get(slug, -1) + 1
    return {f"{slug}-{i}" if i else slug for slug, times in found.items() for i in range(times + 1)}


def links(page: Path) -> list[str]:
    return [str(t.attrs.get("href") or t.attrs.get("src")) for t in tokens(page) if t.type in ("link_open", "image")]


@pytest.mark.parametrize("name", NAMES)
def test_every_link_leads_to_a_file_or_a_heading(name):
    [page] = [p for p in PAGES if p.name == name]
    broken = []
    for link in links(page):
        if re.match(r"[a-z]+:", link):
            continue
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        if not target.exists() or not target.is_relative_to(PROJECT) or (anchor and anchor not in anchors(target)):
            broken.append(link)
    assert not broken, f"{page.name} links to what isn't there: {broken}"


def test_every_page_is_found_from_the_readme():
    found, new = set(), {PAGES[0]}
    while new:
        found |= new
        reached = {(p.parent / link.partition("#")[0]).resolve() for p in new for link in links(p)}
        new = {p for p in reached if p in PAGES} - found
    assert set(PAGES) == found, f"no page links to {sorted(p.name for p in set(PAGES) - found)}"


def commands(page: Path) -> Iterator[list[str]]:
    """Every command line of a page, in words: those in blocks, and those in the text that begin like one."""
    for token in tokens(page):
        if token.type == "code_inline" and STARTS.match(token.content) and "…" not in token.content:
            lines = [token.content]
        elif token.type == "fence" and token.info.strip() in SHELL:
            lines = token.content.replace("\\\n", " ").splitlines()
        else:
            continue
        for line in lines:
            for part in re.split(r"&&|;", line.replace("[--", "--").replace("]", "")):
                words = shlex.split(part, comments=True) if STARTS.match(part.strip()) else []
                if words and "..." not in words[1:2]:
                    yield words


@cache
def zenml() -> click.Group:
    from zenml.cli.cli import cli

    return cli


def command_line_mistake(command: click.Command, words: list[str]) -> str | None:
    """A subcommand or option that isn't there."""
    context = click.Context(command)
    while isinstance(command, click.Group) and words and not words[0].startswith("-"):
        inner = command.get_command(context, words[0])
        if inner is None:
            if words[0].endswith(".yaml") and command.get_command(context, "add"):  # of `schedule`, which adds
                inner, words = command.get_command(context, "add"), ["add", *words]
            else:
                return f"no command '{words[0]}'"
        assert inner is not None
        command, words, context = inner, words[1:], click.Context(inner)
    known = {option for param in command.params for option in (*param.opts, *param.secondary_opts)} | {"--help"}
    free = any(getattr(param, "nargs", 1) == -1 for param in command.params)  # `zenml secret create NAME --KEY=VALUE`
    unknown = [w for w in words if w.startswith("-") and w.partition("=")[0] not in known]
    return f"no option {unknown}" if unknown and not free else None


def module_mistake(module: str, words: list[str]) -> str | None:
    """A module that isn't there, or an option that its command line hasn't."""
    if module == "sanaflow":
        return command_line_mistake(main, words)
    file = PROJECT / Path(*module.split("."))
    if module.split(".")[0] not in OUR_PARTS:
        return None
    if not (file.with_suffix(".py").is_file() or (file / "__main__.py").is_file()):
        return None if module.endswith(".NAME") else f"no module {module}"
    source = (file.with_suffix(".py") if file.with_suffix(".py").is_file() else file / "__main__.py").read_text()
    if module.startswith("pipelines.") and "main(" in source:
        unknown = [w for w in words if w.startswith("-") and w not in ("-c", "--config", "--port")]
        return f"no option {unknown}" if unknown else None
    if module == "sanaflow.training":
        return command_line_mistake(importlib.import_module("sanaflow.training.__main__").main, words)
    return None


def mistake(words: list[str], made: Set[str] = frozenset()) -> str | None:
    """What of a command line can't be; files that other commands of its page have `made` are there."""
    ours = {word for word in words if "/" in word and word.split("/")[0] in OUR_PARTS and "." in word}
    missing = sorted(word for word in ours - made if not (PROJECT / word).exists())
    if missing:
        return f"no file {missing}"
    if words[0] == "make":
        targets = re.findall(r"^([a-z-]+):", (PROJECT / "Makefile").read_text(), re.MULTILINE)
        absent = [w for w in words[1:] if "=" not in w and w not in targets]
        return f"no target {absent}" if absent else None
    if words[:3] == ["zenml", "pipeline", "run"] and words[3:]:
        module, _, function = words[3].rpartition(".")
        file = PROJECT / Path(*module.split(".")).with_suffix(".py")
        names = (
            [n.name for n in ast.parse(file.read_text()).body if isinstance(n, ast.FunctionDef)]
            if file.is_file()
            else []
        )
        if function not in names:
            return f"no pipeline {words[3]}"
    if words[0] == "zenml":
        return command_line_mistake(zenml(), words[1:])
    if "-m" in words and words[words.index("-m") + 1 :]:
        module, *rest = words[words.index("-m") + 1 :]
        return module_mistake(module, rest)
    return None


@pytest.mark.parametrize("name", NAMES)
def test_every_command_is_there_with_its_options_and_files(name):
    [page] = [p for p in PAGES if p.name == name]
    made = {word for words in commands(page) for option, word in pairwise(words) if option == "-o"}
    wrong = {" ".join(words): said for words in commands(page) if (said := mistake(words, made))}
    assert not wrong, f"{page.name}: {wrong}"


def test_commands_are_found_where_they_are_written():
    """Or else the test before would hold for anything."""
    found = [" ".join(words) for page in PAGES for words in commands(page)]
    assert "make demo" in found and "python -m sanaflow lineage sana@3 --pictures" in found and len(found) > 40
    for wrong in (
        "make dmo",
        "python -m sanaflow lineage --picture",
        "zenml pipeline run pipelines.prepare.it -c x",
    ):
        assert mistake(wrong.split()), wrong
    assert mistake(["python", "-m", "sanaflow", "schedule", "configs/dmo.yaml", "--cron", "x"])


@pytest.mark.parametrize("name", NAMES)
def test_yaml_in_the_text_is_a_run_or_a_part_of_one(name):
    [page] = [p for p in PAGES if p.name == name]
    for token in tokens(page):
        if token.type != "fence" or token.info.strip() != "yaml":
            continue
        content = yaml.safe_load(token.content)
        content = {"datasets": [DATASET, *content]} if isinstance(content, list) else content
        parts = content.get("parameters", content)
        if set(parts) <= set(QUESTIONS):
            assert "pictures" in parts, "an answer to `configure`"
        elif set(parts) <= set(RunSettings.model_fields):
            parse_run_settings({"model": MODEL, "datasets": [DATASET]} | parts, source=page.name)
        else:
            from zenml.config.pipeline_run_configuration import PipelineRunConfiguration

            assert set(content) <= set(PipelineRunConfiguration.model_fields), content.keys()


def field_of(section: Any, keys: list[str]) -> bool:
    """Whether a section has a key, or a section in it has."""
    parts = [section, *get_args(section), *(inner for part in get_args(section) for inner in get_args(part))]
    models = [part for part in parts if isinstance(part, type) and issubclass(part, BaseModel)]
    if not keys or not models:
        return True
    return any(keys[0] in m.model_fields and field_of(m.model_fields[keys[0]].annotation, keys[1:]) for m in models)


@pytest.mark.parametrize("name", NAMES)
def test_keys_in_the_text_are_the_settings_own(name):
    [page] = [p for p in PAGES if p.name == name]
    sections = "|".join(RunSettings.model_fields)
    wrong = []
    for token in tokens(page):
        if token.type != "code_inline":
            continue
        if named := re.fullmatch(rf"(?:parameters\.)?((?:{sections})(?:\.[a-z_0-9]+)+)(?:: .*)?", token.content):
            keys = named[1].split(".")
            if keys[-1] not in ("py", "md", "safetensors") and not field_of(RunSettings, keys):
                wrong.append(token.content)
    assert not wrong, f"{page.name} names keys that aren't there: {wrong}"


@pytest.mark.parametrize("name", main.list_commands(click.Context(main)))
def test_every_command_has_help(name):
    command = main.get_command(click.Context(main), name)
    assert command is not None
    names = list(command.commands) if isinstance(command, click.Group) else []
    for words in [[], *([inner] for inner in names)]:
        ended = CliRunner().invoke(command, [*words, "--help"])
        assert ended.exit_code == 0 and "Usage:" in ended.output, ended.output
        without = [p.name for p in _options(command, words) if not p.help]
        assert not without, f"{name} {words}: options without a word: {without}"


def _options(command: click.Command, words: list[str]) -> list[click.Option]:
    command = command.commands[words[0]] if isinstance(command, click.Group) and words else command
    return [param for param in command.params if isinstance(param, click.Option) and not param.hidden]


def test_the_page_of_options_is_up_to_date():
    assert PAGE.read_text() == options_page(), "run `python -m sanaflow.options_page`"


def test_the_page_of_options_has_a_word_for_each():
    rows = [line for line in options_page().splitlines() if line.startswith("| `")]
    assert len(rows) > 150 and not [row for row in rows if re.search(r"\| +\|$", row)]
