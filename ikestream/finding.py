"""Finding: what a rule says. The words of the verdict's columns, as types."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from ikestream.events import IkeEvent, Proposal
from ikestream.inventory import Connection


class Cause(StrEnum):
    """Column `Cause` of an outage: what the newest concluded attempts, or the end of the last SA, show."""

    PRE_SHARED_KEY_MISMATCH = "PreSharedKeyMismatch"
    CERTIFICATE_AUTHENTICATION_FAILED = "CertificateAuthenticationFailed"
    IKE_POLICY_MISMATCH = "IkePolicyMismatch"
    IPSEC_POLICY_MISMATCH = "IpsecPolicyMismatch"
    PFS_MISMATCH = "PfsMismatch"
    TRAFFIC_SELECTOR_MISMATCH = "TrafficSelectorMismatch"
    PEER_NOT_RESPONDING = "PeerNotResponding"
    PEER_STOPPED_RESPONDING = "PeerStoppedResponding"
    NAT_TRAVERSAL_BLOCKED = "NatTraversalBlocked"
    NEGOTIATION_STALLED = "NegotiationStalled"
    IKE_VERSION_MISMATCH = "IkeVersionMismatch"
    CONNECTION_MODE_REFUSED = "ConnectionModeRefused"
    PEER_ADDRESS_MISMATCH = "PeerAddressMismatch"
    MALFORMED_IKE = "MalformedIke"
    PEER_DISCONNECTED = "PeerDisconnected"
    REKEY_FAILED = "RekeyFailed"
    GATEWAY_MAINTENANCE = "GatewayMaintenance"
    GATEWAY_FAILOVER = "GatewayFailover"
    CONFIGURATION_CHANGED = "ConfigurationChanged"
    BGP_PEER_DOWN = "BgpPeerDown"
    UNCLASSIFIED = "Unclassified"


class Advisory(StrEnum):
    """Column `Cause` of an advisory: what somebody should read by day, while the tunnel works."""

    REDUNDANCY_LOST = "RedundancyLost"
    FLAPPING = "Flapping"
    WEAK_CRYPTOGRAPHY = "WeakCryptography"
    CHILD_SA_FAILING = "ChildSaFailing"
    UNKNOWN_PEER = "UnknownPeer"
    REKEY_FAILED = "RekeyFailed"
    PERIODIC_DROP = "PeriodicDrop"
    REKEY_COLLISION = "RekeyCollision"
    SELECTORS_NARROWED = "SelectorsNarrowed"
    FEED_SILENT = "FeedSilent"
    CONNECTION_SILENT = "ConnectionSilent"
    CONFIGURATION_RISK = "ConfigurationRisk"


TITLES: dict[Cause | Advisory, str] = {
    Cause.PRE_SHARED_KEY_MISMATCH: "the pre-shared keys differ",
    Cause.CERTIFICATE_AUTHENTICATION_FAILED: "certificate authentication failed",
    Cause.IKE_POLICY_MISMATCH: "the phase 1 (IKE) policies do not match",
    Cause.IPSEC_POLICY_MISMATCH: "the phase 2 (IPsec) policies do not match",
    Cause.PFS_MISMATCH: "the PFS groups do not match",
    Cause.TRAFFIC_SELECTOR_MISMATCH: "the traffic selectors do not match",
    Cause.PEER_NOT_RESPONDING: "the peer does not answer",
    Cause.PEER_STOPPED_RESPONDING: "the peer stopped responding (DPD)",
    Cause.NAT_TRAVERSAL_BLOCKED: "nothing comes back on UDP 4500 (NAT traversal)",
    Cause.NEGOTIATION_STALLED: "the negotiation stops half-way",
    Cause.IKE_VERSION_MISMATCH: "the IKE versions differ",
    Cause.CONNECTION_MODE_REFUSED: "Azure refuses to be called (connection mode InitiatorOnly)",
    Cause.PEER_ADDRESS_MISMATCH: "the site calls from another address than the configured one",
    Cause.MALFORMED_IKE: "one side sends IKE messages the other cannot read",
    Cause.PEER_DISCONNECTED: "the peer ended the tunnel",
    Cause.REKEY_FAILED: "the keys could not be renewed",
    Cause.GATEWAY_MAINTENANCE: "Azure is doing maintenance on the gateway",
    Cause.GATEWAY_FAILOVER: "the gateway failed over to its other instance",
    Cause.CONFIGURATION_CHANGED: "the configuration was changed in Azure",
    Cause.BGP_PEER_DOWN: "the BGP session is down while the tunnel is up",
    Cause.UNCLASSIFIED: "the reason is not clear from the log",
    # RekeyFailed reads as above: it is a word for both.
    Advisory.REDUNDANCY_LOST: "one of its legs is down",
    Advisory.FLAPPING: "it goes down and up again and again",
    Advisory.WEAK_CRYPTOGRAPHY: "weak algorithms were chosen",
    Advisory.CHILD_SA_FAILING: "an IPsec security association is refused or not answered",
    Advisory.UNKNOWN_PEER: "addresses without a connection called the gateway",
    Advisory.PERIODIC_DROP: "it drops at equal intervals",
    Advisory.REKEY_COLLISION: "both ends renew their keys at the same moment",
    Advisory.SELECTORS_NARROWED: "it carries fewer prefixes than before",
    Advisory.FEED_SILENT: "the gateway has stopped writing logs",
    Advisory.CONNECTION_SILENT: "nothing was ever logged of a connection",
    Advisory.CONFIGURATION_RISK: "it works, and its configuration is a risk",
}
"""What a cause means, as the end of the sentence 'The tunnel to ... is down: ...'."""


class Confidence(StrEnum):
    """How sure the cause is. `HIGH`: the log proves it. `MEDIUM`: the usual reading. `LOW`: a lead."""

    HIGH = "High"
    MEDIUM = "Medium"
    LOW = "Low"


class Severity(StrEnum):
    """How loud it is told (facts 3.8). Critical: a tunnel is down past the hold. Error: up, and of no use. Warning:
    somebody should look by day. Informational: for the record."""

    CRITICAL = "Critical"
    ERROR = "Error"
    WARNING = "Warning"
    INFORMATIONAL = "Informational"


class ActionOn(StrEnum):
    """Whose turn it is."""

    AZURE = "Azure"
    PEER = "Peer"
    PATH = "Path"
    BOTH = "Both"
    UNKNOWN = "Unknown"


class FailedStep(StrEnum):
    """How far the newest failed negotiation came."""

    SA_INIT = "SaInit"
    AUTH = "Auth"
    CHILD_SA = "ChildSa"
    REKEY = "Rekey"
    ESTABLISHED = "Established"
    BGP = "Bgp"


class OffersSource(StrEnum):
    """Where Azure's offers come from."""

    LOGGED = "Logged"
    CONFIGURED = "Configured"
    ASSUMED_DEFAULT = "AssumedDefault"


class Parameter(StrEnum):
    """What can differ, in the words of `Mismatch.Parameter`."""

    IKE_ENCRYPTION = "IkeEncryption"
    IKE_INTEGRITY = "IkeIntegrity"
    DH_GROUP = "DhGroup"
    IPSEC_ENCRYPTION = "IpsecEncryption"
    IPSEC_INTEGRITY = "IpsecIntegrity"
    PFS_GROUP = "PfsGroup"
    LOCAL_SELECTORS = "LocalSelectors"
    REMOTE_SELECTORS = "RemoteSelectors"


@dataclass(frozen=True, slots=True)
class Mismatch:
    """One parameter that differs: what Azure accepts for it, what the peer offered."""

    parameter: Parameter
    azure: tuple[str, ...]
    peer: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Hypothesis:
    """Another explanation the same lines allow, and the one check that decides it."""

    cause: str
    confidence: Confidence
    check: str


class Risk(StrEnum):
    """What may cost somebody a night although the tunnel works: what `ConfigurationRisk` names, the gravest first."""

    OVERLAP = "two connections lead to the same prefixes"
    NEVER_OFFERED = "the peer does not offer the custom policy"
    ONE_ADDRESS = "the peer uses one of two addresses"
    IKEV1 = "IKEv1 where IKEv2 would do"
    DEFAULT_POLICY = "the default policy"


@dataclass(frozen=True, slots=True)
class Finding:
    """What a rule concludes about one episode. `explanation` is one or two plain sentences."""

    cause: Cause | Advisory
    confidence: Confidence
    explanation: str
    action_on: ActionOn
    failed_step: FailedStep | None = None
    mismatch: tuple[Mismatch, ...] = ()
    azure_offers: tuple[Proposal, ...] = ()
    peer_offers: tuple[Proposal, ...] = ()
    offers_source: OffersSource | None = None
    hypotheses: tuple[Hypothesis, ...] = ()
    missing_evidence: str = ""
    severity: Severity = Severity.CRITICAL
    code: int | None = None  # Windows code that the verdict names
    evidence: tuple[IkeEvent, ...] = ()  # the lines that prove it, in event order
    risks: tuple[Risk, ...] = ()
    beside: tuple[Connection, ...] = ()  # other connections that it is about
    title: str = ""  # the end of the sentence 'The tunnel to ... is down: ...', where `TITLES` would say too much


@dataclass(frozen=True, slots=True)
class Command:
    """One thing to type. `assumed` names every value in `command` that the log did not show; '' if none."""

    side: ActionOn
    tool: str  # az, PowerShell, FortiOS, PAN-OS, IOS-XE, ASA, Junos, strongSwan
    command: str
    effect: str
    undo: str
    assumed: str = ""


@dataclass(frozen=True, slots=True)
class Remedy:
    """The cure for one finding: prose for both ends, commands to paste, documents to read."""

    fix: str
    commands: tuple[Command, ...]
    doc_links: tuple[str, ...]
