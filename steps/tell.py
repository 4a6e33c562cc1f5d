"""Send a message to a webhook, whose address is a secret."""

import os

from zenml.client import Client

from sanaflow.notifications import post_to_webhook


def tell(secret: str, text: str) -> str | None:
    """Post to the value `url` of a ZenML secret, or else of the environment variable of that name.

    Returns:
        Why nobody was told; None if somebody was.
    """
    try:
        url = Client().get_secret(secret).secret_values["url"]
    except (KeyError, NotImplementedError):
        url = os.environ.get(secret, "")
    if not url:
        return (
            f"there is no ZenML secret '{secret}' with a value 'url', nor a variable of that name: "
            f"`zenml secret create {secret} --url=...`"
        )
    return post_to_webhook(url, text)
