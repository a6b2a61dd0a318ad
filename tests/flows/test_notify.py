"""Messages to a web server on loopback: sent, or said not to be; never an error."""

from __future__ import annotations

import logging

import pytest
from pydantic import SecretStr
from shelfgap_flows.notify import notify
from shelfgap_flows.settings import Settings
from webhook import webhook

pytestmark = pytest.mark.filterwarnings("ignore:'imghdr' is deprecated:DeprecationWarning")  # Apprise imports it


def settings(address: str | None) -> Settings:
    return Settings(notify_url=None if address is None else SecretStr(address))


def test_a_message_is_posted_as_json():
    with webhook() as (address, came):
        assert notify(settings(address), "Release of shelf: pass", "all 9 checks hold\nversion 3", "good")
    (message,) = came
    assert (message["title"], message["message"]) == ("Release of shelf: pass", "all 9 checks hold\nversion 3")
    assert message["type"] == "success"


def test_where_no_address_is_set_nobody_is_told_and_nothing_is_said(caplog):
    assert not notify(settings(None), "title", "body", "bad")
    assert caplog.text == ""


@pytest.mark.parametrize("address", ["http://127.0.0.1:9/hooks/secret-token", "carrier-pigeon://secret-token", "?"])
def test_what_cannot_be_told_is_logged_without_the_address(address, caplog):
    with caplog.at_level(logging.WARNING):
        assert not notify(settings(address), "Release of shelf: fail", "why", "bad")
    assert "nobody was told" in caplog.text
    assert "secret-token" not in caplog.text


def test_a_server_that_refuses_is_no_failure(caplog):
    with webhook(500) as (address, came):
        assert not notify(settings(address), "title", "body", "ask")
    assert len(came) == 1
    assert "did not take 'title'" in caplog.text


def test_a_service_that_breaks_is_no_failure(monkeypatch, caplog):
    def broken(*_, **__):
        raise TypeError("a fault in the library")

    monkeypatch.setattr("shelfgap_flows.notify.Apprise.instantiate", broken)
    assert not notify(settings("http://127.0.0.1/"), "title", "body", "good")
    assert "nobody was told" in caplog.text
