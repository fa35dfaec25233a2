"""Parcels -> store: what a batch does. Apart from `monitor`, because the trigger starts cold most often."""

from __future__ import annotations

from collections.abc import Sequence

from ikestream import codec
from ikestream.batch import Parcel
from ikestream.stores import Put, Store

INBOX = "inbox"


async def post(store: Store, parcels: Sequence[Parcel]) -> None:
    """Put a batch into the inbox; once this returns nothing of it can be lost. Raises `Unavailable`.

    They are written in order, so that whoever sees the last of a batch can tell whether all are there.
    """
    await store.write(INBOX, [Put(_row(p), codec.pack(p, Parcel)) for p in parcels])


def _row(p: Parcel) -> str:
    return f"{p.partition}|{p.first:020d}-{p.last:020d}|{p.number:06d}"
