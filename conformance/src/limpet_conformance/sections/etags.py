"""Clause 2, etags: made by the writer, compared as bytes, unique for ever."""

from __future__ import annotations

import pytest
from limpet import InvalidValueError
from limpet.driver import Check, Delete, Driver, Etag, If, Put, key, name, new_etag, number

from .._suite import Pair, Section
from ..machinery.outcomes import carried, refused
from ..machinery.reading import one, walk

__all__ = ["Etags"]

A, B = (key(name("etags"), name(letter)) for letter in "ab")


class Etags(Section):
    """An item's version."""

    async def test_the_stored_etag_is_the_writers(self, driver: Driver) -> None:
        puts = [Put(key(name("etags"), number(at)), str(at)) for at in range(20)]
        for put in puts:
            await driver.apply([put])
        wanted = {put.key: put.etag for put in puts}
        got = await driver.get(list(wanted))
        assert {item.key: item.etag for item in got if item} == wanted, "get() gives other etags than were put"
        assert {item.key: item.etag for item in await walk(driver)} == wanted, "scan() gives other etags than were put"
        bare = await walk(driver, values=False)
        assert {item.key: item.etag for item in bare} == wanted, "scan(values=False) gives other etags than were put"
        conflict = await refused(driver, [Put(puts[0].key, "x", If.ABSENT)])
        item = carried(conflict, puts[0].key)
        assert item.etag == puts[0].etag, "the conflict's item has another etag than was put"

    async def test_every_put_changes_it(self, driver: Driver) -> None:
        seen: set[Etag] = set()
        for value in ("same", "same", "other", "same"):
            put = Put(A, value)
            await driver.apply([put])
            item = await one(driver, A)
            assert item is not None
            assert item.etag == put.etag, "a put left the etag of the put before"
            assert item.etag not in seen
            seen.add(item.etag)

    async def test_it_is_compared_as_bytes(self, driver: Driver) -> None:
        etag = Etag("aZ-_09" + new_etag()[:14] + "Qq")
        await driver.apply([Put(A, "value", None, None, etag)])
        near = {
            etag.swapcase(), etag.lower(), etag.upper(), etag[:-1], etag[1:], etag + "A", etag + " ", " " + etag, etag[:-1] + "_",
            "_" * 22, "%" * 22, "", etag.replace("-", "_"), etag.replace("_", "-"), etag + "\x00", etag[::-1], "%", "*",
        }  # fmt: skip
        for other in sorted(near - {etag}):
            for write in (Put(A, "x", Etag(other)), Delete(A, Etag(other)), Check(A, Etag(other))):
                conflict = await refused(driver, [write])
                assert conflict.keys == (A,), f"{other!r} passed for {etag!r}"
        item = await one(driver, A)
        assert item is not None
        assert (item.value, item.etag) == ("value", etag)
        await driver.apply([Check(A, etag)])
        await driver.apply([Put(A, "new", etag)])

    async def test_delete_and_recreate_does_not_fool_it(self, pair: Pair) -> None:
        mine, other = pair
        old = Put(A, "the same value")
        await mine.apply([old])
        await other.apply([Delete(A)])
        await refused(mine, [Put(A, "x", old.etag)])
        new = Put(A, "the same value", If.ABSENT)
        await other.apply([new])
        for write in (Put(A, "x", old.etag), Delete(A, old.etag), Check(A, old.etag)):
            await refused(mine, [write])
        await mine.apply([Check(A, new.etag)])

    async def test_an_etag_belongs_to_one_key(self, driver: Driver) -> None:
        first, second = Put(A, "same"), Put(B, "same")
        await driver.apply([first])
        await driver.apply([second])
        await refused(driver, [Put(A, "x", second.etag)])
        await refused(driver, [Delete(B, first.etag)])

    async def test_etags_are_distinct_and_of_one_form(self, driver: Driver) -> None:
        for at in range(50):
            await driver.apply([Put(key(name("etags"), number(at)), "x")])
        etags = [item.etag for item in await walk(driver, values=False)]
        assert len(set(etags)) == 50
        for etag in etags:
            assert isinstance(etag, str)
            assert len(etag) == 22, f"{etag!r} does not have 22 characters"
            assert etag.isascii()
            assert etag.replace("-", "a").replace("_", "a").isalnum(), (
                f"{etag!r} has other characters than A-Z a-z 0-9 _ -"
            )

    async def test_one_of_another_length_is_refused(self, driver: Driver) -> None:
        for etag in ("", "x" * 21, "x" * 23):
            with pytest.raises(InvalidValueError):
                await driver.apply([Put(A, "x", etag=Etag(etag))])
        assert await one(driver, A) is None, "a put with an etag that is none was stored"
