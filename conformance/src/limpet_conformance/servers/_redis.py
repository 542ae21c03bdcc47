"""Redis from the programs on this machine: one server, a cluster, and sentinels with the servers that they watch."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path
from time import monotonic, sleep

from ._programs import installed, said
from ._server import START_SECONDS, Group, Program, free_port

__all__ = ["RedisCluster", "RedisSentinels", "redis", "redis_cluster", "redis_sentinels"]

_SETTINGS = ("--bind", "127.0.0.1", "--appendonly", "yes", "--appendfsync", "always", "--save", "")


def redis(*settings: str, tls: Sequence[str] = ()) -> Program | None:
    """One server, with more settings; `tls` is what redis-cli needs to connect, if it uses TLS."""
    found = _programs()
    if found is None:
        return None
    server, cli = found
    return Program(
        f"{'rediss' if tls else 'redis'}://127.0.0.1:{{port}}/0",
        server,
        lambda data, port: [
            server, *(("--port", "0", "--tls-port") if tls else ("--port",)), str(port), "--dir", str(data),
            *_SETTINGS, *settings,
        ],
        answers=lambda port: "PONG" in said(cli, *tls, "-p", str(port), "ping"),
    )  # fmt: skip


class RedisCluster(Group):
    """Primaries that share the slots, each with as many replicas; `members` are all of them, primaries first."""

    def __init__(self, primaries: int = 3, replicas: int = 0) -> None:
        found = _programs()
        assert found is not None, "there is no Redis on this machine"
        self._cli = found[1]
        members = []
        for _ in range(primaries * (1 + replicas)):
            bus = str(free_port())  # the default, the port plus 10,000, is above the highest port for some free ports
            settings = ("--cluster-enabled", "yes", "--cluster-node-timeout", "1500", "--cluster-port", bus)
            node = redis(*settings, "--cluster-announce-ip", "127.0.0.1", "--repl-diskless-sync-delay", "0")
            assert node is not None
            members.append(node)
        super().__init__(members)
        self.origin = f"{len(members)} nodes of {members[0].origin}"
        self.url = "redis+cluster://" + ",".join(f"127.0.0.1:{node.port}" for node in members)
        nodes = [f"127.0.0.1:{node.port}" for node in members]
        try:
            self.cli("--cluster", "create", *nodes, "--cluster-replicas", str(replicas), "--cluster-yes")
            self._wait()
        except BaseException:
            self.end()
            raise

    def start(self) -> None:
        super().start()
        self._wait()

    def cli(self, *words: str) -> str:
        """Run redis-cli, and return its output."""
        done = subprocess.run([self._cli, *words], capture_output=True, text=True, timeout=120, check=False)
        if done.returncode:
            raise RuntimeError(f"redis-cli {' '.join(words)} failed:\n{done.stdout}{done.stderr}")
        return done.stdout

    def ask(self, node: Program, *words: str) -> str:
        """Send one command to one node."""
        return self.cli("-p", str(node.port), *words).strip()

    def owner(self, key: str) -> Program:
        """Return the node that serves the slot of a key."""
        slot = int(self.ask(self.members[0], "CLUSTER", "KEYSLOT", key))
        for node in self.members:
            for line in self.ask(node, "CLUSTER", "NODES").splitlines():
                (
                    _,
                    _,
                    flags,
                    *_,
                ) = fields = line.split()
                ranges = [part.split("-") for part in fields[8:] if not part.startswith("[")]
                if "myself" in flags and any(int(part[0]) <= slot <= int(part[-1]) for part in ranges):
                    return node
        raise RuntimeError(f"no node serves slot {slot}")

    def _wait(self) -> None:
        def together(node: Program) -> bool:
            facts = dict(line.split(":") for line in self.ask(node, "CLUSTER", "INFO").split())
            return facts["cluster_state"] == "ok" and int(facts["cluster_known_nodes"]) == len(self.members)

        wait_for(lambda: all(map(together, self.members)), "the nodes have not become a cluster")
        wait_for(lambda: all(map(self._follows, self.members)), "the replicas do not follow")

    def _follows(self, node: Program) -> bool:
        role = self.ask(node, "ROLE").split()
        return role[0] != "slave" or "connected" in role


class RedisSentinels(Group):
    """A primary, its replica, and three sentinels that watch them under the name `mymaster`."""

    def __init__(self) -> None:
        found = _programs()
        assert found is not None, "there is no Redis on this machine"
        self._cli = found[1]
        primary = redis()
        assert primary is not None
        replica = redis("--replicaof", "127.0.0.1", str(primary.port), "--repl-diskless-sync-delay", "0")
        assert replica is not None
        self.servers = [primary, replica]
        self.sentinels = [self._sentinel(found[0], primary.port) for _ in range(3)]
        super().__init__([*self.servers, *self.sentinels])
        self.origin = f"{primary.origin}, a replica and three sentinels"
        self.url = "redis+sentinel://" + ",".join(f"127.0.0.1:{each.port}" for each in self.sentinels) + "/mymaster/0"
        try:
            self.settle()
        except BaseException:
            self.end()
            raise

    def start(self) -> None:
        super().start()
        self.settle()

    def primary(self) -> Program:
        """The one that most sentinels consider the primary."""
        ports = [
            self.ask(each, "SENTINEL", "GET-MASTER-ADDR-BY-NAME", "mymaster").split()[-1] for each in self.sentinels
        ]
        return next(server for server in self.servers if ports.count(str(server.port)) > 1)

    def ask(self, server: Program, *words: str) -> str:
        """Send one command to one server or sentinel."""
        return said(self._cli, "-p", str(server.port), *words).strip()

    def _sentinel(self, program: str, watched: int) -> Program:
        def command(data: Path, port: int) -> list[str]:
            file = data / "sentinel.conf"  # it writes what it learns to this file
            if not file.exists():
                file.write_text(
                    f"port {port}\nbind 127.0.0.1\ndir {data}\nsentinel monitor mymaster 127.0.0.1 {watched} 2\n"
                    "sentinel down-after-milliseconds mymaster 1000\nsentinel failover-timeout mymaster 5000\n"
                )
            return [program, str(file), "--sentinel"]

        return Program(
            "redis://127.0.0.1:{port}",
            f"{program} --sentinel",
            command,
            answers=lambda port: "PONG" in said(self._cli, "-p", str(port), "ping"),
        )

    def settle(self) -> None:
        """Wait until every sentinel sees the others, a primary, and a replica that follows it."""

        def ready(sentinel: Program) -> bool:
            primary = _facts(self.ask(sentinel, "SENTINEL", "MASTER", "mymaster"))
            replica = _facts(self.ask(sentinel, "SENTINEL", "REPLICAS", "mymaster"))
            counted = primary.get("num-slaves"), primary.get("num-other-sentinels")
            return counted == ("1", "2") and (primary.get("flags"), replica.get("flags")) == ("master", "slave")

        def follows() -> bool:
            return any("connected" in self.ask(server, "ROLE").split() for server in self.servers)

        wait_for(
            lambda: follows() and all(map(ready, self.sentinels)),
            "the sentinels do not agree on a primary with a replica",
        )


def redis_cluster() -> RedisCluster | None:
    return RedisCluster() if _programs() is not None else None


def redis_sentinels() -> RedisSentinels | None:
    return RedisSentinels() if _programs() is not None else None


def _facts(said: str) -> dict[str, str]:
    words = said.split("\n")
    return dict(zip(words[::2], words[1::2], strict=False))


def wait_for(true: Callable[[], bool], otherwise: str) -> None:
    """Wait until it is true, or time is up."""
    until = monotonic() + START_SECONDS
    while not true():
        if monotonic() > until:
            raise RuntimeError(f"{otherwise} within {START_SECONDS:g} s")
        sleep(0.05)


def _programs() -> tuple[str, str] | None:
    server = installed("redis-server") or installed("valkey-server")
    cli = installed("redis-cli") or installed("valkey-cli")
    return None if server is None or cli is None else (server, cli)
