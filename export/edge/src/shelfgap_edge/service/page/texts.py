"""The words of the page. Both languages have every text, or the type checker says so."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from shelfgap_edge.alerts.event import Action, Kind
from shelfgap_edge.service.page.language import Language
from shelfgap_edge.service.page.status import CameraState
from shelfgap_edge.service.trouble import TroubleKind


@dataclass(frozen=True)
class Texts:
    """All words of one language; `{}` is filled in."""

    page: str
    skip: str
    other_language: str
    sections: str
    updated: str
    pause: str
    resume: str
    unreachable: str
    colon: str  # between what a thing is called and what is said of it
    not_ready: str
    undelivered: str
    no_bundle: str
    bundle_refused: str
    running_since: str
    store_availability: str
    over_24_hours: str
    cameras_watching: str
    of_cameras: str
    open_alerts: str
    no_alerts: str
    to_acknowledge: str
    acknowledge: str
    acknowledge_what: str
    priority: str
    for_so_long: str
    gap_width: str
    availability: str
    no_availability: str
    shelf: str
    other_zones: str
    one_zone: str
    many_zones: str
    fuller_zones: str
    by_hour: str
    not_observed: str
    cameras: str
    no_cameras: str
    last_frame: str
    frames: str
    unused: str
    connection: str
    connected: str
    disconnected: str
    finished: str
    failures: str
    connections: str
    no_trouble: str
    never: str
    ago: str
    ahead: str
    timeline: str
    timeline_about: str
    no_events: str
    events: str
    older_left_out: str
    more_rows: str
    weekdays: tuple[str, ...]
    day_time: str
    percent: str
    kinds: Mapping[Kind, str]
    actions: Mapping[Action, str]
    camera_states: Mapping[CameraState, str]
    problems: Mapping[TroubleKind, str]


_ENGLISH = Texts(
    page="Shelf status",
    skip="Skip to the open alerts",
    other_language="Français",
    sections="Sections",
    updated="Updated {}",
    pause="Pause updates",
    resume="Resume updates",
    unreachable="The box does not answer. What you see is from before.",
    colon=": ",
    not_ready="Not ready",
    undelivered="Alerts not delivered yet",
    no_bundle="no detector loaded",
    bundle_refused="Another detector was refused",
    running_since="running since {}",
    store_availability="On-shelf availability",
    over_24_hours="over 24 hours",
    cameras_watching="Cameras watching",
    of_cameras="of {}",
    open_alerts="Open alerts",
    no_alerts="No open alert.",
    to_acknowledge="{} to acknowledge",
    acknowledge="Acknowledge",
    acknowledge_what="Acknowledge: {}",
    priority="Priority {}",
    for_so_long="for {}",
    gap_width="{} of the view",
    availability="Availability",
    no_availability="Nothing has been observed yet.",
    shelf="Shelf",
    other_zones="Without a shelf",
    one_zone="{} zone",
    many_zones="{} zones",
    fuller_zones="{} fuller zones are in /status.json only.",
    by_hour="Availability of {} by hour, oldest first: {}",
    not_observed="not observed",
    cameras="Cameras",
    no_cameras="No camera is configured.",
    last_frame="Last frame",
    frames="Frames",
    unused="Not used",
    connection="Connection",
    connected="connected",
    disconnected="disconnected",
    finished="at its end",
    failures="Failures",
    connections="Connections",
    no_trouble="{} cameras without trouble",
    never="never",
    ago="{} ago",
    ahead="in {}",
    timeline="Last 24 hours",
    timeline_about="One line per zone or camera, a bar from the begin of an alert to its end. The list says the same.",
    no_events="Nothing happened.",
    events="List of events",
    older_left_out="{} older ones are not listed.",
    more_rows="{} more zones and cameras are in the list only.",
    weekdays=("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun"),
    day_time="{weekday} {hour:02d}:{minute:02d}",
    percent="{:.0f}%",
    kinds={
        "gap": "Gap",
        "low": "Low stock",
        "camera-silent": "Camera silent",
        "camera-blinded": "Camera blinded",
        "camera-moved": "Camera moved",
    },
    actions={
        "opened": "opened",
        "escalated": "escalated",
        "acknowledged": "acknowledged",
        "resolved": "resolved",
        "reopened": "reopened",
    },
    camera_states={
        "watching": "Watching",
        "hidden": "View hidden",
        "waiting": "No frame yet",
        "silent": "Silent",
        "blinded": "Blinded",
        "moved": "Moved",
    },
    problems={
        "worker-ended": "frames are no longer judged",
        "worker-stuck": "no frame has been judged for {} s",
        "stopping": "the service is stopping",
        "outbox": "alerts cannot be stored: {}",
        "undelivered": "alerts are not sent: the system allows no more threads",
    },
)

_FRENCH = Texts(
    page="État des rayons",
    skip="Aller aux alertes ouvertes",
    other_language="English",
    sections="Rubriques",
    updated="Mis à jour {}",
    pause="Suspendre l’actualisation",
    resume="Reprendre l’actualisation",
    unreachable="Le boîtier ne répond pas. L’affichage date d’avant.",
    colon=" : ",
    not_ready="Indisponible",
    undelivered="Alertes pas encore transmises",
    no_bundle="aucun détecteur chargé",
    bundle_refused="Un autre détecteur a été refusé",
    running_since="en marche depuis {}",
    store_availability="Disponibilité en rayon",
    over_24_hours="sur 24 heures",
    cameras_watching="Caméras actives",
    of_cameras="sur {}",
    open_alerts="Alertes ouvertes",
    no_alerts="Aucune alerte ouverte.",
    to_acknowledge="{} à prendre en charge",
    acknowledge="Prendre en charge",
    acknowledge_what="Prendre en charge : {}",
    priority="Priorité {}",
    for_so_long="depuis {}",
    gap_width="{} du champ",
    availability="Disponibilité",
    no_availability="Rien n’a encore été observé.",
    shelf="Rayon",
    other_zones="Sans rayon",
    one_zone="{} zone",
    many_zones="{} zones",
    fuller_zones="{} zones mieux garnies figurent seulement dans /status.json.",
    by_hour="Disponibilité de {} heure par heure, de la plus ancienne à la plus récente : {}",
    not_observed="non observé",
    cameras="Caméras",
    no_cameras="Aucune caméra n’est configurée.",
    last_frame="Dernière image",
    frames="Images",
    unused="Écartées",
    connection="Connexion",
    connected="connectée",
    disconnected="coupée",
    finished="terminée",
    failures="Échecs",
    connections="Connexions",
    no_trouble="{} caméras sans incident",
    never="jamais",
    ago="il y a {}",
    ahead="dans {}",
    timeline="Dernières 24 heures",
    timeline_about="Une ligne par zone ou caméra, une barre du début à la fin de l’alerte. La liste dit la même chose.",
    no_events="Il ne s’est rien passé.",
    events="Liste des événements",
    older_left_out="{} plus anciens ne sont pas listés.",
    more_rows="{} autres zones et caméras figurent seulement dans la liste.",
    weekdays=("lun.", "mar.", "mer.", "jeu.", "ven.", "sam.", "dim."),
    day_time="{weekday} {hour:02d}:{minute:02d}",
    percent="{:.0f}\u202f%",
    kinds={
        "gap": "Rupture",
        "low": "Stock bas",
        "camera-silent": "Caméra muette",
        "camera-blinded": "Caméra obstruée",
        "camera-moved": "Caméra déplacée",
    },
    actions={
        "opened": "ouverte",
        "escalated": "aggravée",
        "acknowledged": "prise en charge",
        "resolved": "résolue",
        "reopened": "rouverte",
    },
    camera_states={
        "watching": "Active",
        "hidden": "Vue masquée",
        "waiting": "Aucune image",
        "silent": "Muette",
        "blinded": "Obstruée",
        "moved": "Déplacée",
    },
    problems={
        "worker-ended": "les images ne sont plus analysées",
        "worker-stuck": "aucune image analysée depuis {} s",
        "stopping": "le service s’arrête",
        "outbox": "les alertes ne peuvent pas être enregistrées : {}",
        "undelivered": "les alertes ne sont pas envoyées : le système n’autorise plus de threads",
    },
)

TEXTS: Mapping[Language, Texts] = {"en": _ENGLISH, "fr": _FRENCH}
