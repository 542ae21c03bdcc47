"""The collection, on every driver."""

from __future__ import annotations

import asyncio

import pytest
from limpet import ConflictError, CorruptDataError, FormatError, InvalidValueError, NotFoundError
from limpet.driver import Driver, Put, Range
from limpet.structures import Collection, Index, Migrations, ModelCodec
from pydantic import BaseModel


class Doc(BaseModel):
    id: str
    colour: str | None = None
    count: int = 0
    born: int = 0


def keyed(driver: Driver, migrations: Migrations | None = None) -> Collection[Doc]:
    codec = ModelCodec(Doc, migrations) if migrations else ModelCodec(Doc)
    return Collection(
        driver, "docs", codec, id_of=lambda doc: doc.id, indexes=[Index("colour", lambda doc: doc.colour)]
    )


def dated(driver: Driver) -> Collection[Doc]:
    return Collection(
        driver,
        "docs",
        ModelCodec(Doc),
        id_of=lambda doc: doc.id,
        indexes=[Index("colour", lambda doc: doc.colour)],
        created_at=lambda doc: doc.born,
    )


async def test_keyed_order_and_index(driver: Driver) -> None:
    docs = keyed(driver)
    for n in (3, 1, 2):
        await docs.save(Doc(id=f"d{n}", colour="red" if n != 2 else None))
    everything = [doc.id for doc in await docs.all()]
    found = [doc.id for doc in await docs.find("colour", "red")]
    if not driver.capabilities.text_order:
        found.sort()
    assert (everything if driver.capabilities.text_order else sorted(everything)) == ["d1", "d2", "d3"]
    assert found == ["d1", "d3"]
    assert await docs.find("colour", "re") == []
    first = await docs.all(limit=2)
    assert [doc.id for doc in await docs.all(limit=2, cursor=first.cursor)] == everything[2:]
    assert await docs.delete("d1")
    assert not await docs.delete("d1")
    assert [doc.id for doc in await docs.find("colour", "red")] == ["d3"]


async def test_an_index_with_several_values(driver: Driver) -> None:
    docs = Collection(
        driver,
        "docs",
        ModelCodec(Doc),
        id_of=lambda doc: doc.id,
        indexes=[Index("word", lambda doc: (doc.colour or "").split())],
    )
    await docs.save(Doc(id="d1", colour="red green"))
    await docs.save(Doc(id="d2", colour="green green"))
    await docs.save(Doc(id="d3"))
    assert sorted(await docs.ids("word", "green")) == ["d1", "d2"]
    assert await docs.ids("word", "red green") == []
    await docs.save(Doc(id="d1", colour="green blue"))
    assert [await docs.ids("word", word) for word in ("red", "blue")] == [[], ["d1"]]
    assert await docs.delete("d2")
    assert await docs.ids("word", "green") == ["d1"]
    report = await docs.repair()
    assert (report.documents, report.added, report.removed) == (2, 0, 0)


async def test_conditions(driver: Driver) -> None:
    docs = keyed(driver)
    etag = await docs.save(Doc(id="d"), if_absent=True)
    with pytest.raises(ConflictError) as caught:
        await docs.save(Doc(id="d"), if_absent=True)
    assert caught.value.keys == ("docs!@d",)
    second = await docs.save(Doc(id="d", count=1), if_match=etag)
    with pytest.raises(ConflictError):
        await docs.save(Doc(id="d", count=2), if_match=etag)
    found = await docs.get_with_etag("d")
    assert found == (Doc(id="d", count=1), second)
    assert await docs.get_with_etag("no") is None


async def test_update_loses_nothing(driver: Driver) -> None:
    docs = keyed(driver)
    await docs.save(Doc(id="d", colour="red"))
    await asyncio.gather(
        *(docs.update("d", lambda doc: doc.model_copy(update={"count": doc.count + 1})) for _ in range(30))
    )
    doc = await docs.get("d")
    assert doc == Doc(id="d", colour="red", count=30)
    with pytest.raises(NotFoundError):
        await docs.update("no", lambda doc: doc)
    with pytest.raises(InvalidValueError, match="save it as a new document"):
        await docs.update("d", lambda doc: doc.model_copy(update={"id": "e"}))

    async def wrong(doc: Doc) -> Doc:
        return doc

    change = wrong(Doc(id="d"))
    with pytest.raises(InvalidValueError, match="synchronous function"):
        await docs.update("d", lambda doc: change)  # type: ignore[arg-type, return-value]
    await change


async def test_once_makes_a_retry_safe(driver: Driver) -> None:
    docs = keyed(driver)
    await docs.save(Doc(id="d"))

    def add(doc: Doc) -> Doc:
        return doc.model_copy(update={"count": doc.count + 1})

    for _ in range(3):
        assert (await docs.update("d", add, once="token")).count == 1
    assert (await docs.update("d", add, once="another")).count == 2


async def test_a_token_of_once_is_of_one_document_and_one_function(driver: Driver) -> None:
    docs = keyed(driver)
    for id in ("a", "b"):
        await docs.save(Doc(id=id))
        assert (await docs.update(id, lambda doc: doc.model_copy(update={"count": 7}), once="token")).count == 7
    with pytest.raises(ConflictError, match="another function"):
        await docs.update("a", lambda doc: doc.model_copy(update={"count": 8}), once="token")
    assert [doc.count for doc in await docs.all()] == [7, 7]


async def test_expiry_takes_the_entries_along(driver: Driver) -> None:
    docs = dated(driver)
    await docs.save(Doc(id="d", colour="red"), ttl_ms=150)
    assert len(await docs.find("colour", "red")) == 1
    await asyncio.sleep(0.2)
    assert await docs.get("d") is None
    assert await docs.find("colour", "red") == []
    await docs.save(Doc(id="e", colour="red"), ttl_ms=150)
    await docs.save(Doc(id="e", colour="red"))
    await asyncio.sleep(0.2)
    assert len(await docs.find("colour", "red")) == 1, "a plain save ends the expiry, of the entries too"
    assert len(await docs.all()) == 1


async def test_repair_mends_what_was_done_from_outside(driver: Driver) -> None:
    docs = dated(driver)
    for n in range(5):
        await docs.save(Doc(id=f"d{n}", colour="red", born=n))
    await driver.clear("docs.by!colour")
    await driver.apply([Put("docs.by!colour!@blue!0000000000000009!@d1", "d1"), Put("docs!@bad", "{")])
    assert await docs.find("colour", "red") == []
    assert await docs.find("colour", "blue") == [], "an entry that its document does not bear out is not shown"
    report = await docs.repair()
    assert (report.documents, report.added, report.removed, report.unreadable) == (6, 5, 1, ("docs!@bad",))
    assert [doc.id for doc in await docs.find("colour", "red")] == ["d4", "d3", "d2", "d1", "d0"]
    again = await docs.repair()
    assert (again.added, again.removed) == (0, 0)


async def test_what_cannot_be_read_is_a_typed_error_that_names_the_key(driver: Driver) -> None:
    docs = keyed(driver)
    broken: list[str | bytes] = ["{", "[]", '{"id": 5}', '{"id": "other"}', b"\x00\xff"]
    for n, value in enumerate(broken):
        await driver.apply([Put(f"docs!@d{n}", value)])
        with pytest.raises(CorruptDataError, match=f"docs!@d{n}"):
            await docs.get(f"d{n}")
    with pytest.raises(CorruptDataError):
        await docs.all()


async def test_migrations_run_forward_when_read_and_stay_when_written(driver: Driver) -> None:
    await keyed(driver).save(Doc(id="old", count=1))
    migrations = Migrations(version=3)

    @migrations.step(1)
    def _paint(document: dict[str, object]) -> dict[str, object]:
        return {**document, "colour": "v2"}

    @migrations.step(2)
    def _repaint(document: dict[str, object]) -> dict[str, object]:
        return {**document, "colour": f"{document['colour']}-v3"}

    docs = keyed(driver, migrations)
    found = await docs.get("old")
    assert found is not None
    assert found.colour == "v2-v3"
    await docs.save(found)
    (item,) = await driver.get(["docs!@old"])
    assert item is not None
    assert '"$v":3' in str(item.value)
    assert await docs.get("old") == found
    assert [doc.id for doc in await docs.find("colour", "v2-v3")] == ["old"]
    with pytest.raises(FormatError, match="upgrade"):
        await keyed(driver).get("old")
    await driver.apply([Put("docs!@older", '{"$v":1,"id":"older"}')])
    with pytest.raises(FormatError, match="no step"):
        await keyed(driver, Migrations(version=2)).get("older")


async def test_a_long_id_is_found_and_listed_whole(driver: Driver) -> None:
    docs = dated(driver)
    long = "é" * 400
    await docs.save(Doc(id=long, colour="c" * 900))
    assert [doc.id for doc in await docs.find("colour", "c" * 900)] == [long]
    assert [doc.id for doc in await docs.all()] == [long]
    assert await docs.exists(long)
    assert await docs.delete(long)
    assert (await driver.scan(Range(""))).items == []
