"""`shelfgap publish`: what devices are offered, ring by ring."""

from __future__ import annotations

from datetime import timedelta
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from shelfgap_flows.cli_output import AsJson, print_json, progress_bar

if TYPE_CHECKING:
    from shelfgap_edge.pull.index import Index
    from shelfgap_export.publish import Edit


class Ring(StrEnum):
    """Which devices."""

    CANARY = "canary"
    ALL = "all"


def add_publish_command(app: typer.Typer) -> None:
    """Add the command to the application."""
    app.command(epilog="Example: shelfgap publish release/bundle --to s3://models/gaps --keys release.pub")(publish)


def publish(
    to: Annotated[str, typer.Option(help="A folder, https://..., http://... or s3://bucket/prefix.")],
    bundle: Annotated[Path | None, typer.Argument(help="A signed bundle, for ring canary.")] = None,
    ring: Annotated[Ring | None, typer.Option(help="Ring of the bundle, of --promote or of --allow-rollback.")] = None,
    promote: Annotated[str | None, typer.Option(metavar="VERSION", help="Offer a release of canary to --ring.")] = None,
    withdraw: Annotated[str | None, typer.Option(metavar="VERSION", help="Offer a release to nobody again.")] = None,
    allow_rollback: Annotated[
        str | None,
        typer.Option(metavar="VERSION", help="Let devices go back to a release: those of --ring, or of --withdraw."),
    ] = None,
    refresh: Annotated[bool, typer.Option("--refresh", help="Sign the index anew, for its expiry.")] = False,
    show: Annotated[bool, typer.Option("--list", help="Show what is published; needs no key.")] = False,
    key: Annotated[Path | None, typer.Option(help="Private key, PEM; else SHELFGAP_SIGNING_KEY.")] = None,
    keys: Annotated[Path | None, typer.Option(help="Public keys that devices trust, PEM or JSON.")] = None,
    valid_days: Annotated[
        float, typer.Option(min=0.01, max=36_500, help="How long devices may install from the index.")
    ] = 90.0,
    create: Annotated[bool, typer.Option("--create", help="Begin where nothing was published yet.")] = False,
    as_json: AsJson = False,
) -> None:
    """Publish a bundle for devices in ring canary; promote it to all, withdraw it, let devices go back."""
    from shelfgap_export.destination import open_destination
    from shelfgap_export.publish import Publisher, change_index, publish_bundle, read_index

    from shelfgap_flows.settings import Settings

    actions = [bundle is not None, promote is not None, refresh, show, withdraw is not None]
    if sum(actions) + (allow_rollback is not None and withdraw is None) != 1:
        raise typer.BadParameter(
            "give one of BUNDLE, --promote, --withdraw (alone or with --allow-rollback), --allow-rollback, --refresh, "
            "--list"
        )
    if ring is not None and (withdraw is not None or refresh or show):
        raise typer.BadParameter("--ring goes with BUNDLE, --promote or --allow-rollback; --withdraw is for all rings")
    if show:
        _show(read_index(open_destination(to)), as_json)
        return
    if (promote is not None or (allow_rollback is not None and withdraw is None)) and ring is None:
        raise typer.BadParameter("--promote and --allow-rollback need --ring")
    settings = Settings()
    key = key or settings.signing_key
    if key is None or keys is None:
        raise typer.BadParameter("give --keys, and --key or SHELFGAP_SIGNING_KEY")
    publisher = Publisher(open_destination(to), key, keys, settings.passphrase(), timedelta(days=valid_days), create)
    if bundle is not None:
        if ring is Ring.ALL:
            raise typer.BadParameter("a bundle goes to ring canary first; then --promote VERSION --ring all")
        with progress_bar("publishing") as on_progress:
            index = publish_bundle(publisher, bundle, on_progress)
    else:
        index = change_index(publisher, _edit(promote, withdraw, allow_rollback, ring))
    _show(index, as_json)


def _edit(promote: str | None, withdraw: str | None, allow_rollback: str | None, ring: Ring | None) -> Edit:
    from shelfgap_export import index_edits
    from shelfgap_export.index_edits import Moment, find_release

    def edit(index: Index, at: Moment) -> Index:
        if withdraw is not None:
            instead = None if allow_rollback is None else find_release(index, allow_rollback).number
            return index_edits.withdraw(index, find_release(index, withdraw).number, instead, at)
        if promote is not None and ring is not None:
            return index_edits.offer(index, find_release(index, promote).number, ring.value, at)
        if allow_rollback is not None and ring is not None:
            return index_edits.allow_rollback(index, find_release(index, allow_rollback).number, ring.value, at)
        return index_edits.renew(index, at)

    return edit


def _show(index: Index, as_json: bool) -> None:
    if as_json:
        print_json(_facts(index))
        return
    print(f"{index.product}: index {index.number}, valid until {index.expires_at:%Y-%m-%d %H:%M} UTC")
    for ring in Ring:
        offered = index.offered(ring.value)
        print(f"  ring {ring.value:7} {'nothing' if offered is None else f'release {offered.number}'}")
    for release in index.releases:
        rings = ", ".join(f"{ring} since {time}" for ring, time in release.offered_at.items())
        gone = f", withdrawn {release.withdrawn_at}" if release.withdrawn_at else ""
        back = ", devices may go back to it" if release.number in index.allow_rollback else ""
        print(f"  release {release.number} ({release.version}), {release.size / 2**20:.1f} MB: {rings}{gone}{back}")


def _facts(index: Index) -> dict[str, Any]:
    """Return the index for machines, without its lists of files."""
    return {
        "product": index.product,
        "number": index.number,
        "issued_at": index.issued_at.isoformat(),
        "expires_at": index.expires_at.isoformat(),
        "rings": {ring.value: offered.number for ring in Ring if (offered := index.offered(ring.value)) is not None},
        "allow_rollback": list(index.allow_rollback),
        "releases": [
            {
                "number": release.number,
                "version": release.version,
                "bytes": release.size,
                "published_at": release.published_at,
                "offered_at": dict(release.offered_at),
                "withdrawn_at": release.withdrawn_at,
            }
            for release in index.releases
        ],
    }
