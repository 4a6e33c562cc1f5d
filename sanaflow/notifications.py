"""Tell people how a run ended, by a webhook: Slack, Mattermost, ntfy and whatever takes a POST of JSON."""

import requests
from tenacity import retry, retry_if_exception_type, stop_after_attempt, wait_exponential_jitter

TIMEOUT_SECONDS = 20


def post_to_webhook(url: str, text: str) -> str | None:
    """Send `text` as JSON's `text`. A service that doesn't answer is no reason for a run to fail.

    Args:
        url: Where to; a secret, as whoever has it may post there.
        text: What.

    Returns:
        Why it was not taken, without the url; None if it was.
    """
    try:
        _post(url, text)
    except requests.HTTPError as error:
        return f"the webhook answers {error.response.status_code if error.response is not None else 'nothing'}"
    except (requests.RequestException, ValueError) as error:
        return f"the webhook can't be reached ({type(error).__name__})"
    return None


@retry(
    retry=retry_if_exception_type((requests.ConnectionError, requests.Timeout)),
    stop=stop_after_attempt(3),
    wait=wait_exponential_jitter(max=10),
    reraise=True,
)
def _post(url: str, text: str) -> None:
    requests.post(url, json={"text": text}, timeout=TIMEOUT_SECONDS).raise_for_status()
