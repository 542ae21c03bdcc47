"""The raw clients, each on something as bare as it can be, with as many connections as our driver has."""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any

from limpet.driver.kit import parse_url

__all__ = ["CONNECTIONS", "RAW", "Raw"]

CONNECTIONS = 8


class Raw(ABC):
    """JSON values by key."""

    name: str
    """Of the client library."""

    @abstractmethod
    async def open(self, url: str) -> None: ...

    @abstractmethod
    async def close(self) -> None: ...

    @abstractmethod
    async def get(self, key: str) -> Any: ...

    @abstractmethod
    async def set(self, key: str, value: Any) -> None: ...

    @abstractmethod
    async def set_many(self, values: Mapping[str, Any]) -> None:
        """In the client's own bulk path."""


class RawRedis(Raw):
    """`GET`, `SET`, and a pipeline."""

    name = "redis-py"

    async def open(self, url: str) -> None:
        from redis.asyncio import BlockingConnectionPool, Redis

        pool = BlockingConnectionPool.from_url(url, max_connections=CONNECTIONS, timeout=60)
        self._redis = Redis(connection_pool=pool)

    async def close(self) -> None:
        await self._redis.aclose()
        await self._redis.connection_pool.disconnect()

    async def get(self, key: str) -> Any:
        return json.loads(await self._redis.get(key) or "null")

    async def set(self, key: str, value: Any) -> None:
        await self._redis.set(key, json.dumps(value))

    async def set_many(self, values: Mapping[str, Any]) -> None:
        pipeline = self._redis.pipeline(transaction=False)
        for key, value in values.items():
            pipeline.set(key, json.dumps(value))
        await pipeline.execute()


class RawPostgresql(Raw):
    """A table of text, an upsert, and `unnest`."""

    name = "asyncpg"

    async def open(self, url: str) -> None:
        import asyncpg

        self._pool = await asyncpg.create_pool(url, min_size=CONNECTIONS, max_size=CONNECTIONS)
        await self._pool.execute("CREATE TABLE IF NOT EXISTS raw (key text PRIMARY KEY, value text NOT NULL)")

    async def close(self) -> None:
        await self._pool.close()

    async def get(self, key: str) -> Any:
        return json.loads(await self._pool.fetchval("SELECT value FROM raw WHERE key = $1", key))

    async def set(self, key: str, value: Any) -> None:
        upsert = "INSERT INTO raw VALUES ($1, $2) ON CONFLICT (key) DO UPDATE SET value = excluded.value"
        await self._pool.execute(upsert, key, json.dumps(value))

    async def set_many(self, values: Mapping[str, Any]) -> None:
        upsert = (
            "INSERT INTO raw SELECT * FROM unnest($1::text[], $2::text[]) "
            "ON CONFLICT (key) DO UPDATE SET value = excluded.value"
        )
        await self._pool.execute(upsert, list(values), [json.dumps(value) for value in values.values()])


class RawMysql(Raw):
    """A table of text, an upsert, and one statement with many rows."""

    name = "aiomysql"

    async def open(self, url: str) -> None:
        import aiomysql

        parts = parse_url(url)
        self._pool = await aiomysql.create_pool(
            host=parts.host, port=parts.port, user=parts.username, password=parts.password or "",
            db=parts.path.removeprefix("/"), minsize=CONNECTIONS, maxsize=CONNECTIONS, autocommit=True,
        )  # fmt: skip
        await self._execute("CREATE TABLE IF NOT EXISTS raw (k varchar(191) PRIMARY KEY, v longtext NOT NULL)")

    async def close(self) -> None:
        self._pool.close()
        await self._pool.wait_closed()

    async def get(self, key: str) -> Any:
        async with self._pool.acquire() as connection, connection.cursor() as cursor:
            await cursor.execute("SELECT v FROM raw WHERE k = %s", (key,))
            (value,) = await cursor.fetchone()
            return json.loads(value)

    async def set(self, key: str, value: Any) -> None:
        await self._execute(_MYSQL_UPSERT, (key, json.dumps(value)))

    async def set_many(self, values: Mapping[str, Any]) -> None:
        async with self._pool.acquire() as connection, connection.cursor() as cursor:
            await cursor.executemany(_MYSQL_UPSERT, [(key, json.dumps(value)) for key, value in values.items()])

    async def _execute(self, statement: str, arguments: tuple[str, ...] = ()) -> None:
        async with self._pool.acquire() as connection, connection.cursor() as cursor:
            await cursor.execute(statement, arguments)


_MYSQL_UPSERT = "INSERT INTO raw (k, v) VALUES (%s, %s) ON DUPLICATE KEY UPDATE v = VALUES(v)"


class RawMongodb(Raw):
    """A document for each key, `update_one` with upsert, and `bulk_write`."""

    name = "pymongo"

    async def open(self, url: str) -> None:
        from pymongo import AsyncMongoClient

        self._client: Any = AsyncMongoClient(url, maxPoolSize=CONNECTIONS)
        self._raw = self._client["raw"]["raw"]

    async def close(self) -> None:
        await self._client.close()

    async def get(self, key: str) -> Any:
        found: Any = await self._raw.find_one({"_id": key})
        return json.loads(found["value"])

    async def set(self, key: str, value: Any) -> None:
        await self._raw.update_one({"_id": key}, {"$set": {"value": json.dumps(value)}}, upsert=True)

    async def set_many(self, values: Mapping[str, Any]) -> None:
        from pymongo import UpdateOne

        writes = [
            UpdateOne({"_id": key}, {"$set": {"value": json.dumps(value)}}, upsert=True)
            for key, value in values.items()
        ]
        await self._raw.bulk_write(writes, ordered=False)


RAW: dict[str, type[Raw]] = {
    "redis": RawRedis,
    "postgresql": RawPostgresql,
    "mysql": RawMysql,
    "mariadb": RawMysql,
    "mongodb": RawMongodb,
}
