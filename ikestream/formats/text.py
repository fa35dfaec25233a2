"""Byte stream -> UTF-8 chunks: takes gzip, UTF-16 and byte order marks off a file of any size."""

from __future__ import annotations

import codecs
import zlib
from collections.abc import Callable, Iterator
from typing import BinaryIO

from ikestream.envelope import BadEnvelope

CHUNK = 256 * 1024

_FOREIGN = (
    (b"PK\x03\x04", "Is a ZIP archive or an Excel workbook; unpack it, or save the sheet as CSV, and try again."),
    (b"Obj\x01", "Is Avro, as Event Hubs Capture writes it; write the Body of each event on a line of its own."),
    (b"PAR1", "Is Parquet; write the Body of each event on a line of its own."),
    (b"BZh", "Is compressed with bzip2; unpack it and try again."),
    (b"\xfd7zXZ\x00", "Is compressed with xz; unpack it and try again."),
    (b"\x28\xb5\x2f\xfd", "Is compressed with zstd; unpack it and try again."),
)

_BOMS = ((codecs.BOM_UTF8, "utf-8"), (codecs.BOM_UTF16_LE, "utf-16-le"), (codecs.BOM_UTF16_BE, "utf-16-be"))

_CONTROL = bytes(byte for byte in range(32) if byte not in b"\t\n\r\f\x1b")


def chunks(stream: BinaryIO, seen: Callable[[int], None], note: Callable[[str], None]) -> Iterator[bytes]:
    """Yield the text of a file as UTF-8, without byte order mark, in pieces of bounded size.

    `seen` gets the number of bytes taken from the stream, `note` a sentence about gzip data that ends early or is
    damaged (what came before it is yielded). Raises BadEnvelope, with a sentence as reason, for what is no text at all.
    """
    return _utf8(_unpacked(_raw(stream, seen), note))


def _raw(stream: BinaryIO, seen: Callable[[int], None]) -> Iterator[bytes]:
    while piece := stream.read(CHUNK):
        seen(len(piece))
        yield piece


def _unpacked(pieces: Iterator[bytes], note: Callable[[str], None]) -> Iterator[bytes]:
    first = next(pieces, b"")
    for magic, reason in _FOREIGN:
        if first.startswith(magic):
            raise BadEnvelope(reason)
    if not first.startswith(b"\x1f\x8b"):
        if first:
            yield first
        yield from pieces
        return
    member = zlib.decompressobj(wbits=31)
    packed = first
    while True:
        while packed:
            try:
                plain = member.decompress(packed, 4 * CHUNK)
            except zlib.error:
                note("The gzip data is damaged; what comes before the damage was read.")
                return
            if plain:
                yield plain
            packed = member.unconsumed_tail
            if member.eof:  # gzip members may follow each other (RFC 1952 2.2); some writers pad with zeros
                packed = member.unused_data.lstrip(b"\x00")
                if packed and len(packed) < 2:
                    packed += next(pieces, b"")
                if packed:
                    if not packed.startswith(b"\x1f\x8b"):
                        note("Something that is no gzip follows the gzip data; it was left out.")
                        return
                    member = zlib.decompressobj(wbits=31)
        packed = next(pieces, b"")
        if not packed:
            break
        if member.eof:
            member = zlib.decompressobj(wbits=31)
    if not member.eof:
        if rest := member.flush():
            yield rest
        note("The gzip data ends early: the file was cut off; what is there was read.")


def _utf8(pieces: Iterator[bytes]) -> Iterator[bytes]:
    first = next(pieces, b"")
    encoding = "utf-8"
    for mark, name in _BOMS:
        if first.startswith(mark):
            first, encoding = first[len(mark) :], name
    if encoding == "utf-8":
        # A NUL or two, as a crash or a page of storage leaves them, cost the line they stand in and no more.
        if len(first.translate(None, _CONTROL)) < 0.95 * len(first):
            raise BadEnvelope("Is binary, not text: logs are JSON, CSV or plain lines, also packed with gzip.")
        if first:
            yield first
        yield from pieces
        return
    # PowerShell's `>` writes UTF-16.
    decoder = codecs.getincrementaldecoder(encoding)("replace")
    yield decoder.decode(first).encode()
    for piece in pieces:
        yield decoder.decode(piece).encode()
    yield decoder.decode(b"", final=True).encode()


def lines(pieces: Iterator[bytes], limit: int) -> Iterator[bytes]:
    """Yield lines without their ends. A line longer than `limit` bytes comes in parts: nothing may fill the memory."""
    rest = b""
    for piece in pieces:
        found = (rest + piece).split(b"\n")
        rest = found.pop()
        for line in found:
            yield line.removesuffix(b"\r")
        if len(rest) > limit:
            yield rest
            rest = b""
    if rest:
        yield rest.removesuffix(b"\r")
