"""Advisories of drops and renewals against the lab, where the truth is injected: the one that was, no other, in any delivery."""

from __future__ import annotations

from pathlib import Path
from random import Random
from unittest.mock import patch

import pytest

from ikestream import fold, formats
from ikestream.incident import Row
from ikestream.lab import ADVISED, FAULTS, HEALTHY, REHEARSED, Feed, Lab, Scenario, Story, post
from ikestream.lab.healthy import rekey_collision
from ikestream.replay import Tally, replay
from tests.expectations import CASES
from tests.streams import RETRACTED, as_delivered, in_order, last, told

JUDGED = frozenset({"Flapping", "PeriodicDrop", "RekeyFailed", "RekeyCollision", "ChildSaFailing", "SelectorsNarrowed"})
SEEDS = range(4)


def named(scenarios: tuple[Scenario, ...]) -> list[object]:
    return [pytest.param(s, id=s.__name__) for s in scenarios]


def advisories(rows: list[Row]) -> list[Row]:
    """Return the last revision of each that stands."""
    return [row for row in last(rows).values() if row["Kind"] == "Advisory" and row["Cause"] in JUDGED]


def check(story: Story, rows: list[Row]) -> None:
    (truth,) = story.truths
    if not truth.surely and not advisories(rows):
        return
    assert [(row["Cause"], row["RemoteIP"]) for row in advisories(rows)] == [(truth.cause, truth.remote)]
    assert [row["Cause"] for row in last(rows).values() if row["Kind"] == "Outage"] == []
    (row,) = advisories(rows)
    assert (row["State"], row["Resolution"]) == ("Resolved", "Recovered")
    assert row["Severity"] in ("Warning", "Informational")
    assert row["Evidence"]
    assert row["Fix"]


@pytest.mark.parametrize("tunnel_log", [True, False], ids=["tunnel log", "IKE log only"])
@pytest.mark.parametrize("scenario", named(ADVISED))
def test_the_injected_thing_is_told_once_and_ends_as_mended(scenario: Scenario, tunnel_log: bool) -> None:
    for seed in SEEDS:
        story = scenario(Lab(seed, tunnel_log=tunnel_log))
        check(story, in_order(story.records))


@pytest.mark.parametrize("scenario", named(ADVISED))
def test_it_ends_the_same_however_it_is_delivered(scenario: Scenario) -> None:
    for seed in SEEDS[:2]:
        story = scenario(Lab(seed, tunnel_log=bool(seed % 2)))
        expected = told(in_order(story.records))
        random = Random(seed)
        feed = Feed(partitions=random.choice((1, 4)), most_records=random.choice((1, 30)))
        assert told(as_delivered(post(story.records, random, feed), random)) == expected, seed
        with patch.object(fold, "MIN_FOLDED", 1):
            assert told(as_delivered(post(story.records, random, feed), random)) == expected, ("folded", seed)


@pytest.mark.parametrize("scenario", named(HEALTHY))
def test_health_is_told_none_of_them(scenario: Scenario) -> None:
    for seed in SEEDS:
        for tunnel_log in (True, False):
            rows = in_order(scenario(Lab(seed, tunnel_log=tunnel_log)).records)
            assert [(r["Cause"], r["Explanation"]) for r in advisories(rows)] == [], (seed, tunnel_log)


def test_the_ordinary_overlap_of_two_renewals_is_neither_a_collision_nor_a_failure() -> None:
    for seed in range(12):
        assert advisories(in_order(rekey_collision(Lab(seed)).records)) == []


@pytest.mark.parametrize("scenario", named((*HEALTHY, *ADVISED, *FAULTS, *REHEARSED)))
def test_none_is_taken_back(scenario: Scenario) -> None:
    # Somebody has read it by then. A stranger that turns out to be a peer is another matter.
    for lab in (*map(Lab, range(3)), Lab(4, tunnel_log=True)):
        rows = in_order(scenario(lab).records)
        taken = [r for r in rows if r["Kind"] == "Advisory" and r["Resolution"] in RETRACTED]
        assert [(r["Cause"], r["Explanation"]) for r in taken if r["Cause"] != "UnknownPeer"] == [], lab.seed


LOGS = [
    pytest.param(log, id=f"{log.parent.name}-{log.stem}")
    for cause in ("Flapping", "PeriodicDrop", "RekeyCollision", "RekeyFailed")
    for log in sorted((CASES / cause).glob("*.log"))
]


@pytest.mark.parametrize("log", LOGS)
def test_what_was_told_is_neither_taken_back_nor_told_as_over_twice(log: Path) -> None:
    with formats.read([log]) as saved:
        rows = [row for row in replay(saved.timed(), Tally()) if row["Kind"] == "Advisory" and row["Cause"] in JUDGED]
    assert [row["Resolution"] for row in rows if row["Resolution"] in ("Withdrawn", "Merged")] == []
    for incident in {row["IncidentId"] for row in rows}:
        states = [row["State"] for row in rows if row["IncidentId"] == incident]
        assert "".join(state[0] for state in states).strip("R").count("R") == 0, states
