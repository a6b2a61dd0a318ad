"""The outbox against a simple model, restarts and zones included."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

from alert_events import everything, step
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule
from shelfgap_edge.alerts.outbox import Outbox

SINKS = ("web", "bus")
sinks = st.sampled_from(SINKS)


class OutboxModel(RuleBasedStateMachine):
    """Lists do what the outbox ought to do."""

    def __init__(self):
        super().__init__()
        memory = Path("/dev/shm")
        self.folder = Path(tempfile.mkdtemp(dir=memory if memory.is_dir() else None))
        self.put = []
        self.waiting = {sink: [] for sink in SINKS}
        self.refused = {sink: [] for sink in SINKS}
        self.not_before = {}
        self.steps = {}
        self.open = {}
        self.states = {}
        self.now = 0.0
        self.start()

    def start(self):
        self.outbox = Outbox(self.folder / "outbox.db", dict.fromkeys(SINKS, everything))

    def teardown(self):
        self.outbox.close()
        shutil.rmtree(self.folder)

    @rule(alert=st.integers(0, 5), over=st.booleans(), repeat=st.booleans(), state=st.text("ab", max_size=3))
    def put_step(self, alert, over, repeat, state):
        number = self.steps.get(alert, 0)
        if not (repeat and number):
            number += 1
        action = "resolved" if over else "reopened"
        event = step(alert, number, action, camera_id=f"cam-{alert % 2}", zone=[None, "a", "b"][alert % 3])
        self.outbox.put([event], [(event.camera_id, state)])
        self.states[event.camera_id] = state
        if number > self.steps.get(alert, 0):
            self.steps[alert] = number
            self.put.append(event)
            for sink in SINKS:
                self.waiting[sink].append(event)
            self.open.pop(alert, None)
            if not over:
                self.open[alert] = event

    def expected(self, sink):
        heads = {}
        for event in self.waiting[sink]:
            heads.setdefault((event.camera_id, event.zone), event)
        due = [event for event in heads.values() if self.not_before.get((sink, event.key), -1.0) <= self.now]
        return min(due, key=lambda e: (self.not_before.get((sink, e.key), -1.0), self.put.index(e)), default=None)

    @rule(sink=sinks, fate=st.sampled_from(["delivered", "refused", "failed"]), wait=st.integers(0, 5))
    def try_next(self, sink, fate, wait):
        entry = self.outbox.next_due(sink, self.now)
        expected = self.expected(sink)
        assert (entry.event if entry else None) == expected
        if expected is None:
            return
        if fate == "failed":
            self.not_before[sink, expected.key] = self.now + wait
            self.outbox.failed(sink, expected.key, self.now + wait)
            return
        self.waiting[sink].remove(expected)
        if fate == "delivered":
            self.outbox.delivered(sink, expected.key)
        else:
            self.refused[sink].append(expected)
            self.outbox.refuse(sink, expected.key, "no")

    @rule(sink=sinks)
    def retry_refused(self, sink):
        again = self.refused[sink]
        assert self.outbox.retry_refused(sink) == len(again)
        for event in again:
            self.not_before.pop((sink, event.key), None)
        self.waiting[sink] = sorted(self.waiting[sink] + again, key=self.put.index)
        self.refused[sink] = []

    @rule()
    def time_goes_on(self):
        self.now += 1

    @rule()
    def restart(self):
        self.outbox.close()
        self.not_before.clear()
        self.start()

    @invariant()
    def agrees(self):
        figures = self.outbox.figures()
        assert figures.waiting == {sink: len(self.waiting[sink]) for sink in SINKS}
        assert figures.refused == {sink: len(self.refused[sink]) for sink in SINKS}
        assert (figures.held, figures.dropped, figures.trouble) == (0, 0, None)
        assert figures.events == len(self.put)
        assert self.outbox.states() == self.states
        assert {event.key for event in self.outbox.open_alerts()} == {event.key for event in self.open.values()}
        assert self.outbox.timeline(0) == self.put


TestOutboxModel = OutboxModel.TestCase
TestOutboxModel.settings = settings(max_examples=25, stateful_step_count=30, deadline=None)
