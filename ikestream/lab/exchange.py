"""two configured ends -> one IKE exchange and the lines Azure writes about it (facts 06, 1.2).

The exchange is decided first, by what the two ends hold; the log only tells it. So an injected fault is the truth,
and a verdict can be held against it.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from ikestream.events import Proposal, Selector
from ikestream.lab.ends import Azure, Peer, Side
from ikestream.lab.log import Page
from ikestream.lab.policy import choose


class Result(StrEnum):
    """How an exchange ended."""

    ESTABLISHED = "established"
    SILENT = "no answer"
    POLICY = "no common phase 1 proposal"
    KEY = "keys differ"
    CHILD_POLICY = "no common phase 2 proposal"
    SELECTORS = "no common selectors"
    LOST_4500 = "UDP 4500 blocked"


@dataclass(frozen=True, slots=True)
class Exchange:
    """One negotiation from SA_INIT on, as Azure writes it to `page`."""

    azure: Azure
    peer: Peer
    page: Page

    def run(self, side: Side) -> Result:
        """Negotiate, begun by `side`; return how it ended. `page.at` is then the time of the last line."""
        return self._from_azure() if side is Side.AZURE else self._from_peer()

    # --- Azure begins -------------------------------------------------------------------------------------------

    def _from_azure(self) -> Result:
        page, say = self.page, self.page.log.wording
        spi, answer = page.log.spi(), page.log.spi()
        page.write(say.init_sent(page.tunnel, spi), after=0)
        page.write(say.ike_sent(page.tunnel, self.azure.policy.ike, self.azure.method))
        if not self.peer.answers or not self.peer.heard:
            for wait in (1, 2, 4, 8):
                page.write(say.init_sent(page.tunnel, spi), after=wait * 1000)
            return self._close(Result.SILENT, 13805, after=9_000, always=False)
        if self.peer.wants_cookie:
            page.write(say.notify("Cookie", sent=False))
            page.write(say.init_sent(page.tunnel, spi))
        chosen = choose(self.azure.policy.ike, self.peer.policy.ike, with_group=True)
        if chosen is None:
            page.write(say.notify("Policy Mismatch", sent=False))
            return self._close(Result.POLICY, 13868)
        if chosen.group != self.azure.policy.ike[0].group:
            # Azure sent the KE of its first proposal; the peer asks for the group it chose.
            page.write(say.notify("Invalid KE Payload", sent=False))
            page.write(say.init_sent(page.tunnel, spi))
            page.write(say.ike_sent(page.tunnel, self.azure.policy.ike, self.azure.method))
        page.write(say.init_answered(spi, answer))
        page.write(say.ike_received((chosen,)))
        page.write(say.nonce(page.tunnel, spi, answer))
        self._float()
        page.write(say.auth_sent(page.tunnel, page.ts))
        page.write(say.selectors("proposed", page.ts, self.azure.selectors, self.azure.remote_selectors))
        page.write(say.esp_sent(page.tunnel, page.ts, self.azure.policy.esp_offered))
        if self.peer.nat and not self.peer.passes_4500:
            return self._close(Result.LOST_4500, 13805, after=24_000)
        if self.azure.key != self.peer.key:
            page.write(say.notify("Authentication failed", sent=False))
            return self._close(Result.KEY, 13801)
        page.write(say.auth_received())
        esp = choose(self.azure.policy.esp_offered, self.peer.policy.esp_accepted, with_group=False)
        if esp is None:
            page.write(say.notify("Policy Mismatch", sent=False))
            return self._close(Result.CHILD_POLICY, 13868)
        ours = meet(self.azure.selectors, self.peer.remote_selectors, narrow=self.peer.narrow)
        theirs = meet(self.azure.remote_selectors, self.peer.selectors, narrow=self.peer.narrow)
        if not ours or not theirs:
            page.write(say.notify("Traffic Selectors Unacceptable", sent=False))
            return self._close(Result.SELECTORS, 13999)
        page.write(say.esp_received((esp,)))
        page.write(say.selectors("final", page.ts, ours, theirs))
        return Result.ESTABLISHED

    # --- the peer begins ----------------------------------------------------------------------------------------

    def _from_peer(self) -> Result:
        page, say = self.page, self.page.log.wording
        if not self.peer.heard:
            return Result.SILENT
        spi, answer = page.log.spi(), page.log.spi()
        page.write(say.init_received(spi), after=0)
        page.write(say.ike_received(self.peer.policy.ike))
        chosen = choose(self.peer.policy.ike, self.azure.policy.ike, with_group=True)
        guess = self.peer.guesses_group or self.peer.policy.ike[0].group
        if chosen is not None and chosen.group != guess:
            page.write(say.notify("Invalid KE Payload", sent=True))
            page.write(say.init_received(spi))
            page.write(say.ike_received(self.peer.policy.ike))
        page.write(say.spi_generated(spi, answer))
        if chosen is None:
            page.write(say.notify("Policy Mismatch", sent=True))
            return self._close(Result.POLICY, 13868, always=False)
        if self.peer.nat and not self.peer.passes_4500:
            return Result.LOST_4500
        self._float()
        page.write(say.auth_received())
        if self.azure.key != self.peer.key:
            page.write(say.notify("Authentication failed", sent=True))
            return self._close(Result.KEY, page.log.wording.bad_key)
        ours, theirs = self.peer.remote_selectors, self.peer.selectors
        page.write(say.selectors("requested", page.ts, theirs, ours))
        page.write(say.esp_received(self.peer.policy.esp_offered))
        esp = choose(self.peer.policy.esp_offered, self.azure.policy.esp_accepted, with_group=False)
        if esp is None:
            page.write(say.notify("Policy Mismatch", sent=True))
            return self._close(Result.CHILD_POLICY, 13868)
        agreed = meet(ours, self.azure.selectors, narrow=self.azure.narrow)
        if not agreed:
            page.write(say.notify("Traffic Selectors Unacceptable", sent=True))
            return self._close(Result.SELECTORS, 13999)
        page.write(say.auth_sent(page.tunnel, page.ts))
        page.write(say.selectors("final", page.ts, theirs, agreed))
        return Result.ESTABLISHED

    # --- a child SA of an IKE SA that is up -----------------------------------------------------------------------

    def rekey(self, side: Side) -> Result:
        """Negotiate a child SA with CREATE_CHILD_SA: here, and only here, PFS counts."""
        page, say = self.page, self.page.log.wording
        if side is Side.AZURE:
            page.write(say.selectors("proposed", page.ts, self.azure.selectors, self.azure.remote_selectors), after=0)
            page.write(say.esp_sent(page.tunnel, page.ts, self.azure.policy.esp_offered))
            chosen = choose(self.azure.policy.esp_offered, self.peer.policy.esp_accepted, with_group=True)
        else:
            page.write(say.selectors("requested", page.ts, self.peer.selectors, self.peer.remote_selectors), after=0)
            page.write(say.esp_received(self.peer.policy.esp_offered))
            chosen = choose(self.peer.policy.esp_offered, self.azure.policy.esp_accepted, with_group=True)
        if chosen is None:
            page.write(say.notify("Policy Mismatch", sent=side is Side.PEER))
            page.write(say.cleanup("QM", 13868))
            return Result.CHILD_POLICY
        if side is Side.AZURE:
            page.write(say.esp_received((Proposal(chosen.encryption, chosen.integrity),)))
            ends = (self.azure.selectors, self.azure.remote_selectors)
        else:
            ends = (self.peer.selectors, self.peer.remote_selectors)
        page.write(say.selectors("final", page.ts, *ends))
        return Result.ESTABLISHED

    def _float(self) -> None:
        # NAT on the way: from IKE_AUTH on both use 4500, and the peer's source port is whatever its router chose.
        if self.peer.nat:
            self.page.local_port = 4500
            self.page.remote_port = (
                4500 if self.page.log.random.random() < 0.5 else self.page.log.random.randint(1024, 65535)
            )

    def _close(self, result: Result, code: int, *, after: int | None = None, always: bool = True) -> Result:
        # A responder that refuses in SA_INIT and an attempt nobody answers are not always followed by a close.
        if always or self.page.log.random.random() < 0.5:
            self.page.write(self.page.log.wording.closed(self.page.tunnel, code), after=after)
        return result


def meet(proposed: tuple[Selector, ...], own: tuple[Selector, ...], *, narrow: bool) -> tuple[Selector, ...]:
    """Return what a responder makes of proposed selectors: everything, or if `narrow` those it holds itself."""
    if not narrow:
        return proposed
    return own if set(own) <= set(proposed) or any(s.start == "0.0.0.0" for s in proposed) else ()  # noqa: S104 - any
