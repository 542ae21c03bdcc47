"""Blobs: streamed in and out, stored once, there when whole, freed when nobody names them."""

from __future__ import annotations

import asyncio
import io
import os
from collections.abc import AsyncIterator
from hashlib import sha256
from pathlib import Path

import pytest
from limpet import ConflictError, CorruptDataError, InvalidValueError, NotFoundError, Persistence
from limpet.driver import Delete, Driver, Range
from limpet.driver.kit import scan_all
from limpet.structures import OutOfLine, collect_chunks

MIB = 1024 * 1024
PICTURE = os.urandom(2 * MIB + 12345)


def raw(persistence: Persistence) -> Driver:
    assert isinstance(persistence.driver, OutOfLine)
    return persistence.driver.inner


async def chunks(persistence: Persistence) -> int:
    """How many chunks there are, shared or not."""
    return sum([item.key.endswith("!bytes") async for item in scan_all(raw(persistence), "chunk", values=False)])


async def test_a_file_goes_in_and_comes_out(persistence: Persistence, tmp_path: Path) -> None:
    path = tmp_path / "map.png"
    path.write_bytes(PICTURE)
    with path.open("rb") as file:
        blob = await persistence.blobs.create(
            file, content_type="image/png", name="map.png", metadata={"of": "Trieste"}
        )
    assert (blob.size, blob.sha256) == (len(PICTURE), sha256(PICTURE).hexdigest())
    assert (blob.content_type, blob.name, blob.metadata) == ("image/png", "map.png", {"of": "Trieste"})
    assert await persistence.blobs.get(blob.id) == blob
    assert await persistence.blobs.exists(blob.id)
    assert await persistence.blobs.read_bytes(blob.id) == PICTURE
    pieces = [piece async for piece in persistence.blobs.read(blob.id)]
    assert b"".join(pieces) == PICTURE
    assert max(map(len, pieces)) <= MIB


async def test_ranges(persistence: Persistence) -> None:
    blob = await persistence.blobs.create(PICTURE)
    for start, end in (
        (0, 10),
        (MIB - 5, MIB + 5),
        (len(PICTURE) - 3, None),
        (700_000, 1_900_000),
        (5, 5),
        (9 * MIB, None),
    ):
        assert await persistence.blobs.read_bytes(blob.id, start=start, end=end) == PICTURE[start:end]
    with pytest.raises(InvalidValueError, match="not a range"):
        await persistence.blobs.read_bytes(blob.id, start=5, end=4)


async def test_the_same_content_is_stored_once_however_it_came(persistence: Persistence) -> None:
    async def pieces() -> AsyncIterator[bytes]:
        for at in range(0, len(PICTURE), 70_001):
            yield PICTURE[at : at + 70_001]

    first = await persistence.blobs.create(PICTURE)
    stored = await chunks(persistence)
    second = await persistence.blobs.create(pieces())
    third = await persistence.blobs.create(io.BytesIO(PICTURE))
    assert await chunks(persistence) == stored
    assert len({first.id, second.id, third.id}) == 3
    assert await persistence.blobs.delete(first.id)
    assert await persistence.blobs.delete(second.id)
    assert await chunks(persistence) == stored
    assert await persistence.blobs.read_bytes(third.id) == PICTURE
    assert await persistence.blobs.delete(third.id)
    assert not await persistence.blobs.delete(third.id)
    assert await chunks(persistence) == 0
    assert not (await raw(persistence).scan(Range("chunk.parts"))).items
    assert not (await raw(persistence).scan(Range("chunk.owners"))).items


async def test_many_put_and_delete_the_same_at_once(persistence: Persistence) -> None:
    content = PICTURE[:MIB]

    async def come_and_go(n: int) -> None:
        for _ in range(3):
            blob = await persistence.blobs.create(content)
            assert await persistence.blobs.read_bytes(blob.id, start=MIB - 10) == content[-10:]
            await persistence.blobs.delete(blob.id)

    kept = await persistence.blobs.create(content)
    await asyncio.gather(*(come_and_go(n) for n in range(6)))
    assert await persistence.blobs.read_bytes(kept.id) == content
    await persistence.blobs.delete(kept.id)
    assert await chunks(persistence) == 0


async def test_small_and_empty_ones(persistence: Persistence) -> None:
    for content in (b"", b"x", b"\0" * 1000):
        blob = await persistence.blobs.create(content)
        assert await persistence.blobs.read_bytes(blob.id) == content
        assert blob.size == len(content)


async def test_lists_newest_first_and_what_is_not_there(persistence: Persistence) -> None:
    for n in range(4):
        await persistence.blobs.create(b"x", id=f"b{n}")
        await asyncio.sleep(0.002)
    page = await persistence.blobs.list(limit=3)
    assert [blob.id for blob in page] == ["b3", "b2", "b1"]
    assert [blob.id for blob in await persistence.blobs.list(cursor=page.cursor, limit=3)] == ["b0"]
    assert await persistence.blobs.get("b9") is None
    with pytest.raises(NotFoundError, match="b9"):
        await persistence.blobs.read_bytes("b9")


async def test_a_taken_id_changes_nothing(persistence: Persistence) -> None:
    await persistence.blobs.create(b"first", id="a")
    with pytest.raises(ConflictError, match="the blob 'a' already exists: choose another id"):
        await persistence.blobs.create(b"second", id="a")
    assert await persistence.blobs.read_bytes("a") == b"first"
    assert await chunks(persistence) == 1


@pytest.mark.parametrize(
    "source", ["text", io.StringIO("text"), ["text"], 12], ids=["str", "text file", "pieces", "int"]
)
async def test_what_is_no_bytes_is_refused(persistence: Persistence, source: object) -> None:
    with pytest.raises(InvalidValueError, match="bytes"):
        await persistence.blobs.create(source)  # type: ignore[arg-type]
    assert not await persistence.blobs.list()


async def test_what_died_half_way_is_freed_in_time_and_nothing_else_is(persistence: Persistence) -> None:
    async def dies() -> AsyncIterator[bytes]:
        for _ in range(6):
            yield os.urandom(MIB)
        raise ConnectionError("the sender died here")

    kept = await persistence.blobs.create(PICTURE)
    before = await chunks(persistence)
    with pytest.raises(ConnectionError):
        await persistence.blobs.create(dies(), id="half")
    assert await persistence.blobs.get("half") is None
    assert await chunks(persistence) > before
    assert await persistence.collect_garbage() == 0, "it may be somebody's who is still at it"
    assert await collect_chunks(raw(persistence), grace_ms=0) == 0, "first it is marked"
    await asyncio.sleep(0.005)
    assert await collect_chunks(raw(persistence), grace_ms=0) > 0
    assert await chunks(persistence) == before
    assert await persistence.blobs.read_bytes(kept.id) == PICTURE


async def test_content_that_ends_early_is_an_error_and_not_the_end(persistence: Persistence) -> None:
    blob = await persistence.blobs.create(PICTURE)
    *_, last = [item.key async for item in scan_all(raw(persistence), "chunk.parts", values=False)]
    await raw(persistence).apply([Delete(last)])
    with pytest.raises(CorruptDataError, match="ends after"):
        await persistence.blobs.read_bytes(blob.id)
    assert await persistence.blobs.read_bytes(blob.id, end=MIB) == PICTURE[:MIB], "what is there can be read"
