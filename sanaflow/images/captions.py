"""Captions of a picture, by the dataset's `caption_strategy`."""

from pathlib import Path

from sanaflow.config import DatasetSettings


class MissingCaptionError(Exception):
    """A picture has no caption; the text names the file that should hold it."""


def captions_of(picture: Path, dataset: DatasetSettings) -> list[str]:
    """The captions of one picture; several where its text file has several lines.

    Raises:
        MissingCaptionError: No caption file, or nothing in it.
    """
    if dataset.caption_strategy == "instanceprompt":
        return [dataset.instance_prompt or ""]
    if dataset.caption_strategy == "filename":
        return [picture.stem.replace("_", " ").strip()]
    text_file = picture.with_suffix(".txt")
    try:
        lines = [line.strip() for line in text_file.read_text(encoding="utf-8-sig").splitlines() if line.strip()]
    except FileNotFoundError:
        raise MissingCaptionError(f"its caption file {text_file.name} is missing") from None
    except IsADirectoryError:
        raise MissingCaptionError(f"its caption file {text_file.name} is a folder") from None
    except UnicodeDecodeError:
        raise MissingCaptionError(f"its caption file {text_file.name} is not UTF-8 text") from None
    if not lines:
        raise MissingCaptionError(f"its caption file {text_file.name} is empty")
    return lines
