"""The event hub, asked how far it is written: what the tick needs to know before it concludes anything from silence."""

from __future__ import annotations

from ikestream.settings import Settings


async def heads(settings: Settings) -> dict[str, int]:
    """Return partition id -> sequence number of its last event, -1 for an empty one.

    Raises `azure.eventhub.exceptions.EventHubError` if the hub cannot be asked; the caller then concludes nothing.
    """
    # Imported here: the trigger, which starts cold most often, does not need it.
    from azure.eventhub.aio import EventHubConsumerClient

    group = settings.consumer_group or "$Default"
    if settings.connection_string:
        client = EventHubConsumerClient.from_connection_string(
            settings.connection_string, group, eventhub_name=settings.hub_name
        )
        return await _ask(client)
    from azure.identity.aio import ManagedIdentityCredential

    async with ManagedIdentityCredential(client_id=settings.client_id or None) as credential:
        return await _ask(EventHubConsumerClient(settings.namespace, settings.hub_name, group, credential))


async def _ask(client) -> dict[str, int]:  # type: ignore[no-untyped-def]  # the client's type is not imported at start
    found: dict[str, int] = {}
    async with client:
        for partition in await client.get_partition_ids():
            properties = await client.get_partition_properties(partition)
            found[partition] = -1 if properties["is_empty"] else properties["last_enqueued_sequence_number"]
    return found
