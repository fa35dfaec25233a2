"""seed -> stories that end while the fault is on, or has just been: what the drill plays where no other story does.

Each truth names what must be told, an outage or an advisory; `down` says which.
"""

from __future__ import annotations

from ikestream.events import Proposal
from ikestream.lab.bench import Lab
from ikestream.lab.ends import Azure, Peer, Side
from ikestream.lab.exchange import Exchange
from ikestream.lab.healthy import Scenario
from ikestream.lab.log import Page
from ikestream.lab.policy import default_policy, matching_policy, one_of_each
from ikestream.lab.site import UP_FIRST, Site
from ikestream.lab.story import Story, Truth
from ikestream.lab.strangers import scan
from ikestream.times import HOUR, MINUTE, SECOND

TRIES = 6
"""Attempts in a row: more than any rule wants."""


def _tries(lab: Lab, site: Site, side: Side) -> list[Page]:
    """Let `side` begin again and again on the first leg; what follows each first message is the caller's to write."""
    site.set(azure={"initiates": False}, peer={"initiates": False})
    pages: list[Page] = []
    for _ in range(TRIES):
        page = site.page(site.lives[0], site.now)
        say, spi = lab.log.wording, lab.log.spi()
        if side is Side.AZURE:
            page.write(say.init_sent(page.tunnel, spi), after=0)
            page.write(say.ike_sent(page.tunnel, site.azure.policy.ike, site.azure.method))
        else:
            page.write(say.init_received(spi), after=0)
            page.write(say.ike_received(site.peer.policy.ike))
        pages.append(page)
        site.run(lab.random.randint(40, 60) * SECOND)
    return pages


def _answered(lab: Lab, site: Site) -> list[Page]:
    """Let Azure begin, and the peer answer its first message and agree on phase 1."""
    pages = _tries(lab, site, Side.AZURE)
    for page in pages:
        say = lab.log.wording
        page.write(say.init_answered(lab.log.spi(), lab.log.spi()))
        page.write(say.ike_received(site.peer.policy.ike))
    return pages


def _renewal_unanswered(site: Site) -> None:
    page = site.page(site.lives[0], site.now)
    say = page.log.wording
    page.write(say.selectors("proposed", page.ts, site.azure.selectors, site.azure.remote_selectors), after=0)
    page.write(say.cleanup("QM", 13805), after=30 * SECOND)


# --- outages ------------------------------------------------------------------------------------------------------


def certificate_missing(lab: Lab) -> Story:
    """The ends authenticate with certificates; Azure finds no valid one, and says so at every attempt."""
    site = lab.site(azure=Azure(lab.policy(), method="Certificate"), active_active=False)
    for page in _answered(lab, site):
        page.write(lab.log.wording.auth_sent(page.tunnel, page.ts))
        page.write(lab.log.wording.closed(page.tunnel, 13806), after=200)
    return lab.tell("certificate_missing", Truth(site.peer.address, "CertificateAuthenticationFailed"))


def stops_after_auth(lab: Lab) -> Story:
    """The peer answers SA_INIT on UDP 500 and then falls silent: Azure's IKE_AUTH, on the same port, is never answered."""
    site = lab.site(active_active=False)
    for page in _answered(lab, site):
        page.write(lab.log.wording.auth_sent(page.tunnel, page.ts))
        page.write(lab.log.wording.closed(page.tunnel, 13805), after=24_000)
    return lab.tell("stops_after_auth", Truth(site.peer.address, "NegotiationStalled"))


def version_refused(lab: Lab) -> Story:
    """The peer speaks IKEv1 only and says so: it cannot handle the version of Azure's first message."""
    site = lab.site(active_active=False)
    for page in _tries(lab, site, Side.AZURE):
        page.write(lab.log.wording.closed(page.tunnel, 13880), after=30)
    return lab.tell("version_refused", Truth(site.peer.address, "IkeVersionMismatch"))


def called_against_its_mode(lab: Lab) -> Story:
    """The tunnel worked; the connection is set to InitiatorOnly, Azure's calls stop, and the peer's are refused."""
    site = lab.site(active_active=False)
    site.run(UP_FIRST)
    site.drop(13885)
    for page in _tries(lab, site, Side.PEER):
        page.write(lab.log.wording.closed(page.tunnel, 1225), after=30)
    return lab.tell("called_against_its_mode", Truth(site.peer.address, "ConnectionModeRefused"))


def unreadable_messages(lab: Lab) -> Story:
    """After the answer to SA_INIT Azure cannot read what the peer sends, attempt after attempt."""
    site = lab.site(active_active=False)
    for page in _answered(lab, site):
        page.write(lab.log.wording.closed(page.tunnel, 13843), after=50)
    return lab.tell("unreadable_messages", Truth(site.peer.address, "MalformedIke"))


def group_refused_at_renewal(lab: Lab) -> Story:
    """The peer insists on PFS and Azure offers none: refused at the first renewal, again and again, then the tunnel ends."""
    policy = default_policy(lab.log.gateway_id)
    peer = Peer(lab.address(), one_of_each(policy.ike[0], Proposal("AES256", "SHA256", "ECP384")))
    site = lab.site(azure=Azure(policy), peer=peer, active_active=False)
    site.run(HOUR)
    for _ in range(3):
        Exchange(site.azure, site.peer, site.page(site.lives[0], site.now)).rekey(Side.AZURE)
        site.run(lab.random.randint(20, 40) * SECOND)
    site.set(azure={"initiates": False}, peer={"initiates": False})
    site.drop(13885)
    return lab.tell("group_refused_at_renewal", Truth(site.peer.address, "PfsMismatch"))


def renewal_fails_and_it_ends(lab: Lab) -> Story:
    """Two renewals are not answered, then the old keys end and the tunnel with them; nobody calls."""
    site = lab.site(active_active=False)
    site.run(HOUR)
    for _ in range(2):
        _renewal_unanswered(site)
        site.run(lab.random.randint(6, 9) * MINUTE)
    site.set(azure={"initiates": False}, peer={"initiates": False})
    site.drop(13885)
    return lab.tell("renewal_fails_and_it_ends", Truth(site.peer.address, "RekeyFailed"))


def maintenance_goes_on(lab: Lab) -> Story:
    """Maintenance of the host takes the tunnel down, and it is not back when the log ends."""
    site = lab.site(active_active=False)
    site.run(UP_FIRST)
    instance = site.legs[0].instance
    lab.log.operation(site.now - 20 * SECOND, "HostMaintenanceEvent", instance, "HostMaintenance. State: Starting")
    site.take_over(HOUR, reason="StandbyChanged")
    return lab.tell("maintenance_goes_on", Truth(site.peer.address, "GatewayMaintenance", surely=bool(lab.tunnel_log)))


def failover_goes_on(lab: Lab) -> Story:
    """The gateway changes its primary instance, the tunnel goes down with the old one and is not up on the new one yet."""
    site = lab.site(active_active=False)
    site.run(UP_FIRST)
    lab.log.operation(site.now - 5 * SECOND, "GatewayTenantPrimaryChanged", site.legs[0].instance)
    site.take_over(HOUR)
    return lab.tell("failover_goes_on", Truth(site.peer.address, "GatewayFailover", surely=bool(lab.tunnel_log)))


def change_goes_on(lab: Lab) -> Story:
    """A change of the connection in Azure ends the tunnel, and nothing has come back when the log ends."""
    site = lab.site(active_active=False)
    site.run(UP_FIRST)
    lab.log.operation(site.now - 5 * SECOND, "SetConnectionConfiguration")
    site.drop(13849, reason="Pre-shared Key Changed")
    return lab.tell("change_goes_on", Truth(site.peer.address, "ConfigurationChanged"))


def ends_without_a_reason(lab: Lab) -> Story:
    """The tunnel is disconnected, no line says why, and nobody calls: the verdict says that it does not know."""
    site = lab.site(active_active=False)
    site.run(UP_FIRST)
    site.drop(0, closes=False)
    return lab.tell("ends_without_a_reason", Truth(site.peer.address, "Unclassified", surely=bool(lab.tunnel_log)))


# --- advisories ---------------------------------------------------------------------------------------------------


def renewals_unanswered(lab: Lab) -> Story:
    """Two renewals of the child within ten minutes are not answered, while the tunnel stays up."""
    site = lab.site(active_active=False)
    site.run(HOUR)
    for _ in range(2):
        _renewal_unanswered(site)
        site.run(4 * MINUTE)
    return lab.tell("renewals_unanswered", Truth(site.peer.address, "ChildSaFailing", down=False))


def one_leg_goes_down(lab: Lab) -> Story:
    """Active-active: both legs worked, one goes down and stays down; the other carries everything."""
    site = lab.site(active_active=True)
    site.run(UP_FIRST)
    gone = site.lives.pop()
    page = site.page(gone, site.now, gone.session)
    page.write(lab.log.wording.closed(page.tunnel, 13885), after=0)
    lab.log.tunnel(site.now, gone.leg.instance, site.peer.address, up=False)
    return lab.tell("one_leg_goes_down", Truth(site.peer.address, "RedundancyLost", down=False))


def old_group_agreed(lab: Lab) -> Story:
    """The tunnel comes up on Azure's default policy, with Diffie-Hellman group 2, as old devices do."""
    site = lab.site(azure=Azure(default_policy(lab.log.gateway_id)), active_active=False)
    site.set(peer={"policy": matching_policy(lab.random, site.azure.policy)})
    site.run(UP_FIRST)
    return lab.tell("old_group_agreed", Truth(site.peer.address, "WeakCryptography", down=False))


def strangers_call(lab: Lab) -> Story:
    """Addresses without a connection call the gateway for twenty minutes and get nowhere."""
    site = lab.site(active_active=False)
    end = site.now + 20 * MINUTE
    while site.now < end:
        lab.strangers.add(scan(lab.log, site.now, site.legs[0].instance, site.legs[0].local, lab.taken))
        site.run(lab.random.randint(2, 4) * MINUTE)
    return lab.tell("strangers_call", Truth("", "UnknownPeer", down=False))


def nothing_more_is_heard(lab: Lab) -> Story:
    """A tunnel comes up, and then the gateway writes nothing any more."""
    site = lab.site(active_active=False)
    site.run(UP_FIRST)
    return lab.tell("nothing_more_is_heard", Truth(site.peer.address, "FeedSilent", down=False))


REHEARSED: tuple[Scenario, ...] = (
    certificate_missing,
    stops_after_auth,
    version_refused,
    called_against_its_mode,
    unreadable_messages,
    group_refused_at_renewal,
    renewal_fails_and_it_ends,
    maintenance_goes_on,
    failover_goes_on,
    change_goes_on,
    ends_without_a_reason,
    renewals_unanswered,
    one_leg_goes_down,
    old_group_agreed,
    strangers_call,
    nothing_more_is_heard,
)
