"""The app under Microsoft's own worker library, in its own process, deployed and called as the host does it."""

from __future__ import annotations

import asyncio
import io
import json
import re
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import Any, TypeAlias

import orjson
import pytest
from azure.eventhub import EventData, EventHubConsumerClient, EventHubProducerClient

from ikestream import columns, envelope, settings
from ikestream.health import MOST_SHAPES
from ikestream.sinks import Posting, Why
from ikestream.sinks.console import Console
from tests.emulators.host import CHECKOUT, HubEvent, Worker, deploy, messages
from tests.emulators.https import SECRET, Authority
from tests.emulators.hub import KEY, LocalHub
from tests.emulators.identity import Identity
from tests.emulators.resource_manager import ResourceManager, site_to_site

GROUP = "/subscriptions/00000000-0000-0000-0000-000000000000/resourceGroups/RG-LAB"
SAMPLES = sorted((CHECKOUT / "ikestream" / "data" / "samples").glob("*.json"))

Start: TypeAlias = Callable[..., Worker]


@pytest.fixture(scope="module")
def deployed(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    folder = tmp_path_factory.mktemp("deployed")
    return deploy(folder / "app"), messages(folder / "protos")


@pytest.fixture
def start(deployed: tuple[Path, Path], tmp_path: Path) -> Iterator[Start]:
    with ExitStack() as running:

        def started(given: Mapping[str, str] = {}, level: str = "INFO") -> Worker:
            worker = running.enter_context(Worker(*deployed, tmp_path, given, level))
            status = worker.start()
            assert status.status == status.Success, status.exception.message
            return worker

        yield started


def bodies(ended: int) -> list[bytes]:
    """Return each sample as one body, moved as a whole so that its last record is of `ended`."""
    return [orjson.dumps({"records": moved(sample, ended)}) for sample in SAMPLES]


def moved(sample: Path, ended: int) -> list[dict[str, object]]:
    records = [record for line in sample.read_bytes().splitlines() for record in orjson.loads(line)["records"]]
    times = [read.at or 0 for record in records for read in envelope.decode(orjson.dumps(record)).records]
    return [record | {"time": stamp(at - max(times) + ended)} for record, at in zip(records, times, strict=True)]


def stamp(at: int) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(at // 1000)) + f".{at % 1000:03}0000Z"


def ago(seconds: int) -> int:
    return int(time.time() * 1000) - seconds * 1000


def events(*given: bytes, enqueued: int, first: int = 0) -> list[HubEvent]:
    return [HubEvent(body, first + place, enqueued) for place, body in enumerate(given)]


# --- indexed ------------------------------------------------------------------------------------------------------


def test_the_functions_are_indexed_without_any_setting(start: Start) -> None:
    worker = start()
    found = {name: json.loads(function.raw_bindings[0]) for name, function in worker.functions.items()}
    assert found == {
        "learn": {
            "type": "eventHubTrigger",
            "direction": "IN",
            "name": "events",
            "connection": "IkeStreamHub",
            "eventHubName": "%IKESTREAM_HUB_NAME%",
            "consumerGroup": "%IKESTREAM_CONSUMER_GROUP%",
            "cardinality": "MANY",
            "dataType": "BINARY",
        },
        "tell": {
            "type": "timerTrigger",
            "direction": "IN",
            "name": "timer",
            "schedule": "*/15 * * * * *",
            "useMonitor": False,
        },
        "health": {
            "type": "httpTrigger",
            "direction": "IN",
            "name": "request",
            "route": "health",
            "methods": ["GET"],
            "authLevel": "ANONYMOUS",
        },
    }
    assert {name: len(function.raw_bindings) for name, function in worker.functions.items()} == {
        "learn": 1,
        "tell": 1,
        "health": 2,  # and what it returns
    }


def test_a_function_reads_what_is_configured_if_there_is_something_to_read(start: Start) -> None:
    functions = start({"IKESTREAM_INVENTORY": GROUP}).functions
    assert functions.keys() == {"learn", "tell", "health", "inventory"}
    assert [json.loads(binding) for binding in functions["inventory"].raw_bindings] == [
        {"type": "timerTrigger", "direction": "IN", "name": "timer", "schedule": "30 * * * * *", "useMonitor": False}
    ]
    assert not functions["inventory"].HasField("retry_options")


def test_the_checkpoint_waits_for_a_batch_that_fails(start: Start) -> None:
    functions = start().functions
    policy = functions["learn"].retry_options
    assert policy.retry_strategy == policy.exponential_backoff
    assert policy.max_retry_count == -1  # for ever: giving up moves the checkpoint over records never learned
    assert (policy.minimum_interval.seconds, policy.maximum_interval.seconds) == (2, 300)
    assert not functions["tell"].HasField("retry_options")


@pytest.mark.parametrize(
    ("given", "named"),
    [
        ({"IkeStreamHub": "AccountKey=c2VjcmV0", "IKESTREAM_HUB_NAME": "vpn"}, "IKESTREAM_CONSUMER_GROUP"),
        ({"IkeStreamHub__fullyQualifiedNamespace": "https://contoso"}, "IkeStreamHub__fullyQualifiedNamespace"),
    ],
)
def test_a_wrong_setting_is_named_at_the_start(
    deployed: tuple[Path, Path], tmp_path: Path, given: dict[str, str], named: str
) -> None:
    with Worker(*deployed, tmp_path, given) as worker:
        status = worker.start()
        assert status.status == status.Failure
        assert named in status.exception.message
        assert "c2VjcmV0" not in status.exception.message + status.exception.stack_trace


def between(least: int, most: int) -> Callable[[object], bool]:
    return lambda value: isinstance(value, int) and least <= value <= most


LEVELS = ("Trace", "Debug", "Information", "Warning", "Error", "Critical", "None")
# What the documentation of host.json 2.0 and of the Event Hubs extension 5.x and 6.x lists, with what may stand there.
HOST_JSON: dict[str, Callable[[Any], bool]] = {
    "version": lambda value: value == "2.0",
    "logging.applicationInsights.samplingSettings.isEnabled": lambda value: isinstance(value, bool),
    "logging.applicationInsights.samplingSettings.excludedTypes": lambda value: (
        set(value.split(";")) <= {"Dependency", "Event", "Exception", "PageView", "Request", "Trace"}
    ),
    "logging.logLevel.default": lambda value: value in LEVELS,
    "logging.logLevel.Azure.Core": lambda value: value in LEVELS,
    "logging.logLevel.Azure.Messaging.EventHubs": lambda value: value in LEVELS,
    "extensionBundle.id": lambda value: value == "Microsoft.Azure.Functions.ExtensionBundle",
    "extensionBundle.version": lambda value: value == "[4.*, 5.0.0)",  # the bundles of Functions v4
    "extensions.eventHubs.maxEventBatchSize": between(1, 10_000),
    "extensions.eventHubs.minEventBatchSize": between(1, 1),  # more would wait for a batch to fill
    "extensions.eventHubs.prefetchCount": between(1, 2_000),
    "extensions.eventHubs.batchCheckpointFrequency": between(1, 1),  # more hinders scaling in
    # Of a hub without checkpoints everything is read: a first deployment learns what happened before it.
    "extensions.eventHubs.initialOffsetOptions.type": lambda value: value == "fromStart",
    "functionTimeout": lambda value: re.fullmatch(r"00:(0[1-9]|10):00", value) is not None,  # Consumption: 10 minutes
}


def leaves(value: object, path: str = "") -> Iterator[tuple[str, object]]:
    if isinstance(value, dict):
        for name, inner in value.items():
            yield from leaves(inner, f"{path}.{name}" if path else name)
    else:
        yield path, value


def test_host_json_is_one_that_functions_v4_takes() -> None:
    document = json.loads((CHECKOUT / "host.json").read_bytes())
    wrong = {name: value for name, value in leaves(document) if name not in HOST_JSON or not HOST_JSON[name](value)}
    assert wrong == {}
    hub = document["extensions"]["eventHubs"]
    assert hub["minEventBatchSize"] <= hub["maxEventBatchSize"] <= hub["prefetchCount"]


def test_what_a_binding_leaves_to_the_host_is_a_setting(start: Start) -> None:
    bindings = [json.loads(function.raw_bindings[0]) for function in start().functions.values()]
    referred = {name for binding in bindings for name in re.findall(r"%([^%]*)%", json.dumps(binding))}
    assert referred | {binding["connection"] for binding in bindings if "connection" in binding} <= set(settings.NAMES)


# --- learned and told ---------------------------------------------------------------------------------------------


def test_a_batch_is_learned_and_told_once_the_hold_is_over(start: Start) -> None:
    worker = start()
    assert succeeded(worker.learn(events(*bodies(ended=ago(120)), enqueued=ago(119))))
    assert worker.rows == []  # batches learn, the tick tells
    assert succeeded(worker.tell())
    rows = worker.rows
    assert {row["Cause"] for row in rows} == {"PreSharedKeyMismatch", "IkePolicyMismatch"}
    assert all((row["Kind"], row["State"], row["Revision"]) == ("Outage", "Open", 1) for row in rows)
    assert all(tuple(row) == columns.load().names for row in rows)
    assert worker.logged == []
    batch, tick = worker.health
    assert (batch["Kind"], batch["Events"], batch["Unread"]) == ("Batch", len(SAMPLES), 0)
    assert (tick["Kind"], tick["Told"], tick["Delivered"], tick["OpenIncidents"]) == ("Tick", 2, 2, 2)


def test_nothing_is_told_before_the_hold_is_over(start: Start) -> None:
    worker = start()
    assert succeeded(worker.learn(events(*bodies(ended=ago(5)), enqueued=ago(4))))
    assert succeeded(worker.tell())
    assert worker.rows == []


def test_redelivery_changes_nothing(start: Start) -> None:
    worker = start()
    batch = events(*bodies(ended=ago(120)), enqueued=ago(119))
    assert succeeded(worker.learn(batch))
    assert succeeded(worker.learn(batch))
    assert succeeded(worker.tell())
    once = worker.rows
    assert len(once) == 2
    assert succeeded(worker.learn(batch))
    assert succeeded(worker.learn(batch[:1]))
    assert succeeded(worker.tell())
    assert worker.rows == once


def test_a_body_that_cannot_be_decoded_is_a_dead_letter_and_blocks_nothing(start: Start) -> None:
    worker = start()
    key, policy = bodies(ended=ago(120))
    assert succeeded(
        worker.learn(events(key, b"\xffno json\n", policy, b"", enqueued=ago(119), first=7), partition="3")
    )
    dead = [line for line in worker.logged if "dead letter" in line]
    assert [line.split(" reason=")[0] for line in dead] == [
        "ERROR ikestream: dead letter partition=3 offset=800 sequence=8 bytes=9",
        "ERROR ikestream: dead letter partition=3 offset=1000 sequence=10 bytes=0",
    ]
    assert "not JSON" in dead[0]
    assert dead[1].endswith("reason=empty")
    assert succeeded(worker.tell())
    assert len(worker.rows) == 2


def test_what_the_worker_library_makes_of_metadata_is_understood(start: Start) -> None:
    worker = start()
    batch = events(b"[", enqueued=ago(1), first=5)
    for context, offset in (("PartitionContext", int), ("TriggerPartitionContext", str)):
        assert succeeded(worker.learn(batch, partition="2", context=context, offset=offset))
    assert len(worker.logged) == 2
    assert all("partition=2 offset=500 sequence=5" in line for line in worker.logged if "dead letter" in line)


def test_an_enqueued_time_is_utc(start: Start) -> None:
    # A record from the future counts as of its enqueued time: read as local time, that would be hours off.
    worker = start({"TZ": "Pacific/Auckland"})
    assert succeeded(worker.learn(events(*bodies(ended=ago(-86_400)), enqueued=ago(119))))
    assert succeeded(worker.tell())
    assert {row["FirstSeen"][:16] for row in worker.rows} <= {stamp(ago(119 + s))[:16] for s in (0, 30, 60)}
    assert worker.rows


def test_many_unread_lines_are_logged_by_shape_and_within_bounds(start: Start) -> None:
    worker = start()
    record = moved(SAMPLES[0], ago(1))[0]
    records = [
        record | {"properties": {"instance": "x", "message": f"Lorem {chr(97 + n) * 3} ipsum\nERROR forged"}}
        for n in range(26)
    ]
    assert succeeded(worker.learn(events(orjson.dumps({"records": records}), enqueued=ago(1))))
    (row,) = worker.health
    assert row["Unread"] == 26
    assert len(row["UnreadShapes"]) == MOST_SHAPES
    assert all(shape["Lines"] == 1 for shape in row["UnreadShapes"])
    assert worker.logged == []  # no line of the log is another's


def test_the_health_endpoint_says_what_is_known(start: Start) -> None:
    worker = start()
    status, body = worker.ask()
    assert (status, body["reasons"]) == (503, ["nothing has ticked yet"])
    assert succeeded(worker.learn(events(*bodies(ended=ago(120)), enqueued=ago(119))))
    assert succeeded(worker.tell())
    status, body = worker.ask()
    assert (status, body["status"], body["openIncidents"], body["undelivered"]) == (200, "healthy", 2, 0)


@pytest.fixture
def azure(tmp_path: Path) -> Iterator[tuple[ResourceManager, dict[str, str]]]:
    """Resource Manager with a connection of one of the samples' gateways, and the settings to read it with."""
    authority = Authority(tmp_path)
    resources = site_to_site(f"{GROUP}/providers/Microsoft.Network/virtualNetworkGateways/VNG-WEST", "168.62.186.148")
    with ResourceManager(authority, resources) as running, Identity() as identity:
        yield (
            running,
            {
                "IkeStreamHub__credential": "managedidentity",
                "IKESTREAM_INVENTORY": GROUP,
                "IKESTREAM_RESOURCE_MANAGER": running.origin,
                "SSL_CERT_FILE": str(authority.ca),
                **identity.settings,
            },
        )


def test_what_is_configured_is_read_and_told(azure: tuple[ResourceManager, dict[str, str]], start: Start) -> None:
    worker = start(azure[1])
    assert succeeded(worker.refresh())
    assert succeeded(worker.learn(events(*bodies(ended=ago(120)), enqueued=ago(119))))
    assert succeeded(worker.tell())
    named = {(row["RemoteIP"], row["ConnectionName"]) for row in worker.rows if row["Kind"] == "Outage"}
    assert ("168.62.186.148", "cn-VNG-WEST-168.62.186.148") in named
    assert worker.logged == []
    *_, tick = worker.health
    assert tick["InventoryAt"] is not None
    asked = len(azure[0].paths)
    assert succeeded(worker.refresh())  # a minute later, nothing has changed
    assert len(azure[0].paths) == asked


def test_what_may_not_be_read_is_one_warning_and_costs_the_names(
    azure: tuple[ResourceManager, dict[str, str]], start: Start
) -> None:
    azure[0].refuses = lambda _: 403
    worker = start(azure[1])
    for _ in range(3):
        assert succeeded(worker.refresh())
    assert succeeded(worker.learn(events(*bodies(ended=ago(120)), enqueued=ago(119))))
    for _ in range(3):
        assert succeeded(worker.tell())
    assert {row["ConnectionName"] for row in worker.rows} == {None}
    (warning,) = worker.logged
    assert warning.startswith("WARNING ikestream: inventory: RG-LAB cannot be read: virtualNetworkGateways of")
    assert "403 AuthorizationFailed; the app's identity needs the role Reader" in warning
    assert SECRET not in warning
    *_, tick = worker.health
    assert tick.get("InventoryAt") is None


class FullDisk(io.BytesIO):
    """Takes nothing until there is room."""

    room = False

    def flush(self) -> None:
        if not self.room:
            raise OSError(28, "No space left on device")


def test_what_could_not_be_written_is_written_at_the_next_tick() -> None:
    disk = FullDisk()
    sink = Console(disk)
    first, second = (Posting({"IncidentId": "a", "Revision": n, "Summary": "a\nb"}, Why.OPENED) for n in (1, 2))
    receipt = asyncio.run(sink.send([first]))
    assert (receipt.accepted, receipt.trouble) == (set(), "OSError: No space left on device")
    disk.room = True
    disk.truncate(0)
    disk.seek(0)
    assert asyncio.run(sink.send([first, second])).accepted == {("a", 1), ("a", 2)}
    assert [json.loads(line)["Revision"] for line in disk.getvalue().splitlines()] == [1, 2]


# --- with a hub ---------------------------------------------------------------------------------------------------


def connected(hub: LocalHub) -> dict[str, str]:
    return {
        "IkeStreamHub": hub.connection_string(),
        "IKESTREAM_HUB_NAME": "vpn",
        "IKESTREAM_CONSUMER_GROUP": "ikestream",
    }


def send(hub: LocalHub, sent: Mapping[str, Sequence[bytes]]) -> None:
    with EventHubProducerClient.from_connection_string(hub.connection_string("vpn")) as producer:
        for partition, given in sent.items():
            batch = producer.create_batch(partition_id=partition)
            for body in given:
                batch.add(EventData(body))
            producer.send_batch(batch)


def receive(hub: LocalHub, partition: str, count: int) -> list[HubEvent]:
    """Receive with the SDK, as the host does, and keep what it hands on."""
    found: list[HubEvent] = []
    client = EventHubConsumerClient.from_connection_string(hub.connection_string("vpn"), "ikestream")

    def keep(_: object, batch: list[EventData]) -> None:
        for event in batch:
            assert event.sequence_number is not None
            assert event.enqueued_time is not None
            enqueued = int(event.enqueued_time.timestamp() * 1000)
            found.append(HubEvent(b"".join(event.body), event.sequence_number, enqueued))  # type: ignore[arg-type]
        if len(found) >= count:
            client.close()

    with client:
        client.receive_batch(
            keep, partition_id=partition, starting_position="-1", max_batch_size=count, max_wait_time=10
        )
    return found


def test_from_the_hub_to_the_verdict(start: Start) -> None:
    with LocalHub({"vpn": 3}) as hub:
        key, policy = bodies(ended=ago(120))
        send(hub, {"0": [key], "2": [b"not json", policy]})
        worker = start(connected(hub))
        with ThreadPoolExecutor() as pool:
            first, second = pool.map(receive, (hub, hub), ("0", "2"), (1, 2))
        assert succeeded(worker.learn(first, partition="0"))
        # What is known now would be an outage, but what partition 2 holds could be its end.
        assert succeeded(worker.tell())
        assert worker.rows == []
        assert succeeded(worker.learn(second, partition="2"))
        assert succeeded(worker.tell())
        assert {row["Cause"] for row in worker.rows} == {"PreSharedKeyMismatch", "IkePolicyMismatch"}


def test_nothing_is_concluded_over_an_unread_backlog(start: Start) -> None:
    with LocalHub({"vpn": 1}) as hub:
        worker = start(connected(hub))
        first, *_ = backlog = bodies(ended=ago(120))
        for body in backlog:
            hub.put("vpn", "0", body)
        # Read as far as 119 s ago: too little behind the end of what is known.
        assert succeeded(worker.learn(events(first, enqueued=ago(119))))
        assert succeeded(worker.tell())
        assert worker.rows == []


def test_a_process_that_begins_in_the_middle_waits_and_says_so_once(start: Start) -> None:
    with LocalHub({"vpn": 2}) as hub:
        hub.put("vpn", "1", b"{}")  # read and checkpointed by a process that is gone
        worker = start(connected(hub))
        assert succeeded(worker.learn(events(*bodies(ended=ago(120)), enqueued=ago(119)), partition="0"))
        for _ in range(2):
            assert succeeded(worker.tell())
        assert worker.rows == []
        assert worker.logged == [waiting("1")]
        hub.put("vpn", "1", b"{}")
        assert succeeded(worker.learn(events(b"{}", enqueued=ago(0), first=1), partition="1"))
        for _ in range(2):  # a batch after a gap counts when it is seen for the second time
            assert succeeded(worker.tell())
        assert len(worker.rows) == 2
        assert worker.logged[-1] == "INFO ikestream: something has been read from every partition"


def test_a_hub_that_cannot_be_asked_is_one_line_and_no_conclusion(start: Start) -> None:
    with LocalHub({"vpn": 1}) as hub:
        worker = start(connected(hub), level="DEBUG")
        assert succeeded(worker.learn(events(*bodies(ended=ago(120)), enqueued=ago(119))))
        hub.broker.refusals[""] = (
            401,
            "Unauthorized access. 'Listen' claim(s) are required to perform this operation.",
        )
        assert succeeded(worker.tell())
        said = [line for line in worker.logged if line.startswith(("WARNING", "ERROR"))]
        assert len(said) == 1
        assert "the event hub cannot be asked how far it is written: AuthenticationError" in said[0]
        hub.broker.refusals.clear()
        assert succeeded(worker.tell())  # and is asked again
        assert len(worker.rows) == 2
        assert not [line for line in worker.logged if KEY in line or "SharedAccessSignature" in line]


def waiting(partitions: str) -> str:
    return f"WARNING ikestream: nothing concluded until something is read from partitions {partitions}"


def succeeded(status: object) -> bool:
    assert status.status == status.Success, f"{status.exception.message}\n{status.exception.stack_trace}"  # type: ignore[attr-defined]
    return True
