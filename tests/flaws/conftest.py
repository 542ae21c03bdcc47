"""Two designs side by side: Limpet, and a small model of the one whose flaws somebody reproduced.

Each test runs on both. On the old design it has to fail (strict xfail): so a test that could not find the flaw is
itself found.
"""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import AsyncIterator
from typing import Any

import pytest
from limpet import Persistence, create_persistence
from limpet.driver import Append, Driver
from limpet.driver.kit import size_of
from limpet.opening import driver_from_url


class Store:
    """A map from normalised keys to text, as unstorage presents one: every call is awaited, none is atomic."""

    def __init__(self) -> None:
        self.items: dict[str, str] = {}
        self.calls = self.written = self.examined = 0
        self.fail_after: int | None = None

    async def set(self, key: str, value: str) -> None:
        await self._called()
        if self.fail_after is not None:
            if self.fail_after == 0:
                raise ConnectionError("the process died here")
            self.fail_after -= 1
        self.written += len(value)
        self.items[_normalise(key)] = value

    async def get(self, key: str) -> str | None:
        await self._called()
        return self.items.get(_normalise(key))

    async def remove(self, key: str) -> None:
        await self._called()
        self.items.pop(_normalise(key), None)

    async def keys(self, base: str) -> list[str]:
        await self._called()
        self.examined += len(self.items)
        return [key for key in self.items if key.startswith(f"{_normalise(base)}:")]

    async def _called(self) -> None:
        self.calls += 1
        await asyncio.sleep(0)


def _normalise(key: str) -> str:
    return re.sub(":+", ":", re.sub(r"[/\\]", ":", key.split("?")[0])).strip(":")


def _destr(value: str) -> Any:
    """As JavaScript reads a number: 1e5 is 100000, 1.0 is 1."""
    try:
        return json.loads(value, parse_float=lambda number: int(float(number)))
    except ValueError:
        return value


class OldDesign:
    """AgentX's repositories as they were: hand-made index keys, one array for all messages, three writes for a save."""

    def __init__(self) -> None:
        self.store = Store()

    async def save_image(self, image: dict[str, Any]) -> None:
        await self.store.set(f"images:{image['imageId']}", json.dumps(image))
        await self.store.set(f"idx:images:name:{image['name']}:{image['imageId']}", image["imageId"])
        await self.store.set(f"idx:images:container:{image['containerId']}:{image['imageId']}", image["imageId"])

    async def image_ids_by_name(self, name: str) -> list[str]:
        return await self._by_index(f"idx:images:name:{name}")

    async def image_ids_by_container(self, container: str) -> list[str]:
        return await self._by_index(f"idx:images:container:{container}")

    async def image_ids(self) -> list[str]:
        found = [await self.store.get(key) for key in await self.store.keys("images")]
        return [json.loads(record)["imageId"] for record in found if record]

    async def _by_index(self, base: str) -> list[str]:
        found = []
        for key in await self.store.keys(base):
            id = _destr(await self.store.get(key) or "")
            record = await self.store.get(f"images:{id}")
            if record is not None:
                found.append(json.loads(record)["imageId"])
        return found

    async def save_session(self, session_id: str) -> None:
        await self.store.set(f"sessions:{session_id}", json.dumps({"sessionId": session_id}))

    async def add_message(self, session_id: str, message: dict[str, Any]) -> None:
        messages = json.loads(await self.store.get(f"messages:{session_id}") or "[]")
        await self.store.set(f"messages:{session_id}", json.dumps([*messages, message]))

    async def message_ids(self, session_id: str) -> list[str]:
        return [message["id"] for message in json.loads(await self.store.get(f"messages:{session_id}") or "[]")]

    async def delivered(self, session_id: str, message: dict[str, Any], clients: int) -> None:
        """Each client's acknowledgement stores the message."""
        for _ in range(clients):
            await self.add_message(session_id, message)

    async def rewind(self, session_id: str, keep: int) -> None:
        messages = json.loads(await self.store.get(f"messages:{session_id}") or "[]")
        await self.store.set(f"messages:{session_id}", "[]")
        for message in messages[:keep]:
            await self.add_message(session_id, message)

    async def read_as_newer_format(self) -> None:
        """A program of an older release opens the place: it looks for its own table and makes an empty one."""
        self.store.items = {}

    def dies_after(self, writes: int) -> None:
        self.store.fail_after = writes

    def lives_again(self) -> None:
        self.store.fail_after = None

    @property
    def calls(self) -> int:
        return self.store.calls

    @property
    def written(self) -> int:
        return self.store.written

    @property
    def examined(self) -> int:
        return self.store.examined


class NewDesign:
    """The same on Limpet, counted at the seam to the backend."""

    def __init__(self, persistence: Persistence, driver: Driver) -> None:
        self.persistence = persistence
        self.driver = driver
        self.calls = self.written = self.examined = 0
        self._left: int | None = None
        self._count()

    def _count(self) -> None:
        seam: Any = self.driver
        commit, fetch, list_ = seam._commit, seam._fetch, seam._list

        async def counted_commit(work: Any) -> Any:
            self.calls += 1
            if self._left is not None:
                if self._left == 0:
                    raise ConnectionError("the process died here")
                self._left -= 1
            for unit in work:
                for write in unit.puts if isinstance(unit, Append) else unit:
                    self.written += size_of(getattr(write, "value", ""))
            return await commit(work)

        async def counted_fetch(keys: Any, values: bool) -> Any:
            self.calls += 1
            self.examined += len(keys)
            return await fetch(keys, values)

        async def counted_list(*args: Any) -> Any:
            self.calls += 1
            page = await list_(*args)
            self.examined += len(page.items)
            return page

        seam._commit, seam._fetch, seam._list = counted_commit, counted_fetch, counted_list

    async def save_image(self, image: dict[str, Any]) -> None:
        await self.persistence.images.save_image(image)

    async def image_ids_by_name(self, name: str) -> list[str]:
        return [image.image_id for image in await self.persistence.images.find_images_by_name(name)]

    async def image_ids_by_container(self, container: str) -> list[str]:
        return [image.image_id for image in await self.persistence.images.find_images_by_container_id(container)]

    async def image_ids(self) -> list[str]:
        return [image.image_id for image in await self.persistence.images.find_all_images()]

    async def save_session(self, session_id: str) -> None:
        await self.persistence.sessions.save_session({"sessionId": session_id})

    async def add_message(self, session_id: str, message: dict[str, Any]) -> None:
        await self.persistence.sessions.add_message(session_id, message)

    async def message_ids(self, session_id: str) -> list[str]:
        return [str(message.id) for message in await self.persistence.sessions.get_messages(session_id)]

    async def delivered(self, session_id: str, message: dict[str, Any], clients: int) -> None:
        """Stored before anybody is told; whoever stores it again by its id changes nothing."""
        for _ in range(1 + clients):
            await self.persistence.sessions.add_message(session_id, message, unique=True)

    async def rewind(self, session_id: str, keep: int) -> None:
        ids = await self.message_ids(session_id)
        await self.persistence.sessions.truncate_after_message(session_id, ids[keep - 1])

    async def read_as_newer_format(self) -> None:
        """A program of an older release opens the place."""
        from limpet.driver import Put
        from limpet.opening import MANIFEST, check_manifest

        await self.driver.apply([Put(MANIFEST, '{"format":9,"oldest_reader":9,"wrappers":[]}')])
        await check_manifest(self.driver)

    def dies_after(self, writes: int) -> None:
        self._left = writes

    def lives_again(self) -> None:
        self._left = None


OLD = pytest.param(
    "old", marks=pytest.mark.xfail(strict=True, reason="the flaw of the old design", raises=AssertionError)
)


@pytest.fixture(params=["new", OLD])
async def design(request: pytest.FixtureRequest) -> AsyncIterator[NewDesign | OldDesign]:
    if request.param == "old":
        yield OldDesign()
        return
    async with driver_from_url("memory://") as driver, create_persistence(driver) as persistence:
        yield NewDesign(persistence, driver)
