"""The service as a whole: start, reload, follow the bundle, stop."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import signal
import threading
import time
from concurrent.futures import Future
from typing import Any

import numpy as np
from numpy.typing import NDArray

from shelfgap_edge.alerts.event import AlertEvent
from shelfgap_edge.errors import ShelfgapError
from shelfgap_edge.service.account import give_account
from shelfgap_edge.service.admin import admin_app
from shelfgap_edge.service.arrival import Arrival
from shelfgap_edge.service.availability import RecentAvailability
from shelfgap_edge.service.bundles import RunningBundle, is_on_trial
from shelfgap_edge.service.cameras import Cameras
from shelfgap_edge.service.clock import Clock
from shelfgap_edge.service.config import EdgeConfig, is_loopback, read_config
from shelfgap_edge.service.connection import connection_class
from shelfgap_edge.service.couriers import Couriers
from shelfgap_edge.service.figures import watch_figures
from shelfgap_edge.service.http import FrameDoor
from shelfgap_edge.service.lasting import check_lasting, make_state_folder
from shelfgap_edge.service.listener import Listener, bind, tls_context
from shelfgap_edge.service.mailbox import Mailbox
from shelfgap_edge.service.metrics import Metrics
from shelfgap_edge.service.page.routes import status_routes
from shelfgap_edge.service.page.status import Status
from shelfgap_edge.service.parts import Assembly, Plan
from shelfgap_edge.service.trouble import Trouble
from shelfgap_edge.service.watchdog import notify, notify_reloading, watchdog_seconds
from shelfgap_edge.service.worker import Worker

_STUCK_SECONDS = 30.0  # a frame takes no second
_LOOK_SECONDS = 5.0

_log = logging.getLogger(__name__)


class Service:
    """Everything that runs, from a configuration that was read.

    Args:
        config: the configuration.
        assembly: makes the parts.

    Raises:
        ShelfgapError: something that is configured is not there or not fit to run.
    """

    def __init__(self, config: EdgeConfig, assembly: Assembly) -> None:
        self._config, self._assembly = config, assembly
        self._plan = assembly.plan(config)
        self.metrics = Metrics()
        self._clock = Clock()
        self._started = time.monotonic()
        self._bundle = RunningBundle(config.bundle, config.detector)
        make_state_folder(config.state)
        self._outbox = assembly.outbox(config, self._plan)
        self._cameras = Cameras(self._outbox, self.metrics, self._clock)
        self._availability = RecentAvailability(self._cameras.observed_hours)
        self._mailbox = Mailbox(
            frames=config.queue.frames,
            megabytes=config.queue.megabytes,
            max_wait_seconds=config.queue.max_wait_seconds,
            on_shed=self._count_shed,
        )
        # First the outbox is told of its sinks: the worker tells of alerts that end with a camera that is gone.
        self._couriers = Couriers(self._plan, self._outbox, self.put_frame)
        self._worker = Worker(
            self._mailbox, self._cameras, self.metrics, self._bundle.detector, self._plan, config.http.max_pixels
        )
        self._door = FrameDoor(config, self._mailbox, self.metrics, self._clock)
        self._maintenance = threading.Thread(target=self._maintain, name="maintenance", daemon=True)
        self._wake, self._reload_asked, self._stopping = threading.Event(), False, False
        self._listeners: list[Listener] = []
        watch_figures(
            self.metrics, self._mailbox, self._worker, self._cameras, self._outbox, self._couriers.source_states
        )
        self._show_bundle()

    async def run(self) -> int:
        """Serve until SIGTERM or SIGINT; SIGHUP reloads. Returns the exit code."""
        config, stop = self._config, asyncio.Event()
        loop = asyncio.get_running_loop()
        protocol = connection_class(
            limits=lambda: self._config.http, count=lambda reason: self.metrics.refused.labels(reason).inc()
        )
        frames = Listener(
            "frames",
            self._door.app(),
            bind(config.http.host, config.http.port, "http"),
            protocol,
            tls=tls_context(config.http.tls),
        )
        admin = Listener(
            "admin",
            admin_app(self, config.admin, status_routes(self.status, self.acknowledge)),
            bind(config.admin.host, config.admin.port, "admin"),
            protocol,
            tls=None,
        )
        self._listeners = [frames, admin]
        self._worker.start()
        self._maintenance.start()  # before sources may take the last thread
        self._couriers.start()
        serving = [asyncio.create_task(listener.serve()) for listener in self._listeners]
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, stop.set)
        loop.add_signal_handler(signal.SIGHUP, self.ask_reload)
        pings = asyncio.create_task(self._ping())
        await asyncio.gather(*(listener.started() for listener in self._listeners))
        if config.http.tls is None and not is_loopback(config.http.host):
            _log.warning("frames and tokens cross the network in the clear: there is no [http.tls]")
        notify("READY=1", f"STATUS=judging frames of {len(config.cameras)} cameras")
        _log.info("ready", extra={"frames": frames.address, "admin": admin.address, "cameras": len(config.cameras)})
        await stop.wait()
        notify("STOPPING=1")
        _log.info("stopping")
        stop_seconds = self._config.stop_seconds  # of the last reload
        deadline = time.monotonic() + stop_seconds
        self._stopping = True
        self._wake.set()
        self._couriers.stop_sources()
        for listener in self._listeners:
            listener.stop(stop_seconds)
        await asyncio.gather(*serving)
        finished = await asyncio.to_thread(self._finish, deadline)
        pings.cancel()
        _log.info("stopped", extra={"finished": finished})
        return 0 if finished else 1

    def ask_reload(self) -> None:
        """Read the configuration again, in a moment, in another thread."""
        self._reload_asked = True
        self._wake.set()

    def put_frame(
        self, camera_id: str, jpeg: bytearray | None, pixels: NDArray[np.uint8] | None, at: float
    ) -> Future[Any]:
        """Take a frame from a source; the buffers are the service's from now on.

        Returns:
            Done once the frame is judged or shed.
        """
        arrival = Arrival(camera_id, jpeg, at, time.monotonic(), pixels)
        if camera_id in self._config.cameras:
            self._mailbox.put(arrival)
        else:
            arrival.wipe()
            arrival.settle({"status": "refused", "reason": "unknown-camera"})
            self.metrics.refused.labels("unknown-camera").inc()
        return arrival.verdict

    def health(self) -> list[Trouble]:
        """Return what only a restart can mend."""
        if self._stopping:  # then the worker ends; how long all of it may take is for who stops the service
            return []
        if not self._worker.is_alive():
            return [Trouble("worker-ended")]
        idle = self._worker.idle_seconds
        return [Trouble("worker-stuck", f"{idle:.0f}")] if idle > _STUCK_SECONDS else []

    def unreadiness(self) -> list[Trouble]:
        """Return why the service does not do all that it should now."""
        problems = self.health()
        if self._stopping:
            problems.append(Trouble("stopping"))
        if not self._couriers.delivers:
            problems.append(Trouble("undelivered"))
        of_outbox = self._outbox.figures().trouble
        if of_outbox is not None:
            problems.append(Trouble("outbox", of_outbox))
        return problems

    def status(self) -> Status:
        """Return the account that the status page shows."""
        now = self._clock.now()
        return give_account(
            now=now,
            started_at=now - (time.monotonic() - self._started),  # also where the clock was set since
            config=self._config,
            bundle=self._bundle,
            problems=self.unreadiness(),
            cameras=self._cameras,
            availability=self._availability.rows(now),
            outbox=self._outbox,
            sources=self._couriers.source_states(),
            metrics=self.metrics,
        )

    def metrics_text(self) -> bytes:
        """Return the metrics in Prometheus' text format."""
        return self.metrics.text()

    def acknowledge(self, alert_id: str) -> list[AlertEvent]:
        """Acknowledge an alert; empty if no such alert is open."""
        return self._cameras.acknowledge(alert_id)

    def _maintain(self) -> None:
        while not self._stopping:
            self._wake.wait(_LOOK_SECONDS)
            self._wake.clear()
            try:
                if self._reload_asked:
                    self._reload_asked = False
                    self._reload()
                elif not self._stopping:
                    self._couriers.start_missing()
                    if not is_on_trial(self._config.bundle):
                        self._follow_bundle()
            except Exception as error:  # this thread must outlive whatever a part raises
                _log.error("reload or bundle switch failed", exc_info=error)

    def _reload(self) -> None:
        notify_reloading()
        said = "the last reload failed, see the log"
        try:
            self._take_configuration()
            said = f"judging frames of {len(self._config.cameras)} cameras"
        except ShelfgapError as error:
            self.metrics.reloads.labels("refused").inc()
            _log.error("reload refused, the old configuration goes on: %s", str(error))
        finally:  # whatever a part raises: systemd waits for it
            notify("READY=1", f"STATUS={said}")

    def _take_configuration(self) -> None:
        config = read_config(self._config.path)
        plan = self._assembly.plan(config)
        check_lasting((self._config, self._plan), (config, plan))
        tls_context(config.http.tls)  # so that nothing is taken where something is wrong
        if not self._take_bundle(config, plan, retry=True):
            plan.monitors(self._bundle.detector.manifest)
        for listener in self._listeners[:1]:
            listener.renew_certificate(config.http.tls)
        self._config, self._plan = config, plan
        self._worker.max_pixels = config.http.max_pixels
        self._worker.use(self._bundle.detector, plan)
        self._door.use(config)
        queue = config.queue
        self._mailbox.limit(frames=queue.frames, megabytes=queue.megabytes, max_wait_seconds=queue.max_wait_seconds)
        self._mailbox.keep_only(set(config.cameras))
        self._couriers.use(plan)
        logging.getLogger("shelfgap_edge").setLevel(config.log_level.upper())
        self.metrics.reloads.labels("taken").inc()
        _log.info("reloaded", extra={"cameras": len(config.cameras)})

    def _follow_bundle(self) -> None:
        try:
            if self._take_bundle(self._config, self._plan):
                self._worker.use(self._bundle.detector, self._plan)
        except ShelfgapError as error:
            _log.error("another bundle was refused, the old one runs on: %s", str(error))

    def _take_bundle(self, config: EdgeConfig, plan: Plan, *, retry: bool = False) -> bool:
        try:
            taken = self._bundle.changed(config.bundle, config.detector, plan.monitors, retry=retry)
        except ShelfgapError:
            self.metrics.switches.labels("refused").inc()
            raise
        if taken:
            self.metrics.switches.labels("taken").inc()
            self._show_bundle()
        return taken

    def _show_bundle(self) -> None:
        detector = self._bundle.detector
        manifest = detector.manifest
        labels = (manifest.name, manifest.version, str(detector.precision), detector.runtime, detector.signature)
        self.metrics.bundle.clear()
        self.metrics.bundle.labels(*labels).set(1)
        _log.info("bundle %s %s runs", manifest.name, manifest.version, extra={"precision": detector.precision})

    def _count_shed(self, arrival: Arrival, why: str) -> None:
        self.metrics.shed.labels(why).inc()
        self.metrics.frames.labels(arrival.camera_id, "shed").inc()

    async def _ping(self) -> None:
        every = watchdog_seconds()
        while every is not None:
            # A stuck event loop never gets here, and a stuck worker is noticed here.
            if not self.health():
                notify("WATCHDOG=1")
            await asyncio.sleep(every / 3)

    def _finish(self, deadline: float) -> bool:
        """Judge what waits, deliver what is due; returns whether all of it was done in time."""
        self._mailbox.close()
        self._worker.join(max(1.0, deadline - time.monotonic()))  # connections may have used the time up
        judged = not self._worker.is_alive()
        self._mailbox.shed_all()
        with contextlib.suppress(RuntimeError):  # never started
            self._maintenance.join(max(1.0, deadline - time.monotonic()))
        self._cameras.save()
        self._couriers.stop(max(0.5, deadline - time.monotonic()))
        flushed = self._outbox.flush()
        self._outbox.close()
        return judged and flushed
