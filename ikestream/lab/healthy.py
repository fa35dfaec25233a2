"""seed -> stories in which nothing is wrong: the tunnel does what tunnels do, and nobody must be woken."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import TypeAlias

from ikestream.lab.bench import Lab
from ikestream.lab.ends import Azure, Peer, Side
from ikestream.lab.exchange import Exchange
from ikestream.lab.policy import matching_policy
from ikestream.lab.site import Site
from ikestream.lab.story import Story, Truth
from ikestream.lab.strangers import connect_client, connect_openvpn, scan
from ikestream.times import HOUR, MINUTE, SECOND

Scenario: TypeAlias = Callable[[Lab], Story]


def _fine(lab: Lab, name: str, *sites: Site) -> Story:
    return lab.tell(name, *(Truth(site.peer.address, down=False) for site in sites))


def establish_and_rekey(lab: Lab) -> Story:
    """Either side initiates, the tunnel comes up, the child SA is renewed every seven hours or so and the IKE SA every eight."""
    site = lab.site()
    site.set(azure={"initiates": lab.random.random() < 0.7})
    site.run(20 * HOUR)
    return _fine(lab, "establish_and_rekey", site)


def short_lifetimes(lab: Lab) -> Story:
    """The peer's lifetimes are short, an hour; lifetimes need not match and every renewal succeeds."""
    site = lab.site()
    site.set(azure={"lifetime": 7_200, "child_lifetime": 3_600})
    site.run(9 * HOUR)
    return _fine(lab, "short_lifetimes", site)


def peer_behind_nat(lab: Lab) -> Story:
    """The peer sits behind NAT and always initiates. Azure's own attempts, before that and again when the peer
    reauthenticates with a gap of seconds, are never answered: normal for such a site (FAQ)."""
    azure = Azure(lab.policy())
    peer = Peer(lab.address(), matching_policy(lab.random, azure.policy), nat=True, answers=False)
    site = lab.site(azure=azure, peer=peer, active_active=False)
    for _ in range(3):
        site.run(40 * MINUTE)
        site.drop(13885)
        # Azure tries at once and in vain; the peer comes back within half a minute.
        for life in site.lives:
            life.next_try = {
                Side.AZURE: site.now + 3 * SECOND,
                Side.PEER: site.now + lab.random.randint(8, 25) * SECOND,
            }
    site.run(40 * MINUTE)
    return _fine(lab, "peer_behind_nat", site)


def on_demand_peer(lab: Lab) -> Story:
    """A branch router dials in when there is traffic and deletes the tunnel when it is idle; nobody attempts anything in between."""
    site = lab.site(active_active=False)
    site.set(azure={"initiates": False})
    for _ in range(4):
        site.run(25 * MINUTE)
        site.drop(13885, reason="RemotelyTriggered")
        for life in site.lives:
            life.next_try[Side.PEER] = site.now + lab.random.randint(10, 40) * MINUTE
        site.run(45 * MINUTE)
    return _fine(lab, "on_demand_peer", site)


def takeover(lab: Lab) -> Story:
    """Azure moves the tunnel to the other instance for maintenance; it is back within three minutes."""
    site = lab.site(active_active=False)
    site.run(2 * HOUR)
    event = lab.random.choice(("HostMaintenanceEvent", "GatewayTenantPrimaryChanged"))
    lab.log.operation(
        site.now - lab.random.randint(-60, 240) * SECOND,
        event,
        site.legs[0].instance,
        "HostMaintenance. State: Starting",
    )
    site.take_over(lab.random.randint(5, 150) * SECOND, reason=lab.random.choice(("", "StandbyChanged")))
    site.run(2 * HOUR)
    return _fine(lab, "takeover", site)


def standby_refuses(lab: Lab) -> Story:
    """The tunnel is up on one instance; attempts that reach the standby instance are refused by it, which is its job (4320)."""
    site = lab.site(active_active=False)
    site.run(30 * MINUTE)
    for _ in range(5):
        page = site.page(site.lives[0], site.now, instance="GatewayTenantWorker_IN_1")
        page.write(lab.log.wording.init_received(lab.log.spi()), after=0)
        page.write(lab.log.wording.notify_error(4320))
        page.write(lab.log.wording.closed(page.tunnel, 4320))
        site.run(lab.random.randint(1, 10) * MINUTE)
    return _fine(lab, "standby_refuses", site)


def rekey_collision(lab: Lab) -> Story:
    """Both ends renew at the same moment; one of the two negotiations gives way, the other one stands."""
    site = lab.site(active_active=False)
    site.run(30 * MINUTE)
    life = site.lives[0]
    for side, code in ((Side.AZURE, None), (Side.PEER, lab.random.choice((13821, 13807, 13808)))):
        page = site.page(life, site.now + lab.random.randint(0, 40))
        if code is None:
            Exchange(site.azure, site.peer, page).rekey(side)
        else:
            page.write(lab.log.wording.notify_error(code), after=0)
            page.write(lab.log.wording.closed(page.tunnel, code))
    site.run(HOUR)
    return _fine(lab, "rekey_collision", site)


def group_corrected(lab: Lab) -> Story:
    """The initiator's first KE payload is of a group the responder likes less; it asks for another, gets it, and all is well."""
    site = lab.site()
    own = site.azure.policy.ike[0].group
    other = "DhGroup5" if own != "DhGroup5" else "DHGroup14"
    site.set(azure={"initiates": False}, peer={"guesses_group": other})
    site.run(HOUR)
    return _fine(lab, "group_corrected", site)


def cookie(lab: Lab) -> Story:
    """The peer is under load and asks for a cookie first; the second SA_INIT carries it."""
    site = lab.site()
    site.set(peer={"wants_cookie": True, "initiates": False})
    site.run(HOUR)
    return _fine(lab, "cookie", site)


def peer_restarts(lab: Lab) -> Story:
    """The peer restarts in seconds and comes back with a new IKE SA. What Azure holds of the old one ends by itself: by dead
    peer detection a minute or two later, or hours later with its lifetime."""
    site = lab.site()
    site.run(HOUR)
    code, after = lab.random.choice(((13886, 100 * SECOND), (13885, 2 * HOUR)))
    old = site.restart_peer()
    site.run(after)
    for life, session in zip(site.lives, old, strict=True):
        page = site.page(life, site.now, session)
        page.write(lab.log.wording.closed(page.tunnel, code), after=0)
    site.run(2 * HOUR)
    return _fine(lab, "peer_restarts", site)


def configuration_saved(lab: Lab) -> Story:
    """Somebody saves an unrelated change of the gateway; the tunnel is renegotiated and back in seconds."""
    site = lab.site()
    site.run(30 * MINUTE)
    lab.log.operation(site.now + lab.random.randint(0, 120) * SECOND, "SetGatewayConfiguration", "", "")
    site.drop(lab.random.choice((13849, 13877)), reason="")
    site.run(HOUR)
    return _fine(lab, "configuration_saved", site)


def second_attempt_refused(lab: Lab) -> Story:
    """The tunnel is up; a cluster member of the peer without the connection is tried by Azure too and refuses now and then."""
    site = lab.site(active_active=False)
    site.run(30 * MINUTE)
    for _ in range(2):
        page = site.page(site.lives[0], site.now)
        page.write(lab.log.wording.init_received(lab.log.spi()), after=0)
        page.write(lab.log.wording.closed(page.tunnel, lab.random.choice((13807, 13845))))
        site.run(7 * MINUTE)
    site.run(HOUR)
    return _fine(lab, "second_attempt_refused", site)


def logging_switched_on(lab: Lab) -> Story:
    """Diagnostics are switched on while the tunnel works. The first line for hours is one attempt of Azure in the other
    direction that nobody answers; then come the renewals of the tunnel that was up all the time."""
    site = lab.site(active_active=False)
    site.run(30 * MINUTE)
    lab.log.records.clear()
    life = site.lives[0]
    Exchange(site.azure, replace(site.peer, answers=False), site.page(life, site.now)).run(Side.AZURE)
    site.run(20 * HOUR)
    return _fine(lab, "logging_switched_on", site)


def slow_to_answer(lab: Lab) -> Story:
    """The peer is booting: Azure's first attempt goes unanswered, the second is answered after a minute and succeeds."""
    site = lab.site(active_active=False)
    site.set(azure={"initiates": False}, peer={"initiates": False})
    life, say = site.lives[0], lab.log.wording
    Exchange(site.azure, replace(site.peer, answers=False), site.page(life, site.now)).run(Side.AZURE)
    page = site.page(life, site.now + 20 * SECOND)
    for wait in (0, 2, 4, 8, 16, 24):
        page.write(say.init_sent(page.tunnel, "0xABCDEF0123456789"), after=wait * SECOND)
    page.at += 6 * SECOND
    Exchange(site.azure, site.peer, page).run(Side.AZURE)
    lab.log.tunnel(page.at + SECOND, life.leg.instance, site.peer.address, up=True)
    return _fine(lab, "slow_to_answer", site)


def strangers_knock(lab: Lab) -> Story:
    """Beside a tunnel that works scanners knock, and people at home dial in, mistype passwords, give up and drop out of WLANs."""
    site = lab.site()
    site.run(5 * MINUTE)
    leg = site.legs[0]
    for _ in range(6):
        at = site.now + lab.random.randint(0, 50 * MINUTE)
        lab.strangers.add(scan(lab.log, at, leg.instance, leg.local, lab.taken))
        connect_openvpn(lab.log, at, leg.instance)
    for outcomes in ("sss", "pps", "cc", "gggg", "sds", "mms", "spspd", "sdmg", "dgggg"):
        at = site.now + lab.random.randint(0, 50 * MINUTE)
        lab.strangers.add(connect_client(lab.log, at, leg.instance, leg.local, lab.taken, outcomes=outcomes))
    site.run(6 * HOUR)
    return _fine(lab, "strangers_knock", site)


HEALTHY: tuple[Scenario, ...] = (
    establish_and_rekey,
    short_lifetimes,
    peer_behind_nat,
    on_demand_peer,
    takeover,
    standby_refuses,
    rekey_collision,
    group_corrected,
    cookie,
    peer_restarts,
    configuration_saved,
    second_attempt_refused,
    logging_switched_on,
    slow_to_answer,
    strangers_knock,
)
