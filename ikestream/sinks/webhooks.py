"""Postings -> one webhook: messages in its format, each incident's in order, none of another's held up by them.

What an answer means
    2xx            accepted.
    400, 413, 422  the message itself is not taken: it is sent once more with the least that is worth telling. If that
                   is refused too, it is refused for good, unless this receiver has never taken anything: then rather
                   its address, format or key is wrong, and the message waits until that is mended.
    3xx, other 4xx a setting is wrong (redirects are not followed: they would carry the message to somebody else).
                   Everything waits, the outbox keeps of each incident only the newest, and the trouble says what to do.
    408, 425, 429, 5xx, no answer
                   it is sent again, not before Retry-After.

Whom a message is for is decided here as well, with what this process remembers of what it told. Where it does not
know, it tells once too often: that an outage is over is kept back only if this very process kept back all of it.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import Enum, auto
from types import MappingProxyType
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import orjson

from ikestream.incident import Row, Why
from ikestream.notify import SEVERITIES, Format, Peers, Webhook, find, is_address
from ikestream.sinks import Posting, Receipt, cloud_events, pager_duty, slack, teams
from ikestream.sinks.answers import LATER, SOON, reason, retry_after
from ikestream.sinks.message import Message

if TYPE_CHECKING:
    from ssl import SSLContext

    from aiohttp import ClientSession

CONNECT, ANSWER = 3.0, 8.0
"""Seconds to connect, and until the answer is there; a workflow in Teams takes a second or two."""

PATIENCE = 20.0
"""Seconds for one call of `send`: it must have ended before another worker may send (`times.LEASE_LEFT`)."""

DOUBTFUL = 60.0
"""Seconds until a receiver that has refused everything so far is asked again."""

FAILURES = 3
"""Failed messages in a row after which the receiver is left alone until next time."""

MEMORY = 10_000
"""Incidents remembered, the newest."""

_MESSAGE_REFUSED = frozenset({400, 413, 422})
_PASSING = frozenset({408, 425, 429})

Writer = Callable[[Message, Webhook], dict[str, Any]]


@dataclass(frozen=True, slots=True)
class Spoken:
    """How a format is sent. `largest`: bytes above which the receiver refuses a message, so that it is cut at once."""

    write: Writer
    largest: int
    content_type: str = "application/json"


# PagerDuty and Teams document 512 KB and 28 KB. The others' limits are their own, a message of more helps nobody.
SPOKEN: Mapping[Format, Spoken] = MappingProxyType(
    {
        Format.CLOUD_EVENTS: Spoken(lambda m, _: cloud_events.write(m), 900_000, cloud_events.CONTENT_TYPE),
        Format.PAGER_DUTY: Spoken(lambda m, hook: pager_duty.write(m, hook.routing_key), 500_000),
        Format.TEAMS: Spoken(lambda m, _: teams.write(m), 27_000),
        Format.SLACK: Spoken(lambda m, _: slack.write(m), 100_000),
    }
)


class _Fate(Enum):
    ACCEPTED = auto()
    REFUSED = auto()  # this message, for good
    FAILED = auto()  # this message, this time
    CLOSED = auto()  # the receiver takes nothing now: the others need not try


@dataclass(frozen=True, slots=True)
class _Answer:
    fate: _Fate
    said: str = ""
    wait: float = SOON


@dataclass(slots=True)
class _Remembered:
    """Of one incident: the newest revision that the receiver took, and whether it has heard of it at all."""

    revision: int = 0
    told: bool | None = None  # False: its opening was kept back here; None: not known, an earlier process may have told


class WebhookSink:
    """One receiver of messages. Belongs to one event loop, as the worker has; connections are kept until `close`."""

    messages = True

    def __init__(
        self,
        hook: Webhook,
        peers: Peers = MappingProxyType({}),
        *,
        clock: Callable[[], float] = time.time,
        trust: SSLContext | None = None,
        answer: float = ANSWER,
    ) -> None:
        """Raises ValueError if `hook` has no usable address. `clock` gives seconds since 1970, for mutes and dates."""
        if not is_address(hook.url, secure=True):
            raise ValueError(f"webhook {hook.name}: the address must be https, or http to this machine")
        # Its own name space: a webhook called console must not take the marks of the console.
        self.name = f"webhook:{hook.name}"
        self._hook, self._peers, self._clock, self._trust, self._patience = hook, peers, clock, trust, answer
        self._host = urlsplit(hook.url).hostname
        self._session: ClientSession | None = None
        self._memory: dict[str, _Remembered] = {}
        self._last: set[str] = set()  # incidents that failed the last time, and so come last
        self._worked = False

    async def send(self, postings: Sequence[Posting]) -> Receipt:
        """Send them, of each incident in order. Never raises for what the receiver or the network does."""
        receipt = Receipt()
        # An incident that nobody can send must not stand in the way of the others every time.
        ordered = sorted(postings, key=lambda posting: posting.key[0] in self._last)
        self._last = set()
        failures = 0
        self._connected()  # what the first import takes is not taken from the time to answer
        until = asyncio.get_running_loop().time() + PATIENCE
        for place, posting in enumerate(ordered):
            incident, revision = posting.key
            if incident in self._last:
                continue  # an earlier revision that came after this one would be the receiver's last word
            why, told = self._decide(posting)
            if why is None:
                receipt.accepted.add(posting.key)
                self._remember(incident, 0, told)
                continue
            if asyncio.get_running_loop().time() >= until:
                _note(receipt, f"{self._host}: out of time, {len(ordered) - place} messages left", SOON)
                break
            answer = await self._deliver(Message(posting.row, why, find(self._peers, posting.row)), until)
            if answer.fate is _Fate.ACCEPTED:
                receipt.accepted.add(posting.key)
                self._remember(incident, revision, told)
                failures = 0
            elif answer.fate is _Fate.REFUSED:
                receipt.refused[posting.key] = answer.said
            else:
                _note(receipt, answer.said, answer.wait)
                self._last.add(incident)
                failures += 1
                if answer.fate is _Fate.CLOSED or failures == FAILURES:
                    break
        return receipt

    async def close(self) -> None:
        """Let go of connections. The next message opens new ones."""
        session, self._session = self._session, None
        if session is not None:
            await session.close()

    # --- who is told what -----------------------------------------------------------------------------------------

    def _decide(self, posting: Posting) -> tuple[Why | None, bool | None]:
        """Return as what this is told, None if it is not, and what is then known of `_Remembered.told`."""
        row, hook = posting.row, self._hook
        known = self._memory.get(posting.key[0], _Remembered())
        if posting.key[1] < known.revision:
            return None, known.told  # what the receiver has is newer
        if row.get("Kind") not in hook.kinds or (row.get("Drill") and not hook.drills):
            return None, known.told
        if row.get("State") == "Resolved":
            wanted = Why.RESOLVED in hook.on and known.told is not False
            return Why.RESOLVED if wanted else None, known.told
        if posting.why is Why.UPDATED:
            return None, known.told
        peer = find(self._peers, row)
        muted = peer is not None and self._clock() * 1000 < peer.mute_until
        if muted or (not known.told and _rank(row) < SEVERITIES.index(hook.minimum)):
            # A change that is kept back says nothing about the opening: an earlier process may have told that.
            return None, False if posting.why is Why.OPENED and known.told is None else known.told
        if posting.why in hook.on:
            return posting.why, True
        # Of revisions that could not be sent only the newest is left: a change may be the first that is heard of it.
        if posting.why is Why.CHANGED and not known.told and Why.OPENED in hook.on:
            return Why.OPENED, True
        return None, True  # not kept back: whoever wants to hear only of ends hears of all of them

    def _remember(self, incident: str, revision: int, told: bool | None) -> None:
        before = self._memory.pop(incident, _Remembered())
        self._memory[incident] = _Remembered(max(revision, before.revision), told)
        if len(self._memory) > MEMORY:
            del self._memory[next(iter(self._memory))]

    # --- one message ----------------------------------------------------------------------------------------------

    async def _deliver(self, message: Message, until: float) -> _Answer:
        spoken = SPOKEN[self._hook.format]
        answer = _Answer(_Fate.REFUSED, f"{self._host}: larger than {spoken.largest} bytes")
        for brief in (False, True):
            try:
                body = orjson.dumps(spoken.write(replace(message, brief=brief), self._hook), default=str)
            except (TypeError, ValueError) as odd:  # a row that is no row; the others are not held up by it
                return _Answer(_Fate.REFUSED, f"cannot be written as {self._hook.format}: {type(odd).__name__}")
            if len(body) > spoken.largest:
                continue
            answer = await self._post(body, spoken.content_type, until)
            if answer.fate is not _Fate.REFUSED:
                return answer
            if brief and not self._worked:
                doubt = "nor has it taken any yet: check its address, format and key"
                return _Answer(_Fate.FAILED, f"{answer.said}, {doubt}", DOUBTFUL)
        return answer

    async def _post(self, body: bytes, content_type: str, until: float) -> _Answer:
        """Send one request. No word of what comes back is read: it is somebody else's text, and may hold the key."""
        from aiohttp import ClientError

        try:
            async with asyncio.timeout_at(min(until, asyncio.get_running_loop().time() + self._patience)):
                session = self._connected()
                headers = {"Content-Type": content_type}
                async with session.post(self._url, data=body, headers=headers, allow_redirects=False) as response:
                    return self._understand(response.status, response.headers)
        except TimeoutError:
            return _Answer(_Fate.FAILED, f"{self._host}: no answer in time")
        except (ClientError, OSError) as failed:
            return _Answer(_Fate.FAILED, f"{self._host}: {reason(failed)}")

    def _understand(self, status: int, headers: Mapping[str, str]) -> _Answer:
        said = f"{self._host}: {status}"
        if 200 <= status < 300:
            self._worked = True
            return _Answer(_Fate.ACCEPTED)
        if status in _PASSING or status >= 500:
            asked = retry_after(headers, self._clock())
            closed = status == 429 or asked is not None
            return _Answer(_Fate.CLOSED if closed else _Fate.FAILED, said, SOON if asked is None else asked)
        if status in _MESSAGE_REFUSED:
            return _Answer(_Fate.REFUSED, f"{said}, it does not take this message")
        if 300 <= status < 400:
            return _Answer(_Fate.CLOSED, f"{said}, a redirect, which is not followed: set the final address", LATER)
        return _Answer(_Fate.CLOSED, f"{said}: check the address of this webhook, and that it still exists", LATER)

    def _connected(self) -> ClientSession:
        # Imported here: the trigger starts cold often, and a webhook is only ever called by the timer.
        from aiohttp import ClientSession, ClientTimeout, DummyCookieJar, TCPConnector
        from yarl import URL

        if self._session is None:
            # As it was given: a signature in it covers the spelling.
            self._url = URL(self._hook.url, encoded=True)
            self._session = ClientSession(
                connector=TCPConnector(ssl=self._trust or True, limit=2),
                cookie_jar=DummyCookieJar(),
                timeout=ClientTimeout(total=None, sock_connect=CONNECT),
                headers={"User-Agent": "ikestream"},
            )
        return self._session


def _rank(row: Row) -> int:
    # A severity this version does not know counts as the most severe.
    severity = row.get("Severity")
    return next((place for place, known in enumerate(SEVERITIES) if known == severity), len(SEVERITIES))


def _note(receipt: Receipt, trouble: str, wait: float) -> None:
    """Keep the first trouble, and the longest wait that was asked for."""
    receipt.trouble = receipt.trouble or trouble
    receipt.retry_after = max(receipt.retry_after or 0.0, wait)
