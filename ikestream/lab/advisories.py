"""seed -> stories of tunnels that work, and about which somebody should be told by day; the truth names the advisory."""

from __future__ import annotations

from ikestream.events import Selector
from ikestream.lab.bench import Lab
from ikestream.lab.ends import Azure, Peer, Side
from ikestream.lab.exchange import Exchange
from ikestream.lab.healthy import Scenario
from ikestream.lab.policy import matching_policy
from ikestream.lab.site import Site
from ikestream.lab.story import Story, Truth
from ikestream.times import HOUR, MINUTE, SECOND

AFTER = 3 * HOUR
"""How long the log goes on when it is over: long enough for an end that silence shows within the hour."""


def _drop(lab: Lab, site: Site, code: int, reason: str) -> None:
    """Take every leg down; the peer is back within half a minute."""
    site.drop(code, reason=reason)
    for life in site.lives:
        life.next_try = dict.fromkeys(Side, site.now + lab.random.randint(5, 20) * SECOND)


def flapping(lab: Lab) -> Story:
    """The peer's access line loses packets: three to five times within the hour dead peer detection ends the tunnel, and
    it is back within half a minute. Only the Tunnel log shows it: in the other one the close has its successor."""
    site = lab.site()
    site.run(2 * HOUR)
    for _ in range(lab.random.randint(3, 5)):
        _drop(lab, site, 13886, "DPD timed out")
        site.run(lab.random.randint(7, 12) * MINUTE)
    site.run(AFTER)
    return lab.tell("flapping", Truth(site.peer.address, "Flapping", down=False, surely=bool(lab.tunnel_log)))


def periodic_drop(lab: Lab) -> Story:
    """The peer reauthenticates by taking the tunnel down: whenever its hour is over it is away for some seconds. The Tunnel log shows it."""
    site = lab.site(active_active=False)
    site.run(HOUR)
    for _ in range(lab.random.randint(4, 6)):
        _drop(lab, site, 13885, "")
        site.run(HOUR + lab.random.randint(-20, 20) * SECOND)
    site.run(AFTER)
    return lab.tell("periodic_drop", Truth(site.peer.address, "PeriodicDrop", down=False, surely=bool(lab.tunnel_log)))


def renewal_unanswered(lab: Lab) -> Story:
    """The peer does not answer a renewal of the child; twenty minutes to an hour later another one succeeds."""
    site = lab.site(active_active=False)
    site.run(HOUR)
    page = site.page(site.lives[0], site.now)
    page.write(
        page.log.wording.selectors("proposed", page.ts, site.azure.selectors, site.azure.remote_selectors), after=0
    )
    page.write(page.log.wording.cleanup("QM", 13805), after=30 * SECOND)
    site.run(lab.random.randint(20, 60) * MINUTE)
    Exchange(site.azure, site.peer, site.page(site.lives[0], site.now)).rekey(Side.AZURE)
    site.run(AFTER)
    return lab.tell("renewal_unanswered", Truth(site.peer.address, "RekeyFailed", down=False))


def renewals_collide(lab: Lab) -> Story:
    """Both ends' lifetimes run out together: four times in a day one of two simultaneous renewals is refused."""
    site = lab.site(active_active=False)
    site.run(HOUR)
    life, say = site.lives[0], lab.log.wording
    for _ in range(4):
        Exchange(site.azure, site.peer, site.page(life, site.now)).rekey(Side.AZURE)
        page = site.page(life, site.now + lab.random.randint(0, 40))
        if lab.random.random() < 0.5:
            page.write(say.notify(lab.random.choice(("TEMPORARY_FAILURE", "CHILD_SA_NOT_FOUND")), sent=True), after=0)
        else:
            page.write(say.closed(page.tunnel, 13821), after=0)
        site.run(lab.random.randint(3 * 60, 6 * 60) * MINUTE)
    return lab.tell("renewals_collide", Truth(site.peer.address, "RekeyCollision", down=False))


def prefix_taken_out(lab: Lab) -> Story:
    """Both ends use policy-based selectors. Somebody takes one of Azure's prefixes out of the peer's, which renews the
    tunnel with what is left; hours later it is put in again. Nothing is refused."""
    both = (Selector("10.1.0.0", "10.1.255.255"), Selector("10.3.0.0", "10.3.255.255"))
    site_prefix = (Selector("10.9.0.0", "10.9.0.255"),)
    policy = lab.policy()
    azure = Azure(policy, initiates=True, selectors=both, remote_selectors=site_prefix, narrow=True)
    peer = Peer(
        lab.address(),
        matching_policy(lab.random, policy),
        initiates=False,
        selectors=site_prefix,
        remote_selectors=both,
        narrow=True,
    )
    site = lab.site(azure=azure, peer=peer, active_active=False)
    site.run(2 * HOUR)
    for held in (both[:1], both):
        site.set(peer={"remote_selectors": held})
        site.drop(13885)
        for life in site.lives:
            life.next_try = dict.fromkeys(Side, site.now + lab.random.randint(5, 20) * SECOND)
        site.run(AFTER)
    return lab.tell("prefix_taken_out", Truth(site.peer.address, "SelectorsNarrowed", down=False))


ADVISED: tuple[Scenario, ...] = (flapping, periodic_drop, renewal_unanswered, renewals_collide, prefix_taken_out)
