"""two ends and a clock -> the life of one tunnel: who tries when, rekeys, takeovers, and what is logged meanwhile."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from random import Random
from typing import Any

from ikestream.lab.ends import Azure, Leg, Peer, Side
from ikestream.lab.exchange import Exchange, Result
from ikestream.lab.log import Log, Page
from ikestream.times import MINUTE, SECOND


@dataclass(slots=True)
class Life:
    """One leg as it stands: when its SA has to be renewed while it is up, when each side tries next while it is down."""

    leg: Leg
    up: bool = False
    session: str = ""  # of the IKE SA
    child_at: int = 0  # next child rekey
    ike_at: int = 0  # next IKE rekey
    child_ends: int = 0
    refused_rekeys: int = 0
    next_try: dict[Side, int] = field(default_factory=dict)


@dataclass(slots=True)
class Site:
    """A tunnel of the gateway that `log` belongs to. `now` is ms; everything before it is written."""

    log: Log
    azure: Azure
    peer: Peer
    legs: list[Leg]
    now: int
    session_lives_on: bool = False  # rekeys under the SESSION_ID of the IKE SA; whether Azure does is not established
    lives: list[Life] = field(init=False)

    def __post_init__(self) -> None:
        self.lives = [Life(leg) for leg in self.legs]
        for life in self.lives:
            self._retry(life, self.now)

    @property
    def random(self) -> Random:
        """The seed's source of chance."""
        return self.log.random

    def set(self, *, azure: dict[str, Any] | None = None, peer: dict[str, Any] | None = None) -> None:
        """Change what is configured at either end, from now on."""
        self.azure = replace(self.azure, **(azure or {}))
        self.peer = replace(self.peer, **(peer or {}))

    def run(self, span: int) -> None:
        """Let `span` ms pass."""
        until = self.now + span
        while (step := min((self._next(life) for life in self.lives), key=lambda s: s[0], default=None)) is not None:
            at, act = step
            if at >= until:
                break
            self.now = at
            act(at)
        self.now = until

    def drop(self, code: int, *, reason: str = "", closes: bool = True) -> None:
        """End every SA that is up: with a close line of `code`, and TunnelDisconnected with `reason`."""
        for life in self.lives:
            self._end(life, self.now, code, reason=reason, closes=closes)

    def restart_peer(self) -> list[str]:
        """The peer comes back with new IKE SAs and says nothing of the old ones; return the SESSION_IDs of those."""
        old = [life.session for life in self.lives]
        for life in self.lives:
            page = self.page(life, self.now)
            Exchange(self.azure, self.peer, page).run(Side.PEER)
            self._begin(life, page)
        return old

    def take_over(self, gap: int, *, reason: str = "") -> None:
        """The other instance takes every leg of this site over; nothing is negotiated for `gap` ms."""
        for life in self.lives:
            if life.up:
                self.log.tunnel(self.now, life.leg.instance, self.peer.address, up=False, reason=reason)
                life.up = False
            life.leg.instance = life.leg.instance[:-1] + ("1" if life.leg.instance.endswith("0") else "0")
            self._retry(life, self.now + gap)

    def page(self, life: Life, at: int, session: str = "", instance: str = "") -> Page:
        """Open a session's page."""
        return Page(
            self.log,
            at,
            instance or life.leg.instance,
            self.peer.address,
            life.leg.local,
            session=session or self.log.session(),
        )

    def _next(self, life: Life) -> tuple[int, Callable[[int], None]]:
        if life.up:
            return min(
                (life.child_at, lambda at: self._rekey_child(life, at)),
                (life.ike_at, lambda at: self._rekey_ike(life, at)),
                key=lambda s: s[0],
            )
        tries = [(at, side) for side, at in life.next_try.items() if self._begins(side)]
        at, side = min(tries, default=(1 << 62, Side.PEER))
        return at, lambda at: self._try(life, side, at)

    def _begins(self, side: Side) -> bool:
        return self.azure.initiates if side is Side.AZURE else self.peer.initiates and self.peer.heard

    def _retry(self, life: Life, at: int) -> None:
        for side in Side:
            life.next_try[side] = at + self.random.randint(2, 9) * SECOND

    def _try(self, life: Life, side: Side, at: int) -> None:
        page = self.page(life, at)
        result = Exchange(self.azure, self.peer, page).run(side)
        if result is Result.ESTABLISHED:
            self._begin(life, page)
        else:
            life.next_try[side] = max(page.at, at) + self.random.randint(20, 60) * SECOND

    def _begin(self, life: Life, page: Page) -> None:
        life.up, life.session, life.refused_rekeys = True, page.session, 0
        self._renew_child(life, page.at)
        # Whoever's lifetime ends first rekeys, a little early so that both do not.
        life.ike_at = page.at + round(self.azure.lifetime * self.random.uniform(0.90, 0.97)) * SECOND
        self.log.tunnel(page.at + self.random.randint(20, 900), life.leg.instance, self.peer.address, up=True)

    def _renew_child(self, life: Life, at: int) -> None:
        life.child_at = at + round(self.azure.child_lifetime * self.random.uniform(0.90, 0.97)) * SECOND
        life.child_ends = at + self.azure.child_lifetime * SECOND

    def _rekey_child(self, life: Life, at: int) -> None:
        side = self.random.choice([s for s in Side if self._begins(s)] or [Side.AZURE])
        page = self.page(life, at, life.session if self.session_lives_on else "")
        if Exchange(self.azure, self.peer, page).rekey(side) is Result.ESTABLISHED:
            self._renew_child(life, page.at)
            return
        life.child_at = page.at + self.random.randint(40, 90) * SECOND
        life.refused_rekeys += 1
        if life.refused_rekeys == 4:
            # The child cannot be renewed: a side gives the IKE SA up and a new one brings a new child along.
            self._end(life, life.child_at, 13885)

    def _rekey_ike(self, life: Life, at: int) -> None:
        """Reauthentication, make before break: a new IKE SA, then the old one is deleted as out of date."""
        old = life.session
        side = self.random.choice([s for s in Side if self._begins(s)] or [Side.AZURE])
        page = self.page(life, at)
        if Exchange(self.azure, self.peer, page).run(side) is not Result.ESTABLISHED:
            self._end(life, at, 13885)
            return
        self._begin(life, page)
        end = self.page(life, page.at + self.random.randint(1, 12) * SECOND, old)
        end.write(self.log.wording.closed(end.tunnel, 13885), after=0)

    def _end(self, life: Life, at: int, code: int, *, reason: str = "", closes: bool = True) -> None:
        if not life.up:
            return
        life.up = False
        if closes:
            page = self.page(life, at, life.session)
            page.write(self.log.wording.closed(page.tunnel, code), after=0)
        self.log.tunnel(at, life.leg.instance, self.peer.address, up=False, reason=reason)
        self._retry(life, at)


DETECTION = 45 * SECOND
"""Azure's default DPD timeout (facts 01)."""

UP_FIRST = 10 * MINUTE
"""How long a scenario lets a tunnel work before something happens to it."""
