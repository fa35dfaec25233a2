"""what knocks on a public gateway beside its tunnels: scanners, and laptops of people at home."""

from __future__ import annotations

from ikestream.events import Proposal, Selector
from ikestream.lab.ends import ANY, documentation_address
from ikestream.lab.log import Log, Page
from ikestream.times import MINUTE, SECOND

_SCAN = (Proposal("DES3", "SHA1", "DHGroup2"), Proposal("DES", "MD5", "DHGroup1"))
_WINDOWS = (
    Proposal("AES256", "SHA384", "ECP384"),
    Proposal("AES256", "SHA256", "DHGroup14"),
    Proposal("DES3", "SHA1", "DHGroup2"),
)


def scan(log: Log, at: int, instance: str, local: str, taken: set[str]) -> str:
    """A scanner sends one SA_INIT, again a little later, and never goes on; Azure refuses it, answers it or asks for a cookie."""
    address = documentation_address(log.random, taken)
    manner = log.random.choice(("refused", "answered", "cookie"))
    for _ in range(log.random.randint(1, 6)):
        page = Page(log, at, instance, address, local, log.random.choice((500, 4500, 62_465)), session=log.session())
        say, spi = log.wording, log.spi()
        page.write(say.init_received(spi), after=0)
        page.write(say.ike_received(_SCAN[: log.random.randint(1, 2)]))
        if manner == "cookie":
            page.write("[SEND][NOTIFY] Sending DoS Cookie Notify")
        else:
            page.write(say.spi_generated(spi, log.spi()))
        if manner == "refused":
            page.write(say.notify("Policy Mismatch", sent=True))
            page.write(say.closed(page.tunnel, 13868))
        at += log.random.randint(5, 90) * SECOND
    return address


def connect_client(log: Log, at: int, instance: str, local: str, taken: set[str], *, outcomes: str) -> str:
    """A laptop behind somebody's router dials in with IKEv2 and EAP, once per letter: s succeeds, p wrong password,
    c certificate refused, g gives up half-way, d dies without a word, m policy refused.

    Selectors as in the one public record of a client (adstuart/azure-vpn-p2s): everything on its side, Azure's
    prefixes on the other.
    """
    address = documentation_address(log.random, taken)
    say = log.wording
    for outcome in outcomes:
        port = log.random.randint(20_000, 65_000)
        page = Page(log, at, instance, address, local, port, session=log.session(), tunnel=0x729, ts=0xE)
        spi = log.spi()
        page.write(say.init_received(spi), after=0)
        page.write(say.ike_received(_WINDOWS))
        page.write(say.spi_generated(spi, log.spi()))
        if outcome == "m":
            page.write(say.notify("Policy Mismatch", sent=True))
        elif outcome != "g":
            page.local_port = 4500
            page.write(say.auth_received(), after=120)
            page.write(say.auth_sent(page.tunnel, page.ts))
            _authenticate(page, outcome)
        at = page.at + log.random.randint(20, 240) * SECOND
    return address


def connect_openvpn(log: Log, at: int, instance: str) -> None:
    """An OpenVPN client connects: the point-to-site category, with address and user masked as Azure masks them (DG)."""
    tag = f"[MSG] [default] [OVPN_{log.session().upper()}]"
    log.client(at, instance, f"{tag} Connect request received. IP=0.X.X.X:XXX")
    log.client(at + SECOND, instance, f"{tag} Connection successful. Username=***user@example.com IP=10.0.0.1")


def _authenticate(page: Page, outcome: str) -> None:
    say = page.log.wording
    if page.log.random.random() < 0.5:
        # Selectors stand in the first IKE_AUTH request (RFC 7296 1.2): they prove nothing about who sent them.
        page.write(say.selectors("requested", page.ts, ANY, ANY))
    if outcome == "p":
        page.write("[SEND][NOTIFY] Sending Notify with error The user name or password is incorrect", after=400)
        page.write(say.closed(page.tunnel, 1326))
    elif outcome == "c":
        page.write(say.notify("Authentication failed", sent=True), after=400)
        page.write(say.closed(page.tunnel, 13806))
    else:
        networks = tuple(Selector(f"10.{n}.0.0", f"10.{n}.255.255") for n in (14, 15, 18))
        page.write(say.selectors("final", page.ts, ANY * len(networks), networks), after=500)
        page.write(
            say.closed(page.tunnel, 13886 if outcome == "d" else 13885), after=page.log.random.randint(5, 60) * MINUTE
        )
