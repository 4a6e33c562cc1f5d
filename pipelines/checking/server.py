"""ZenML's server, asked in seconds: its own client tries for half a minute."""

import requests
from zenml.client import Client
from zenml.config.global_config import GlobalConfiguration

from pipelines.checking.redaction import host_of, why, without_user

TIMEOUT_SECONDS = 5.0


def store_address() -> str:
    """Where the client's store is: its kind and its host or, on this machine, its file."""
    store = GlobalConfiguration().store_configuration
    kind, address = str(store.type.value), str(store.url)
    return f"{kind} at {without_user(address) if address.startswith('sqlite') else host_of(address)}"


def store_problem() -> str | None:
    """Why ZenML's store can't be used; None if it can."""
    store = GlobalConfiguration().store_configuration
    if store.type.value == "rest":
        try:
            requests.get(f"{store.url.rstrip('/')}/health", timeout=TIMEOUT_SECONDS)
        except requests.RequestException as error:
            kind = type(error).__name__
            return f"ZenML's server ({store_address()}) doesn't answer ({kind}): start it, or connect to another"
    try:
        Client().active_stack_model  # noqa: B018 - it asks the store
    except Exception as error:  # of many kinds: no right, a database that is gone, or of another version
        return f"ZenML's store ({store_address()}) can't be used ({why(error)}): see what `zenml status` says"
    return None
