"""`shelfgap bundle`: write the released bundle, make a key, sign, rebuild."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from shelfgap_flows.cli_output import AsJson, WorkspaceOption, print_json

bundle_app = typer.Typer(
    help="Write release/bundle and release/bundle.tar, if the gate passed; make keys, sign, rebuild.",
    epilog="Example: shelfgap bundle --workspace runs/store-12",
    invoke_without_command=True,
)

BundleArgument = Annotated[Path, typer.Argument(help="Bundle directory; the .tar beside it is written anew.")]


@bundle_app.callback()
def write(context: typer.Context, workspace: WorkspaceOption = Path(), as_json: AsJson = False) -> None:
    """Write release/bundle and release/bundle.tar, if the gate passed; make keys, sign, rebuild."""
    if context.invoked_subcommand is not None:
        if workspace != Path() or as_json:
            raise typer.BadParameter(
                f"--workspace and --json stand after {context.invoked_subcommand}, if it takes them"
            )
        return
    from shelfgap_flows.stages import bundle_stage
    from shelfgap_flows.workspace import Workspace

    report = bundle_stage(Workspace(workspace.resolve()))
    if as_json:
        print_json(report)
    else:
        print(f"{report['bundle']}: version {report['version']}")


@bundle_app.command(epilog="Example: shelfgap bundle keygen keys/release-2026")
def keygen(
    target: Annotated[Path, typer.Argument(help="File of the private key; the public one gets the ending .pub.")],
    as_json: AsJson = False,
) -> None:
    """Make a key for signing, offline; SHELFGAP_SIGNING_PASSPHRASE encrypts it. Nothing is overwritten."""
    from shelfgap_export.signing import generate_key

    from shelfgap_flows.settings import Settings

    passphrase = Settings().passphrase()
    made = generate_key(target, passphrase=passphrase)
    if as_json:
        print_json({**made.to_dict(), "encrypted": passphrase is not None})
        return
    print(f"key {made.key_id}")
    kept = "encrypted" if passphrase is not None else "not encrypted: SHELFGAP_SIGNING_PASSPHRASE was not set"
    print(f"  {made.private_key}: private, {kept}; keep it off the network")
    print(f"  {made.public_key}: public, for the devices")


@bundle_app.command(epilog="Example: shelfgap bundle sign release/bundle --key keys/release-2026")
def sign(
    bundle: BundleArgument,
    key: Annotated[
        Path | None, typer.Option(help="Private key, PEM; else SHELFGAP_SIGNING_KEY. A passphrase: see keygen.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Sign a bundle for devices that trust the key; one that the key signed already is left as it is."""
    from shelfgap_export.signing import sign_bundle

    from shelfgap_flows.settings import Settings

    settings = Settings()
    key = key or settings.signing_key
    if key is None:
        raise typer.BadParameter("give --key, or set SHELFGAP_SIGNING_KEY")
    written = sign_bundle(bundle, key, passphrase=settings.passphrase())
    if as_json:
        print_json({"bundle": str(bundle), "written": written})
    else:
        print(f"{bundle}: {'signed' if written else 'signed already, nothing was written'}")


@bundle_app.command(epilog="Example: shelfgap bundle rebuild release/bundle --dataset data/dataset")
def rebuild(
    bundle: Annotated[Path, typer.Argument(help="Bundle directory or .tar.")],
    dataset: Annotated[
        Path | None, typer.Option(help="Dataset that it was trained on; else data/dataset of the workspace.")
    ] = None,
    other_code: Annotated[
        bool, typer.Option("--other-code", help="Compare even if the code or its parameters are not those recorded.")
    ] = False,
    workspace: WorkspaceOption = Path(),
    as_json: AsJson = False,
) -> None:
    """Train, export and quantize from what a bundle records, and compare; exit code 1 when beyond the tolerances."""
    from shelfgap_flows.rebuild import rebuild as rebuild_bundle
    from shelfgap_flows.settings import Settings
    from shelfgap_flows.workspace import Workspace

    report = rebuild_bundle(bundle, Workspace(workspace.resolve()), Settings(), dataset=dataset, other_code=other_code)
    if report is None:  # one of several processes; the main one speaks
        return
    if as_json:
        print_json(report.to_dict())
    else:
        for one in report.circumstances:
            state = "same" if one.same else f"recorded {one.recorded or 'nothing'}, here {one.here or 'unknown'}"
            print(f"{one.name:16} {state}")
        for made in report.comparisons:
            print(f"{made.name:16} {made.verdict}: {made.told}")
        print(f"{report.bundle}: {report.verdict}")
    if report.verdict == "differs":
        raise typer.Exit(1)
