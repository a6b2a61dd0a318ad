"""An alert on the wire: CloudEvents 1.0, true to the published schema, and the same bytes each time."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from datetime import UTC, datetime
from urllib.parse import unquote, urlsplit

import jsonschema
import pytest
from alert_events import step
from hypothesis import given, settings
from hypothesis import strategies as st
from shelfgap_edge.alerts.cloudevent import CONTENT_TYPE, alert_schema, to_cloudevent, to_json
from shelfgap_edge.alerts.event import ACTIONS, KINDS, AlertEvent

names = st.text(st.characters(exclude_categories=("Cs",)), min_size=1, max_size=12)
times = st.floats(0, 4e9)
events = st.builds(
    AlertEvent,
    alert_id=st.text("0123456789abcdef", min_size=32, max_size=32),
    sequence=st.integers(1, 10**6),
    action=st.sampled_from(ACTIONS),
    kind=st.sampled_from(KINDS),
    camera_id=names,
    zone=st.none() | names,
    shelf=st.none() | names,
    store=st.none() | names,
    at=times,
    since=times,
    priority=st.integers(1, 5),
    gap_width_norm=st.none() | st.floats(0, 1),
)


def validator():
    schema = alert_schema()
    jsonschema.Draft202012Validator.check_schema(schema)
    return jsonschema.Draft202012Validator(schema, format_checker=jsonschema.FormatChecker())


def read_cloudevent(text):
    """Read an event as the specification says, without looking at how it was made."""
    read = json.loads(text)
    for name, value in read.items():
        assert re.fullmatch("[a-z0-9]+", name), "attribute names are lower-case letters and digits"
        if name != "data":
            assert isinstance(value, str)
            assert value
            assert not re.search("[\x00-\x1f\x7f-\x9f]", value), "strings hold no control characters"
    assert read["specversion"] == "1.0"
    assert {"id", "source", "type"} <= read.keys()
    assert urlsplit(read["source"]).geturl() == read["source"]
    assert re.fullmatch(r"[\w.~!$&'()*+,;=:@%/-]+", read["source"], re.ASCII), "source is a URI reference"
    assert urlsplit(read["dataschema"]).scheme, "dataschema is an absolute URI"
    time = datetime.fromisoformat(read["time"])
    assert time.utcoffset().total_seconds() == 0
    return read, time


@settings(max_examples=150, deadline=None)
@given(events)
def test_every_alert_is_a_cloudevent_of_the_schema(event):
    text = to_json(event)
    validator().validate(json.loads(text))
    assert b"\n" not in text
    read, time = read_cloudevent(text)
    assert read["id"] == event.key
    assert abs(time - datetime.fromtimestamp(event.at, UTC)).total_seconds() <= 0.001
    assert read["type"].endswith(event.action)
    assert unquote(read["source"]).endswith(f"cameras/{event.camera_id}")
    assert read["subject"] == "camera" if event.zone is None else unquote(read["subject"]) == f"zones/{event.zone}"
    data = read["data"]
    assert (data["zone"], data["shelf"], data["store"]) == (event.zone, event.shelf, event.store)
    assert data["gap_width_norm"] == event.gap_width_norm
    assert to_json(replace(event)) == text


def test_zones_have_keys_of_their_own():
    keys = {to_cloudevent(step(1, zone=zone))["partitionkey"] for zone in (None, "camera", "a/b", "a%2Fb", "a")}
    assert len(keys) == 5


@pytest.mark.parametrize(
    ("attribute", "value"),
    [
        ("specversion", "0.3"),
        ("id", "7"),
        ("source", "cam-1"),
        ("type", "shelfgap.alert.closed"),
        ("time", "yesterday"),
        ("data", {}),
    ],
)
def test_the_schema_refuses_what_is_none(attribute, value):
    assert not validator().is_valid({**to_cloudevent(step(1)), attribute: value})


@pytest.mark.parametrize(
    ("key", "value"), [("priority", 6), ("kind", "fire"), ("gap_width_norm", 1.5), ("sequence", 0)]
)
def test_the_schema_refuses_data_that_is_none(key, value):
    event = to_cloudevent(step(1))
    assert not validator().is_valid({**event, "data": {**event["data"], key: value}})


def test_no_number_that_json_lacks_is_sent():
    with pytest.raises(ValueError, match="JSON"):
        to_json(step(1, gap_width_norm=float("nan")))


def test_the_content_type_is_that_of_one_structured_event():
    assert CONTENT_TYPE.startswith("application/cloudevents+json")
