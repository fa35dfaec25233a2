"""seed -> Story -> deliveries: a scripted gateway and peer, for the drill, the tests and the bench.

The exchange of two configured ends is simulated and the log follows from it: an injected fault is the truth. All is
deterministic from the seed, and every address is one reserved for documentation.
"""

from __future__ import annotations

from ikestream.lab.advisories import ADVISED
from ikestream.lab.bench import START, Lab
from ikestream.lab.delivery import PROMPT, Feed, post, wrap
from ikestream.lab.faults import FAULTS
from ikestream.lab.healthy import HEALTHY, Scenario
from ikestream.lab.policy import Difference
from ikestream.lab.rehearsals import REHEARSED
from ikestream.lab.story import Story, Truth
from ikestream.lab.vnet_to_vnet import BETWEEN_GATEWAYS

__all__ = [
    "ADVISED",
    "BETWEEN_GATEWAYS",
    "FAULTS",
    "HEALTHY",
    "PROMPT",
    "REHEARSED",
    "START",
    "Difference",
    "Feed",
    "Lab",
    "Scenario",
    "Story",
    "Truth",
    "post",
    "wrap",
]
