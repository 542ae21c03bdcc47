"""A few connections for many tasks."""

import asyncio

import pytest
from limpet import UnavailableError
from limpet.driver.kit import Connections


class Connection:
    def __init__(self) -> None:
        self.alive = True
        self.ended = False
        self.users = 0


class Server:
    """Counts what is made of it. It is no database: what is tested is who gets which connection."""

    def __init__(self) -> None:
        self.made: list[Connection] = []
        self.refuses = False
        self.open = asyncio.Event()
        self.open.set()

    async def connect(self) -> Connection:
        await asyncio.sleep(0)
        await self.open.wait()
        if self.refuses:
            raise ConnectionRefusedError
        self.made.append(Connection())
        return self.made[-1]

    def connections(self, size: int = 2, timeout: float = 5.0) -> "Connections[Connection]":
        async def end(connection: Connection) -> None:
            connection.ended = True

        return Connections(
            self.connect, alive=lambda found: found.alive, end=end, size=size, timeout=timeout, place="the server"
        )


async def test_many_tasks_share_a_few_and_nobody_shares_one_at_a_time() -> None:
    server = Server()
    connections = server.connections(size=3)

    async def use() -> None:
        async with connections.one() as connection:
            connection.users += 1
            assert connection.users == 1
            await asyncio.sleep(0)
            connection.users -= 1

    await asyncio.gather(*(use() for _ in range(200)))
    assert len(server.made) == 3


async def test_the_one_that_was_used_last_is_used_first() -> None:
    server = Server()
    connections = server.connections()
    async with connections.one() as first, connections.one() as second:
        assert first is not second
    async with connections.one() as again:
        assert again is first, "it was given back last"


async def test_one_that_has_ended_is_given_to_nobody() -> None:
    server = Server()
    connections = server.connections()
    async with connections.one() as broken:
        broken.alive = False
    assert broken.ended
    async with connections.one() as idle:
        pass
    idle.alive = False  # the server ended it while nobody used it
    async with connections.one() as fresh:
        assert fresh is not idle
    assert idle.ended


async def test_who_waits_for_too_long_is_told() -> None:
    connections = Server().connections(size=1, timeout=0.05)
    async with connections.one():
        with pytest.raises(UnavailableError, match="pool_size"):
            async with connections.one():
                raise AssertionError("there is only one")
    async with connections.one() as free:
        assert free.alive


async def test_a_connecting_that_fails_or_is_cancelled_takes_no_room() -> None:
    server = Server()
    connections = server.connections(size=1, timeout=1)
    server.refuses = True
    for _ in range(3):
        with pytest.raises(ConnectionRefusedError):
            async with connections.one():
                raise AssertionError("nothing was connected")
    server.refuses = False
    connecting = asyncio.create_task(connections.one().__aenter__())
    await asyncio.sleep(0)
    connecting.cancel()
    await asyncio.gather(connecting, return_exceptions=True)
    async with connections.one() as connection:
        assert connection.alive


async def test_drop_ends_those_that_are_free() -> None:
    server = Server()
    connections = server.connections()
    async with connections.one() as busy:
        async with connections.one() as free:
            pass
        await connections.drop()
        assert free.ended
        assert not busy.ended


async def lose_one(connections: "Connections[Connection]", cause: BaseException) -> None:
    async with connections.one() as lost:
        lost.alive = False
        raise cause


async def test_when_a_call_loses_its_connection_those_that_are_free_are_closed() -> None:
    server = Server()
    connections = server.connections()
    async with connections.one() as first, connections.one() as second:
        pass
    with pytest.raises(ConnectionResetError):
        await lose_one(connections, ConnectionResetError())
    assert {first.ended, second.ended} == {True}
    async with connections.one() as fresh:
        assert fresh not in (first, second)


async def test_who_is_cancelled_closes_no_connection_but_its_own() -> None:
    server = Server()
    connections = server.connections()
    async with connections.one() as _, connections.one():
        pass
    with pytest.raises(asyncio.CancelledError):
        await lose_one(connections, asyncio.CancelledError())
    assert [connection.ended for connection in server.made].count(True) == 1
    async with connections.one() as kept:
        assert kept in server.made[:2]


async def user(connections: "Connections[Connection]") -> Connection:
    async with connections.one() as connection:
        await asyncio.sleep(0)
        return connection


async def test_who_waits_for_one_to_be_made_takes_one_that_becomes_free() -> None:
    server = Server()
    connections = server.connections(size=3)
    async with connections.one() as first:
        server.open.clear()
        waiting = [asyncio.create_task(user(connections)) for _ in range(2)]
        await asyncio.sleep(0.02)  # two are in the making by then
    assert await asyncio.gather(*waiting) == [first, first]
    server.open.set()
    async with connections.one() as one, connections.one() as two, connections.one() as three:
        assert len({id(each) for each in (one, two, three)}) == 3
        assert len(server.made) == 3, "those that nobody waited for any more are used, and no more are made than may be"


async def test_a_connection_that_cannot_be_made_is_told_to_one_who_waits() -> None:
    server = Server()
    connections = server.connections(size=2)
    server.open.clear()
    waiting = [asyncio.create_task(user(connections)) for _ in range(4)]
    await asyncio.sleep(0)
    server.refuses = True
    server.open.set()
    found = await asyncio.gather(*waiting, return_exceptions=True)
    assert [type(each) for each in found] == [ConnectionRefusedError] * 4
    server.refuses = False
    assert (await user(connections)).alive


async def test_who_is_cancelled_while_he_waits_leaves_what_is_made_to_others() -> None:
    server = Server()
    connections = server.connections(size=1)
    server.open.clear()
    waiting = asyncio.create_task(user(connections))
    await asyncio.sleep(0)
    waiting.cancel()
    await asyncio.wait([waiting])
    assert waiting.cancelled()
    server.open.set()
    assert await user(connections) is server.made[0]


@pytest.mark.parametrize("steps", range(8))
async def test_who_is_cancelled_at_any_moment_keeps_nothing(steps: int) -> None:
    server = Server()
    connections = server.connections(size=1, timeout=1)
    waiting = asyncio.create_task(user(connections))
    for _ in range(steps):
        await asyncio.sleep(0)
    waiting.cancel()
    await asyncio.wait([waiting])
    assert await user(connections) is server.made[-1]
    assert len([each for each in server.made if not each.ended]) == 1


async def test_a_lost_one_is_made_again_for_who_waits() -> None:
    server = Server()
    connections = server.connections(size=2)
    async with connections.one() as first, connections.one() as second:
        waiting = [asyncio.create_task(user(connections)) for _ in range(3)]
        await asyncio.sleep(0)
        first.alive = second.alive = False
    found = await asyncio.gather(*waiting)
    assert all(each.alive for each in found)
    assert len(server.made) <= 4


async def test_none_is_made_where_one_becomes_free_soon() -> None:
    server = Server()
    connections = server.connections(size=3)
    async with connections.one() as first:
        waiting = [asyncio.create_task(user(connections)) for _ in range(2)]
        await asyncio.sleep(0)
    assert await asyncio.gather(*waiting) == [first, first]
    await asyncio.sleep(0.02)
    assert server.made == [first]


async def test_close_ends_what_is_free_and_stops_making() -> None:
    server = Server()
    connections = server.connections(size=2)
    async with connections.one() as free:
        server.open.clear()
        waiting = asyncio.create_task(user(connections))
        await asyncio.sleep(0.02)  # another is in the making by then
    await waiting
    async with asyncio.timeout(5):
        await connections.close()
    assert free.ended
    server.open.set()
    await asyncio.sleep(0.01)
    assert server.made == [free]
