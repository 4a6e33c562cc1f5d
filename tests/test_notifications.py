"""People are told, and a webhook that fails costs nothing but that."""

import json

import pytest
from tenacity import wait_none

from sanaflow.notifications import _post, post_to_webhook
from tests.servers.loopback import LoopbackHandler, LoopbackServer


class Webhook(LoopbackHandler):
    def do_POST(self) -> None:
        self.owner.told.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
        self.send_response(self.owner.status)
        self.send_header("Content-Length", "0")
        self.end_headers()


@pytest.fixture
def webhook():
    with LoopbackServer(Webhook) as server:
        server.told, server.status = [], 200
        yield server


def test_a_message_arrives(webhook):
    assert post_to_webhook(webhook.url, "version 3 is promoted") is None
    assert webhook.told == [{"text": "version 3 is promoted"}]


def test_a_webhook_that_refuses_is_said_without_its_address(webhook):
    webhook.status = 404
    assert post_to_webhook(f"{webhook.url}/secret", "x") == "the webhook answers 404"


def test_a_webhook_that_is_gone_is_said_without_its_address(monkeypatch):
    monkeypatch.setattr(_post.retry, "wait", wait_none())
    assert post_to_webhook("http://127.0.0.1:1/secret", "x") == "the webhook can't be reached (ConnectionError)"
    assert post_to_webhook("no address", "x") == "the webhook can't be reached (InvalidURL)"
