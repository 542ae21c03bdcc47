"""Every format that Limpet ever wrote can be read: a folder for each, by its number."""

from __future__ import annotations

from pathlib import Path

import pytest
from limpet import create_persistence
from limpet.opening import FORMAT

from . import place

FORMATS = sorted(int(found.name) for found in place.HERE.iterdir() if found.name.isdecimal())


def test_there_is_a_fixture_of_every_format() -> None:
    assert list(range(1, FORMAT + 1)) == FORMATS


@pytest.mark.parametrize("kind", place.PLACES)
@pytest.mark.parametrize("number", FORMATS)
async def test_a_place_of_an_earlier_release_is_read_and_written(number: int, kind: str, tmp_path: Path) -> None:
    place.unpack(place.HERE / str(number) / f"{kind}.tar.gz", tmp_path)
    template, wrappers = place.PLACES[kind]
    url = template.format(folder=tmp_path.as_posix())
    await place.check(url, wrappers)
    async with create_persistence(url, wrappers=wrappers) as persistence:
        added = await persistence.sessions.add_message("s1", {"subtype": "user", "content": "Go on"})
        assert added.seq == len(place.MESSAGES)
        await persistence.threads.update("t1", title="Renamed")
        await persistence.checkpoints.put("t1", {"step": 2, "long": place.LONG}, id="k2", parent_id="k1")
        assert await persistence.threads.delete("t2")
        assert (await persistence.threads.repair()).unreadable == ()
    async with create_persistence(url, wrappers=wrappers) as persistence:
        assert (await persistence.sessions.get_messages("s1", last=1))[0].id == added.id
        thread = await persistence.threads.get("t1")
        assert thread is not None
        assert thread.title == "Renamed"


@pytest.mark.parametrize("kind", place.PLACES)
async def test_the_current_release_writes_what_it_reads(kind: str, tmp_path: Path) -> None:
    template, wrappers = place.PLACES[kind]
    url = template.format(folder=tmp_path.as_posix())
    await place.write(url, wrappers)
    await place.check(url, wrappers)
