"""seed -> stories with one thing wrong: each says in its first lines what, and its truth says what the verdict must be."""

from __future__ import annotations

from ikestream.events import Proposal, Selector
from ikestream.lab.bench import Lab
from ikestream.lab.ends import Azure, Peer, Side
from ikestream.lab.exchange import Exchange
from ikestream.lab.healthy import Scenario
from ikestream.lab.policy import Difference, Policy, default_policy, matching_policy, miss, one_of_each
from ikestream.lab.site import DETECTION, UP_FIRST, Site
from ikestream.lab.story import Story, Truth
from ikestream.offers import Phase
from ikestream.times import HOUR, MINUTE, SECOND

ENOUGH = 6 * MINUTE
"""How long a fault goes on: several attempts of each side on each leg."""


def _changed(site: Site) -> None:
    # A peer that is given new settings ends the tunnel itself and tries again with them.
    site.drop(13885)


def wrong_key_azure_initiates(lab: Lab) -> Story:
    """A new connection; the keys differ. Only Azure initiates, and the peer refuses its authentication."""
    site = lab.site()
    site.set(peer={"key": "two", "initiates": False})
    site.run(ENOUGH)
    return lab.tell("wrong_key_azure_initiates", Truth(site.peer.address, "PreSharedKeyMismatch"))


def wrong_key_peer_initiates(lab: Lab) -> Story:
    """The tunnel worked; then the peer was given another key. Azure does not initiate, it refuses the peer."""
    site = lab.site()
    site.set(azure={"initiates": False})
    site.run(UP_FIRST)
    site.set(peer={"key": "two"})
    _changed(site)
    site.run(ENOUGH)
    return lab.tell("wrong_key_peer_initiates", Truth(site.peer.address, "PreSharedKeyMismatch"))


def wrong_key_both_try(lab: Lab) -> Story:
    """Keys differ and both ends try: each refuses the other."""
    site = lab.site()
    site.set(peer={"key": "two"})
    site.run(ENOUGH)
    return lab.tell("wrong_key_both_try", Truth(site.peer.address, "PreSharedKeyMismatch"))


def wrong_key_mended(lab: Lab) -> Story:
    """Keys differ for ten minutes, then somebody enters the right one and the tunnel comes up for good."""
    site = lab.site()
    site.set(peer={"key": "two"})
    site.run(ENOUGH)
    site.set(peer={"key": "one"})
    site.run(30 * MINUTE)
    return lab.tell("wrong_key_mended", Truth(site.peer.address, "PreSharedKeyMismatch", down=False))


def differ_in_phase_one(lab: Lab, *, azure_tries: bool, peer_tries: bool) -> tuple[Site, Difference]:
    """Return a tunnel whose ends have no phase 1 proposal in common, by the one parameter returned."""
    # Where Azure never initiates its offers are not in the log: only its documented default can be compared.
    policy = lab.policy(custom=None if azure_tries else False)
    offers, difference = miss(lab.random, policy.ike, Phase.IKE)
    esp = matching_policy(lab.random, policy).esp_offered
    peer = Peer(lab.address(), Policy(offers, esp, esp), initiates=peer_tries)
    return lab.site(azure=Azure(policy, initiates=azure_tries), peer=peer), difference


def phase_one_both_try(lab: Lab) -> Story:
    """No common phase 1 proposal, by one parameter; both ends try, so both offers are in the log."""
    site, difference = differ_in_phase_one(lab, azure_tries=True, peer_tries=True)
    site.run(ENOUGH)
    return lab.tell("phase_one_both_try", Truth(site.peer.address, "IkePolicyMismatch", difference=difference))


def phase_one_azure_initiates(lab: Lab) -> Story:
    """The same, but only Azure tries: the peer's offer never appears, so no parameter can be known."""
    site, _ = differ_in_phase_one(lab, azure_tries=True, peer_tries=False)
    site.run(ENOUGH)
    return lab.tell("phase_one_azure_initiates", Truth(site.peer.address, "IkePolicyMismatch"))


def phase_one_peer_initiates(lab: Lab) -> Story:
    """The tunnel worked; the peer's phase 1 was changed and it alone initiates. Azure runs its default policy."""
    site, difference = differ_in_phase_one(lab, azure_tries=False, peer_tries=True)
    broken = site.peer.policy
    site.set(peer={"policy": matching_policy(lab.random, site.azure.policy)})
    site.run(UP_FIRST)
    site.set(peer={"policy": broken})
    _changed(site)
    site.run(ENOUGH)
    return lab.tell("phase_one_peer_initiates", Truth(site.peer.address, "IkePolicyMismatch", difference=difference))


def policy_mended_then_wrong_key(lab: Lab) -> Story:
    """First the phase 1 policies do not match; after ten minutes they do, and then the key turns out to be wrong."""
    site, _ = differ_in_phase_one(lab, azure_tries=True, peer_tries=True)
    site.set(peer={"key": "two"})
    site.run(ENOUGH)
    site.set(peer={"policy": matching_policy(lab.random, site.azure.policy)})
    site.run(ENOUGH)
    return lab.tell("policy_mended_then_wrong_key", Truth(site.peer.address, "PreSharedKeyMismatch"))


def key_then_policy(lab: Lab) -> Story:
    """The other way round: keys differ and both ends try; then the peer's phase 1 is changed too and it stops trying.
    Its last refused key is still the newest of its attempts, and says nothing about the tunnel as it is now."""
    site, _ = differ_in_phase_one(lab, azure_tries=True, peer_tries=True)
    broken = site.peer.policy
    site.set(peer={"policy": matching_policy(lab.random, site.azure.policy), "key": "two"})
    site.run(ENOUGH)
    site.set(peer={"policy": broken, "initiates": False})
    site.run(ENOUGH)
    return lab.tell("key_then_policy", Truth(site.peer.address, "IkePolicyMismatch"))


def phase_two(lab: Lab) -> Story:
    """Phase 1 and the key are right; no ESP proposal is common, in encryption or integrity."""
    policy = lab.policy(custom=False)
    esp, difference = miss(lab.random, policy.esp_accepted, Phase.IPSEC, ("encryption", "integrity"))
    ike = matching_policy(lab.random, policy).ike
    site = lab.site(azure=Azure(policy), peer=Peer(lab.address(), Policy(ike, esp, esp)))
    site.run(ENOUGH)
    return lab.tell("phase_two", Truth(site.peer.address, "IpsecPolicyMismatch", difference=difference))


def refused_after_final(lab: Lab) -> Story:
    """As Network Watcher's sample shows: Azure writes the selectors as final, and at once the quick mode is cleaned up
    with a policy error. Nothing was agreed, although the line says so."""
    site = lab.site(active_active=False)
    site.set(azure={"initiates": False}, peer={"initiates": False})
    bare = lab.random.random() < 0.5
    for _ in range(8):
        page = site.page(site.lives[0], site.now)
        Exchange(site.azure, site.peer, page).run(Side.PEER)
        page.bare = bare
        page.write(lab.log.wording.cleanup("QM", 13868), after=lab.random.choice((0, 40, 1_500)))
        site.run(lab.random.randint(20, 60) * SECOND)
    return lab.tell("refused_after_final", Truth(site.peer.address, "IpsecPolicyMismatch"))


def pfs_at_rekey(lab: Lab) -> Story:
    """The tunnel comes up, because IKE_AUTH carries no PFS. At the first rekey the peer insists on PFS and Azure offers
    none: refused until the IKE SA is given up; a new one heals it until the next rekey."""
    policy = default_policy(lab.log.gateway_id)
    wanted = Proposal("AES256", "SHA256", "ECP384")
    peer = Peer(lab.address(), one_of_each(lab.random.choice(policy.ike), wanted))
    site = lab.site(azure=Azure(policy, child_lifetime=3_600), peer=peer, active_active=False)
    site.run(4 * HOUR)
    truth = Truth(
        site.peer.address, "PfsMismatch", frozenset({"RekeyFailed", "PeerDisconnected"}), down=False, surely=False
    )
    return lab.tell("pfs_at_rekey", truth)


def selectors_apart(lab: Lab) -> Story:
    """Azure proposes its prefixes; a policy-based peer holds others and finds nothing in common."""
    azure = Azure(
        lab.policy(),
        selectors=(Selector("10.1.0.0", "10.1.255.255"),),
        remote_selectors=(Selector("10.9.0.0", "10.9.0.255"),),
        narrow=True,
    )
    peer = Peer(
        lab.address(),
        matching_policy(lab.random, azure.policy),
        selectors=(Selector("10.9.0.0", "10.9.0.255"),),
        remote_selectors=(Selector("10.2.0.0", "10.2.255.255"),),
        narrow=True,
    )
    site = lab.site(azure=azure, peer=peer)
    site.run(ENOUGH)
    return lab.tell("selectors_apart", Truth(site.peer.address, "TrafficSelectorMismatch"))


def peer_silent(lab: Lab) -> Story:
    """The device is off, or its address is wrong: Azure knocks every half minute and nobody answers."""
    site = lab.site()
    site.set(peer={"answers": False, "heard": False})
    site.run(ENOUGH)
    return lab.tell("peer_silent", Truth(site.peer.address, "PeerNotResponding"))


def peer_vanishes(lab: Lab) -> Story:
    """The tunnel worked; the peer's line is cut. Dead peer detection ends the SA, then nobody answers."""
    site = lab.site()
    site.run(UP_FIRST)
    site.set(peer={"answers": False, "heard": False})
    site.run(DETECTION)
    site.drop(
        13886,
        reason=lab.random.choice(
            ("DPD timed out", "Main mode SA assumed to be invalid because peer stopped responding")
        ),
    )
    site.run(ENOUGH)
    return lab.tell("peer_vanishes", Truth(site.peer.address, "PeerStoppedResponding"))


def peer_deletes(lab: Lab) -> Story:
    """Somebody shuts the connection down at the peer; it says so politely and does not come back. Azure does not initiate."""
    site = lab.site()
    site.set(azure={"initiates": False})
    site.run(UP_FIRST)
    site.set(peer={"initiates": False})
    site.drop(13885, reason="RemotelyTriggered")
    site.run(ENOUGH)
    return lab.tell("peer_deletes", Truth(site.peer.address, "PeerDisconnected", surely=False))


def nat_traversal_blocked(lab: Lab) -> Story:
    """A firewall lets UDP 500 through and drops UDP 4500: SA_INIT is answered, IKE_AUTH never."""
    azure = Azure(lab.policy())
    peer = Peer(lab.address(), matching_policy(lab.random, azure.policy), nat=True, passes_4500=False, initiates=False)
    site = lab.site(azure=azure, peer=peer)
    site.run(ENOUGH)
    return lab.tell(
        "nat_traversal_blocked", Truth(site.peer.address, "NatTraversalBlocked", frozenset({"NegotiationStalled"}))
    )


def maintenance(lab: Lab) -> Story:
    """Maintenance of the host takes the tunnel down and it is back only after ten minutes."""
    site = lab.site(active_active=False)
    site.run(UP_FIRST)
    lab.log.operation(
        site.now - 20 * SECOND, "HostMaintenanceEvent", site.legs[0].instance, "HostMaintenance. State: Starting"
    )
    site.take_over(10 * MINUTE, reason="StandbyChanged")
    site.run(HOUR)
    truth = Truth(
        site.peer.address, "GatewayMaintenance", frozenset({"GatewayFailover"}), down=False, surely=bool(lab.tunnel_log)
    )
    return lab.tell("maintenance", truth)


def configuration_changed(lab: Lab) -> Story:
    """A change of the connection in Azure ends the SAs, and for six minutes nothing comes back by itself."""
    site = lab.site()
    site.run(UP_FIRST)
    lab.log.operation(site.now - 5 * SECOND, "SetConnectionConfiguration")
    site.drop(13849, reason="Pre-shared Key Changed" if lab.random.random() < 0.3 else "")
    for life in site.lives:
        life.next_try = dict.fromkeys(Side, site.now + 6 * MINUTE)
    site.run(HOUR)
    truth = Truth(site.peer.address, "ConfigurationChanged", frozenset({"PeerDisconnected"}), down=False, surely=False)
    return lab.tell("configuration_changed", truth)


def bgp_down(lab: Lab) -> Story:
    """The tunnel stays up, its BGP session falls and stays down."""
    site = lab.site(active_active=False)
    site.run(UP_FIRST)
    lab.log.operation(site.now, "BgpDisconnectedEvent", site.legs[0].instance, "BGP peer 10.99.0.1 disconnected")
    site.run(HOUR)
    return lab.tell("bgp_down", Truth(site.peer.address, "BgpPeerDown", surely=False))


def lines_get_lost(lab: Lab) -> Story:
    """Keys differ, and one line in six never reaches the log."""
    lab.log.lost = 0.17
    site = lab.site()
    site.set(peer={"key": "two"})
    site.run(ENOUGH)
    return lab.tell("lines_get_lost", Truth(site.peer.address, "PreSharedKeyMismatch"))


def lines_without_addresses(lab: Lab) -> Story:
    """Keys differ; of every refusal only SESSION_ID stands before the line, the addresses are on the others."""
    lab.log.short = True
    site = lab.site()
    site.set(peer={"key": "two"})
    site.run(ENOUGH)
    return lab.tell("lines_without_addresses", Truth(site.peer.address, "PreSharedKeyMismatch"))


def ikev1_words(lab: Lab) -> Story:
    """IKEv1 on a connection that worked: after a change the peer's phase 1 is refused in the words of main mode."""
    site = lab.site(active_active=False)
    site.run(UP_FIRST)
    site.set(azure={"initiates": False}, peer={"initiates": False})
    _changed(site)
    bare = lab.random.random() < 0.5
    for _ in range(8):
        page = site.page(site.lives[0], site.now)
        page.write(lab.log.wording.ike_received((Proposal("CAMELLIA256", "MD5", "DhGroup5"),)), after=0)
        page.bare = bare
        page.write(lab.log.wording.cleanup("MM", 13868))
        site.run(lab.random.randint(20, 60) * SECOND)
    return lab.tell("ikev1_words", Truth(site.peer.address, "IkePolicyMismatch"))


def one_address_refused(lab: Lab) -> Story:
    """Active-active; the peer has no connection for the second Azure address and refuses it. The first leg works: no outage."""
    site = lab.site(active_active=True)
    site.set(peer={"initiates": False})
    refused = site.lives[1]
    refused.next_try = dict.fromkeys(Side, 1 << 60)
    good = site.peer.policy
    strange = one_of_each(Proposal("CAST128", "SHA512", "DhGroup18"), good.esp_offered[0])
    for _ in range(10):
        page = site.page(refused, site.now)
        site.run(lab.random.randint(40, 90) * SECOND)
        Exchange(site.azure, Peer(site.peer.address, strange), page).run(Side.AZURE)
    return lab.tell("one_address_refused", Truth(site.peer.address, surely=False))


FAULTS: tuple[Scenario, ...] = (
    wrong_key_azure_initiates,
    wrong_key_peer_initiates,
    wrong_key_both_try,
    wrong_key_mended,
    phase_one_both_try,
    phase_one_azure_initiates,
    phase_one_peer_initiates,
    policy_mended_then_wrong_key,
    key_then_policy,
    phase_two,
    refused_after_final,
    pfs_at_rekey,
    selectors_apart,
    peer_silent,
    peer_vanishes,
    peer_deletes,
    nat_traversal_blocked,
    maintenance,
    configuration_changed,
    bgp_down,
    lines_get_lost,
    lines_without_addresses,
    ikev1_words,
    one_address_refused,
)
