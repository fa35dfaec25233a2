"""Settings -> the running app: store, hub, sinks, dead letters and health put together, and what each trigger does with them.

On Flex Consumption every function has instances of its own, so that nothing here is shared between a batch, the tick
and the health endpoint but the store. What a function does not use is neither imported nor opened.
"""

from __future__ import annotations

import logging
import sys
import time
import uuid
from collections.abc import Callable, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any

from ikestream import batch, hub, inbox
from ikestream.batch import Delivery
from ikestream.settings import Settings
from ikestream.stores import Store, TooLarge, Unavailable

if TYPE_CHECKING:
    from azure.core.credentials_async import AsyncTokenCredential

    from ikestream.dead_letters import DeadLetterHub
    from ikestream.health import Batches, Minutes, Writer
    from ikestream.incident import Row
    from ikestream.inventory.keeping import Keeper
    from ikestream.monitor import Monitor
    from ikestream.sinks import Sink
    from ikestream.sinks.log_analytics import LogAnalytics

STREAM = "Custom-IkeDiagnosis_CL"

log = logging.getLogger("ikestream")


def clock() -> int:
    """Return the time on the wall, in ms since 1970."""
    return int(time.time() * 1000)


class App:
    """Everything one worker needs. Belongs to one event loop, as the worker has."""

    def __init__(self, configured: Settings) -> None:
        """Raises `BadSetting` for receivers or peers that cannot be read: at start-up, not at the first alert."""
        self._configured = configured
        self._worker = uuid.uuid4().hex
        self._waiting: list[str] = []
        self._receivers = self._load_receivers()

    # --- what the triggers do -----------------------------------------------------------------------------------------

    async def learn(self, deliveries: Sequence[Delivery]) -> None:
        """Post a batch of one partition. Raises `Unavailable`: then the host must call again with the same batch."""
        parcels, report = batch.sort(deliveries)
        # First what is good: a dead-letter hub that does not answer holds back no verdict.
        await inbox.post(self.store, parcels)
        cut = 0
        for dead in report.dead:
            log.error(
                "dead letter partition=%s offset=%s sequence=%d bytes=%d reason=%s",
                dead.delivery.partition, dead.delivery.offset, dead.delivery.sequence_number, len(dead.delivery.body),
                dead.reason,
            )  # fmt: skip
        if self._letters is not None:
            cut = await self._letters.put_aside(report.dead)
        await self._say(self._batches.note(report, len(deliveries), clock(), cut))

    async def tell(self) -> None:
        """Learn what was posted and tell what is due, but conclude nothing over events that have not been read."""
        begun = time.monotonic()
        ticked = await self._monitor.tick()
        for trouble in ticked.trouble:
            log.warning("%s", trouble)
        if ticked.heads and ticked.unseen != self._waiting:
            self._waiting = ticked.unseen
            if ticked.unseen:
                log.warning("nothing concluded until something is read from partitions %s", ", ".join(ticked.unseen))
            else:
                log.info("something has been read from every partition")
        monitor = self._monitor
        row = self._minutes.note(ticked, monitor.estate, monitor.outbox, clock(), time.monotonic() - begun)
        if row is None:
            return
        from ikestream import health

        try:
            await health.keep(self.store, row)
        except Unavailable as why:
            log.warning("store: %s", why)
        await self._say(row)

    async def refresh(self) -> None:
        """Read what is configured on the gateways, if it is time."""
        try:
            done = await self._keeper.refresh()
        except (TooLarge, Unavailable) as why:
            log.warning("store: %s", why)
            return
        if done is None:
            return
        for line in done.lost:
            log.warning("inventory: %s", line)
        for name in done.back:
            log.info("inventory: %s is read again", name)

    @property
    def has_inventory(self) -> bool:
        """Whether there is anything to be read by `refresh`."""
        return bool(self._configured.inventory)

    async def health(self) -> tuple[int, dict[str, Any]]:
        """Return the status and the body of the health endpoint."""
        from ikestream import health

        return await health.check(self.store, clock())

    # --- its parts ----------------------------------------------------------------------------------------------------

    @cached_property
    def store(self) -> Store:
        """Where everything is kept; without a storage account in this process, as on a developer's machine."""
        configured = self._configured
        if configured.store_connection_string or configured.store_uri:
            from ikestream.stores import tables

            if configured.store_connection_string:
                return tables.with_connection_string(configured.store_connection_string, configured.table)
            return tables.with_identity(configured.store_uri, hub.identity(configured), configured.table)
        from ikestream.stores.memory import Memory

        return Memory()

    @cached_property
    def _monitor(self) -> Monitor:
        # A third of what the app takes to load; the trigger, which starts cold most often, does not need it.
        from ikestream.inventory.keeping import View
        from ikestream.monitor import Monitor

        asked = hub.Hub(self._configured) if self._configured.has_hub else None
        return Monitor(
            self.store,
            self._sinks(),
            clock,
            worker=self._worker,
            heads=asked.heads if asked else None,
            unreachable=hub.Unreachable,
            dead_letters=self._letters,
            inventory=View(self.store) if self.has_inventory else None,
        )

    @cached_property
    def _keeper(self) -> Keeper:
        from ikestream.inventory.keeping import Keeper
        from ikestream.inventory.resource_manager import ResourceManager

        azure = ResourceManager(self._configured.resource_manager, self._identity, region=self._configured.region)
        return Keeper(self.store, azure.read, self._configured.inventory, clock, self._worker)

    def _load_receivers(self) -> Callable[[], list[Sink]]:
        """Read who is told, without opening anything."""
        if not (self._configured.webhooks or self._configured.peers):
            return list
        from ikestream import notify

        webhooks = notify.load_webhooks(self._configured.webhooks)
        peers = notify.load_peers(self._configured.peers)

        def sinks() -> list[Sink]:
            from ikestream.sinks.webhooks import WebhookSink

            return [WebhookSink(webhook, peers) for webhook in webhooks]

        return sinks

    def _sinks(self) -> list[Sink]:
        from ikestream import columns
        from ikestream.sinks.console import Console

        if self._configured.has_tables:
            return [self._table(STREAM, columns.types()), *self._receivers()]
        return [Console(sys.stdout.buffer), *self._receivers()]

    def _table(self, stream: str, types: dict[str, str], **more: Any) -> LogAnalytics:
        from ikestream.sinks.log_analytics import LogAnalytics

        endpoint, rule = self._configured.ingestion_endpoint, self._configured.rule
        return LogAnalytics(endpoint, rule, stream, self._identity, types, **more)

    @cached_property
    def _identity(self) -> AsyncTokenCredential:
        return hub.identity(self._configured)

    @cached_property
    def _letters(self) -> DeadLetterHub | None:
        if not self._configured.has_dead_letter_hub:
            return None
        from ikestream.dead_letters import DeadLetterHub

        return DeadLetterHub(self._configured)

    # --- its health ---------------------------------------------------------------------------------------------------

    @cached_property
    def _writer(self) -> Writer:
        from ikestream import health

        return health.writer(self._configured, self._worker)

    @cached_property
    def _batches(self) -> Batches:
        from ikestream.health import Batches

        return Batches(self._writer)

    @cached_property
    def _minutes(self) -> Minutes:
        from ikestream.health import Minutes

        return Minutes(self._writer)

    @cached_property
    def _health_table(self) -> LogAnalytics | None:
        if not self._configured.has_tables:
            return None
        from ikestream import columns, health

        return self._table(health.STREAM, columns.types(health.TABLE), name="health", required=health.required())

    async def _say(self, row: Row | None) -> None:
        """Log a row of the health table and write it, as well as it can be done."""
        if row is None:
            return
        from ikestream import health

        health.log([row])
        if self._health_table is not None:
            try:
                trouble = (await self._health_table.write([row])).trouble
            except Exception as why:  # noqa: BLE001 - whatever a library raises, a row about health fails no batch
                trouble = type(why).__name__
            if trouble:
                log.warning("health table: %s", trouble)
