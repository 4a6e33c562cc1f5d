"""What may be told: no address with a password in it, no token and, in a report for others, no user's name."""

import getpass
import re
from pathlib import Path
from urllib.parse import urlsplit

LONGEST = 200


def why(error: BaseException) -> str:
    """The kind of an error and, on one line, what it says without secrets."""
    said = without_secrets(" ".join(str(error).split()))[:LONGEST]
    return f"{type(error).__name__}: {said}" if said else type(error).__name__


def without_secrets(text: str) -> str:
    """A text whose addresses have no user and password, and that holds no token of the hub's."""
    return re.sub(r"\bhf_\w+", "hf_...", re.sub(r"(?<=://)[^/\s]*@", "", text))


def without_user(text: object) -> str:
    """A text whose paths tell neither the home folder nor the user's name."""
    said = str(text).replace(str(Path.home()), "~")
    try:
        user = getpass.getuser()
    except (KeyError, OSError):  # a container's user without a name
        return said
    return re.sub(rf"(?<=/){re.escape(user)}(?=[/\s'\"]|$)", "~", said)


def host_of(address: str) -> str:
    """'https://host:port' of an address, without its user, password, path and query."""
    parts = urlsplit(address)
    port = f":{parts.port}" if parts.port else ""
    return f"{parts.scheme}://{parts.hostname or ''}{port}"
