"""Options that name files, and where results go."""

import json
import re
from pathlib import Path
from typing import Any

from sanaflow.paths import expanded
from sanaflow.simpletuner.option import Becomes, Given, LeftOut

LYCORIS_CONFIG = "config/lycoris_config.json"
"""Where SimpleTuner looks if the option isn't there."""
ALGORITHMS = ("lora", "locon", "loha", "lokr", "full", "ia3", "diag-oft", "dylora", "glora")
BESIDE = ("lora", "locon", "loha", "lokr")
"""LyCORIS' algorithms that work on Sana, and those that can run beside weights in few bits."""


def read_json(file: Path) -> Any:
    """A JSON file's content. Raises ValueError, saying why not."""
    try:
        return json.loads(file.read_text())
    except (OSError, UnicodeDecodeError) as error:
        raise ValueError(f"the file '{file}' can't be read ({getattr(error, 'strerror', 'not UTF-8')})") from None
    except ValueError as error:
        raise ValueError(f"the file '{file}' is not JSON ({error})") from None


def named_file(value: Any, given: Given) -> tuple[Path, Any]:
    """A file that an option names, and its JSON. Raises ValueError."""
    file = given.find(str(value))
    if file is None:
        raise ValueError(f"the file '{value}' is neither there from the working directory nor beside the configuration")
    return file, read_json(file)


def lycoris_config(value: Any, given: Given) -> Any:
    """The path as it is, if it is found from the working directory; else what the file holds."""
    if isinstance(value, dict):
        return _checked_lycoris(value, value)
    if "lycoris_config" not in given and given.find(str(value)) is None:
        return None
    file, config = named_file(value, given)
    if not isinstance(config, dict):
        raise ValueError(f"the file '{file}' should hold an object")
    if file == expanded(str(value)):
        return _checked_lycoris(value, config)
    return _checked_lycoris(Becomes(config, f"what '{file}' holds"), config)


def _checked_lycoris(found: Any, config: dict[str, Any]) -> Any:
    algorithm = config.get("algo", "lokr")
    if algorithm in ALGORITHMS:
        return found
    return LeftOut("missing", f"its algo '{algorithm}' doesn't work on Sana here: a LoKr is trained; docs/training.md")


def prompt_library(value: Any, given: Given) -> Any:
    """The path as it is, if our settings can read the file as it is; else its prompts."""
    file, library = (given.source, value) if isinstance(value, dict) else named_file(value, given)
    if not isinstance(library, dict):
        raise ValueError(f"the file '{file}' should hold an object of prompts by name")
    prompts, changed = {}, []
    for name, prompt in library.items():
        text = prompt.get("prompt") if isinstance(prompt, dict) else prompt
        if not isinstance(text, str) or not text.strip():
            raise ValueError(f"the file '{file}' has no text for the prompt '{name}'")
        if isinstance(prompt, dict) and len(prompt) > 1:
            changed.append(f"of '{name}' its 'prompt' only, without {', '.join(k for k in prompt if k != 'prompt')}")
        clean = re.sub(r"[^\w-]+", "_", name).strip("_") or "prompt"
        clean = "validation_" if clean == "validation" else clean
        while clean in prompts:
            clean += "_"
        if clean != name:
            changed.append(f"'{name}' is now '{clean}'")
        prompts[clean] = text
    if prompts == library and file == expanded(str(value)):
        return value
    return Becomes(prompts, "; ".join(changed) or (f"what '{file}' holds" if prompts != value else ""))


def release_dir(value: Any, _: Given) -> Any:
    """The folder itself, or one beside it where SimpleTuner left something."""
    folder = expanded(str(value))
    if not folder.is_dir() or not any(folder.iterdir()) or (folder / "manifest.json").is_file():
        return Becomes(value, "the finished model only; checkpoints are kept in the artifact store")
    return Becomes(f"{str(value).rstrip('/')}-sanaflow", f"'{value}' holds something else, which is never written over")


def push_to_hub(value: Any, given: Given) -> Any:
    """Whether a release is pushed; null would push wherever a repository is named."""
    if not given.is_on("push_to_hub"):
        return Becomes(False, "" if "push_to_hub" in given else "SimpleTuner's default")
    if "hub_model_id" not in given:
        return LeftOut("missing", "needs 'publishing.hub_model_id': SimpleTuner makes it from 'tracker_project_name'")
    return True


def push_checkpoints(value: Any, given: Given) -> Any:
    """Whether checkpoints are pushed, which goes with pushing."""
    if given.is_on("push_checkpoints_to_hub") and not (given.is_on("push_to_hub") and "hub_model_id" in given):
        return LeftOut("not needed", "'push_to_hub' isn't set, or names no 'hub_model_id'")
    return given.is_on("push_checkpoints_to_hub")


def hub_model_id(value: Any, _: Given) -> Any:
    """`owner/name`."""
    return value if "/" in str(value) else Becomes(value, "write 'owner/name'")
