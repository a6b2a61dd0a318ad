"""Champion and challenger: what follows from the log and the versions, and MLflow's aliases that say so to others."""

from __future__ import annotations

from shelfgap_training.registry import ModelRegistry, RegisteredBundle, RegistryError

from shelfgap_export.gate_record import PromotionError
from shelfgap_export.promotion_log import PromotionLog, read_log

CHAMPION = "champion"
CHALLENGER = "challenger"
_ROUNDS = 10


def align_aliases(registry: ModelRegistry) -> None:
    """Make the aliases say what follows from the log and the versions.

    `champion` is the last of the log, `challenger` the newest version if it never was champion. Who changes an alias
    looks again afterwards, so that of several at once the last one leaves them right. A champion whose version was
    deleted in MLflow leaves its alias at nothing: a promotion or a rollback gives it to another one.

    Raises:
        LogError: the log is not whole.
        RegistryError: they do not stay right.
        TrackingError: MLflow cannot be reached.
    """
    for _ in range(_ROUNDS):
        there = {version.version for version in registry.versions()}
        wanted = {role: version for role, version in roles(registry).items() if version in there}
        aliases = registry.aliases()
        wrong = [alias for alias in (CHAMPION, CHALLENGER) if aliases.get(alias) != wanted.get(alias)]
        if not wrong:
            return
        for alias in wrong:
            registry.point(alias, wanted.get(alias))
    raise RegistryError(
        f"{registry.model}: {' and '.join(wrong)} in MLflow did not stay as the log says in {_ROUNDS} tries; does "
        "something else move the aliases? stop it, and run this again"
    )


def roles(registry: ModelRegistry) -> dict[str, int]:
    """Return champion and challenger, where there are such, by what the log and the versions say.

    Raises:
        LogError: the log is not whole.
        TrackingError: MLflow cannot be reached.
    """
    log, newest = read_log(registry), next(iter(registry.versions()), None)
    found = {} if log.champion is None else {CHAMPION: log.champion.version}
    if newest is not None and log.promoted(newest.version) is None:
        found[CHALLENGER] = newest.version
    return found


def champion_version(registry: ModelRegistry) -> RegisteredBundle | None:
    """Return the champion, by the log; None before the first promotion.

    Raises:
        PromotionError: its tags do not name the bytes that were promoted.
        RegistryError: it was deleted in MLflow.
        ShelfgapError: the log is not whole, or MLflow cannot be reached.
    """
    log = read_log(registry)
    if log.champion is None:
        return None
    number = log.champion.version
    version = next((version for version in registry.versions() if version.version == number), None)
    if version is None:
        raise RegistryError(
            f"{registry.model}: version {number} is champion by the log and was deleted in MLflow; go back with "
            "`shelfgap registry rollback`, or promote another one"
        )
    require_as_logged(log, version, f"{registry.model} version {version.version}")
    return version


def require_as_logged(log: PromotionLog, version: RegisteredBundle, where: str) -> None:
    """Refuse a version that was champion with other bytes: whoever can write to MLflow can change its tags.

    Raises:
        PromotionError: its tags say so.
    """
    was = log.promoted(version.version)
    if was is not None and (was.bundle_sha256, was.identity) != (version.bundle_sha256, version.identity):
        raise PromotionError(
            f"{where}: its tags name the bytes {version.bundle_sha256[:12]}, the log says that "
            f"{was.bundle_sha256[:12]} was champion; somebody changed the tags, restore them"
        )


def version_called(registry: ModelRegistry, name: str) -> RegisteredBundle:
    """Return a version by its number, or as "champion" or "challenger".

    Raises:
        RegistryError: there is none.
    """
    known = roles(registry)
    if name not in known and not name.isdecimal():
        there = ", ".join(f"{role} is version {version}" for role, version in known.items()) or "nobody is either"
        raise RegistryError(
            f"{registry.model}: no version {name!r}; expected a number, {CHAMPION} or {CHALLENGER} ({there})"
        )
    return registry.version(known[name] if name in known else int(name))
