"""Messages to people: verdicts and promotions, sent where SHELFGAP_NOTIFY_URL says."""

from __future__ import annotations

import logging
from typing import Literal

from apprise import Apprise, NotifyFormat, NotifyType

from shelfgap_flows.outcome import Release
from shelfgap_flows.settings import Settings, tracker_for
from shelfgap_flows.workspace import Workspace

logger = logging.getLogger(__name__)

_TYPES = {"good": NotifyType.SUCCESS, "bad": NotifyType.FAILURE, "ask": NotifyType.WARNING}
_FEELINGS: dict[str, Literal["good", "bad", "ask"]] = {"pass": "good", "fail": "bad", "inconclusive": "ask"}


def notify(settings: Settings, title: str, body: str, feeling: Literal["good", "bad", "ask"]) -> bool:
    """Send a message; a failure is logged, and never one of who sends it.

    Args:
        settings: `notify_url` is an address of Apprise (`slack://...`, `mailto://...`), or `http(s)://...` for JSON.
        title: one line.
        body: plain text.
        feeling: good news, bad news, or something to be decided.

    Returns:
        Whether it was sent; False too where no address is set.
    """
    if settings.notify_url is None:
        return False
    address = settings.notify_url.get_secret_value()
    logging.getLogger("apprise").setLevel(logging.CRITICAL)  # it names addresses, which hold secrets
    try:
        target = Apprise.instantiate(address)  # Slack and others know their own https:// addresses
        if target is None and address.startswith(("http://", "https://")):
            target = Apprise.instantiate(address.replace("http", "json", 1))
        sent = target is not None and bool(
            target.notify(body=body, title=title, notify_type=_TYPES[feeling], body_format=NotifyFormat.TEXT)
        )
    except Exception as error:  # of a hundred services; whatever it is, the work is done and must not fail by it
        logger.debug("notification", exc_info=error)
        sent = False
    if not sent:
        logger.warning("nobody was told: the service of SHELFGAP_NOTIFY_URL did not take %r", title)
    return sent


def notify_verdict(workspace: Workspace, settings: Settings, release: Release) -> bool:
    """Tell the verdict on a release, once for each verdict of a training.

    Returns:
        Whether it was told now.
    """
    tracker = tracker_for(workspace, settings)
    told = f"{release.verdict}: {release.reason}"
    if settings.notify_url is None or tracker.tag(release.mlflow_run_id, "shelfgap.told") == told[:500]:
        return False
    name = workspace.params().bundle.name
    version = "" if release.registry_version is None else f"\nRegistered as version {release.registry_version}."
    title = f"Release of {name}: {release.verdict}"
    sent = notify(settings, title, f"{release.reason}{version}\n{workspace.root}", _FEELINGS[release.verdict])
    if sent:
        tracker.log(release.mlflow_run_id, {}, tags={"shelfgap.told": told[:500]})
    return sent
