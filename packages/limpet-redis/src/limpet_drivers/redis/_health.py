"""The health of a server. If it hides its settings, it is assumed to be well configured."""

from __future__ import annotations

from typing import Literal

from limpet.driver import Health

from redis import exceptions

from ._client import Client
from ._layout import Names

__all__ = ["durability", "evicts", "examine"]


async def _setting(client: Client, name: str) -> str | None:
    try:
        answer = await client.command("CONFIG", "GET", name)
    except exceptions.ResponseError:  # managed servers hide it
        return None
    words = list(answer.items()) if isinstance(answer, dict) else list(zip(answer[::2], answer[1::2], strict=True))
    return words[0][1].decode() if words else None


async def durability(client: Client) -> Literal["process", "disk"]:
    """Return whether the server writes to disk before it answers."""
    if await _setting(client, "appendonly") == "yes" and await _setting(client, "appendfsync") == "always":
        return "disk"
    return "process"


async def evicts(client: Client) -> str | None:
    """Return the policy by which the server may drop any key; `None` if it drops none of ours, which never expire."""
    policy = await _setting(client, "maxmemory-policy")
    return policy if policy is not None and policy.startswith("allkeys-") else None


async def examine(client: Client, names: Names) -> Health:
    """Read the facts, and what an operator should know."""
    seconds, micros = await client.command("TIME")
    facts = dict(line.split(":", 1) for line in (await client.command("INFO")).decode().splitlines() if ":" in line)
    problems = []
    if facts.get("role") == "slave":
        problems.append("this server is a replica and cannot be written to: connect to the primary")
    if (policy := await evicts(client)) is not None:
        problems.append(f"maxmemory-policy is {policy}: it may drop any key; set it to noeviction")
    if facts.get("aof_enabled") == "0" and facts.get("rdb_last_bgsave_status") == "err":
        problems.append("the last snapshot failed and there is no append-only file: check the server's log")
    if int(facts.get("connected_slaves", 0)) and await _setting(client, "min-replicas-to-write") == "0":
        problems.append(
            "a primary that has lost its replicas keeps accepting writes, which a failover then drops: set "
            "min-replicas-to-write 1 and min-replicas-max-lag 10"
        )
    durable = await durability(client)
    if durable == "process":
        problems.append("an acknowledged write may be lost with the server: set appendonly yes and appendfsync always")
    details = {
        "items": str(await client.command("HLEN", names.items)),
        "memory": facts.get("used_memory_human", "unknown"),
        "appendonly": facts.get("aof_enabled", "unknown"),
    }
    product = "Valkey" if "valkey_version" in facts else "Redis"
    version = facts.get("valkey_version") or facts.get("redis_version") or "unknown"
    return Health(product, version, int(seconds) * 1000 + int(micros) // 1000, tuple(problems), details)
