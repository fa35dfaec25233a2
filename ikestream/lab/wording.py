"""what happened -> the words of Azure's log: every line as the public record shows it, spelled as one gateway spells it.

Public lines differ in spacing, case and key order (facts 00, traps). A gateway keeps to its own way, so the way is
drawn once from the seed; within it nothing is invented that facts 00 does not show or list as a spelling.
"""

from __future__ import annotations

from collections.abc import Sequence
from random import Random

from ikestream import codes
from ikestream.events import Proposal, Selector

_CIPHERS = {
    "AES256": "AES-CBC-256",
    "AES192": "AES-CBC-192",
    "AES128": "AES-CBC-128",
    "GCMAES256": "AES-GCM-256",
    "GCMAES128": "AES-GCM-128",
    "DES3": "3DES",
}
_GROUPS = {"ECP256": "DhGroup19", "ECP384": "DhGroup20"}


class Wording:
    """One gateway's spelling."""

    def __init__(self, random: Random) -> None:
        self._tunnel = random.choice(("tunnelId", "tunnel Id"))
        self._gap = random.choice(("", " "))
        self._md5 = random.choice(("Md5", "MD5"))
        self._glued = random.random() < 0.5  # Cipher=DESIntegrity=Md5
        self._stop = random.choice(("", "."))
        self._hash_first = random.random() < 0.3
        self._ts_gap = random.choice((" ", "  "))
        self.bad_key = random.choice((13801, 13826))  # how this gateway closes when it could not verify the peer
        self.upper_sessions = random.random() < 0.3

    def prefix(self, session: str, remote: str, remote_port: int, local: str, local_port: int) -> str:
        """Return what stands before every line of an exchange."""
        return f"{self.session_prefix(session)}Remote {remote}:{remote_port}: Local {local}:{local_port}: "

    def session_prefix(self, session: str) -> str:
        """Return the SESSION_ID alone, which is all that some lines carry (facts 00, variant C)."""
        return f"SESSION_ID :{{{session.upper() if self.upper_sessions else session}}} " if session else ""

    def init_sent(self, tunnel: int, spi: str) -> str:
        """Azure sends the first message, or sends it again."""
        return (
            f"[SEND][SA_INIT] Sending IKE SA_INIT packet with {self._tunnel} {tunnel:#x}, iCookie {spi} and rCookie 0x0"
        )

    def init_answered(self, initiator: str, responder: str) -> str:
        """The peer answered it."""
        return f"[RECEIVED][SA_INIT] Received IKE SA Init response message with iCookie {initiator} rCookie {responder}"

    def nonce(self, tunnel: int, initiator: str, responder: str) -> str:
        """The answer's nonce: "MM" stands in IKEv2 sessions too."""
        return (
            f"[RECEIVED] Receiving MM Packet for {self._tunnel} {tunnel:#x} iCookie {initiator} and rCookie {responder}: "
            "Receiving MM Nonce"
        )

    def init_received(self, spi: str) -> str:
        """The peer sent the first message."""
        return f"[RECEIVED][SA_INIT] Received SA INIT iCookie {spi} rCookie 0x0"

    def spi_generated(self, initiator: str, responder: str) -> str:
        """Azure made its own SPI; it may refuse all the same."""
        return f"[LOCAL_MSG][SA_INIT] Received SA INIT iCookie {initiator} and Generated new rCookie {responder}"

    def ike_sent(self, tunnel: int, offers: Sequence[Proposal], method: str) -> str:
        """Azure's phase 1 offers."""
        return f"[SEND]{self._gap}Sending Ike payload for tunnel Id {tunnel:#x}: Auth:{method}- {self._ike(offers)}"

    def ike_received(self, offers: Sequence[Proposal]) -> str:
        """The peer's phase 1 offers, or its choice."""
        return f"[RECEIVED]{self._gap}Received Ike payload: {self._ike(offers)}"

    def esp_sent(self, tunnel: int, ts: int, offers: Sequence[Proposal]) -> str:
        """Azure's phase 2 offers."""
        return f"[SEND]{self._gap}Sending IPSec policy Payload for tunnel Id {tunnel:#x}, tsId {ts:#x}: {self._esp(offers)}"

    def esp_received(self, offers: Sequence[Proposal]) -> str:
        """The peer's phase 2 offers, or its choice."""
        return f"[RECEIVED]{self._gap}Received IPSec payload: {self._esp(offers, glued=self._glued)}"

    def auth_sent(self, tunnel: int, ts: int) -> str:
        """Azure's IKE_AUTH."""
        return f"[SEND][SA_AUTH] Sending SA AUTH message for {self._tunnel} {tunnel:#x} and tsId {ts:#x}"

    def auth_received(self) -> str:
        """The peer's IKE_AUTH."""
        return "[RECEIVED][SA_AUTH] Received IKE AUTH message"

    def selectors(self, what: str, ts: int, initiator: Sequence[Selector], responder: Sequence[Selector]) -> str:
        """Return a selector line; `what` is `proposed`, `requested` or `final`."""
        head = {
            "proposed": "Proposed(send) Traffic Selector payload will be-",
            "requested": "Received Traffic Selector payload request-",
            "final": "[SEND] Proposed Traffic Selector payload will be (Final Negotiated) -",
        }[what]
        return (
            f"{head} [Tsid {ts:#x}{self._ts_gap}]Number of TSIs {len(initiator)}: {_ranges(initiator)} "
            f"Number of TSRs {len(responder)}:{_ranges(responder)}"
        )

    def notify(self, text: str, *, sent: bool) -> str:
        """A notify that says no, or asks for something."""
        return f"[{'SEND' if sent else 'RECEIVED'}][NOTIFY] {'Sending' if sent else 'Received'} Notify Message - {text}"

    def notify_error(self, code: int) -> str:
        """The third template: a notify with a Windows error's words."""
        return f"[SEND][NOTIFY] Sending Notify with error {codes.CODES[code].message.rstrip('.')}"

    def closed(self, tunnel: int, code: int) -> str:
        """The end of an IKE SA, or of the attempt at one."""
        text = codes.CODES[code].message.rstrip(".") + self._stop
        return f"[LOCAL_MSG] IKE Tunnel closed for {self._tunnel} {tunnel:#x} with status {text}"

    def cleanup(self, phase: str, code: int) -> str:
        """IKEv1's words for the end of a negotiation, seen in IKEv2 logs too; `phase` is `MM` or `QM`."""
        return f"IkeCleanup{phase}Negotiation called with error {code}" + (" and flags a" if phase == "QM" else "")

    def _ike(self, offers: Sequence[Proposal]) -> str:
        return " ".join(
            f"Policy{i}:Cipher={_cipher(p.encryption)} Integrity={self._hash(p.integrity)} DhGroup={_GROUPS.get(p.group, p.group.replace('DH', 'Dh'))}"
            for i, p in enumerate(offers, 1)
        )

    def _esp(self, offers: Sequence[Proposal], *, glued: bool = False) -> str:
        rows = []
        for i, p in enumerate(offers, 1):
            cipher, integrity = f"Cipher={_cipher(p.encryption)}", f"Integrity={self._hash(p.integrity)}"
            pair = (cipher, integrity) if glued or not self._hash_first else (integrity, cipher)
            rows.append(f"Policy{i}:" + ("" if glued else " ").join(pair))
        return " ".join(rows)

    def _hash(self, name: str) -> str:
        return self._md5 if name == "MD5" else _CIPHERS.get(name, name)


def _cipher(name: str) -> str:
    return _CIPHERS.get(name, name)


def _ranges(selectors: Sequence[Selector]) -> str:
    return ", ".join(
        f"StartAddress {s.start} EndAddress {s.end} PortStart {s.port_start} PortEnd {s.port_end} Protocol {s.protocol}"
        for s in selectors
    )
