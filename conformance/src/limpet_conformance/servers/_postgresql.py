"""PostgreSQL from the programs on this machine: a server, and PgBouncer in front of one."""

from __future__ import annotations

from pathlib import Path

from ._programs import installed, succeeds
from ._server import Group, Program

__all__ = ["PgBouncer", "pgbouncer", "postgresql"]

_SETTINGS = ("listen_addresses=127.0.0.1", "unix_socket_directories=", "max_connections=300", "jit=on")


def postgresql(*settings: str, hba: str | None = None) -> Program | None:
    """One server, with more settings (`name=value`); `hba` replaces the default `pg_hba.conf`, which trusts all."""
    postgres = installed("postgres", "/usr/lib/postgresql/*/bin", "/opt/homebrew/opt/postgresql*/bin")
    if postgres is None:
        return None
    beside = Path(postgres).resolve().parent
    if not (beside / "initdb").exists():  # a link in another folder
        found = installed("initdb", "/usr/lib/postgresql/*/bin")
        if found is None:
            return None
        beside = Path(found).parent

    def command(data: Path, port: int) -> list[str]:
        if hba is not None:
            (data / "db" / "pg_hba.conf").write_text(hba)
        given = [part for setting in (*_SETTINGS, *settings) for part in ("-c", setting)]
        return [str(beside / "postgres"), "-D", str(data / "db"), "-p", str(port), *given]

    return Program(
        "postgresql://postgres@127.0.0.1:{port}/postgres",
        str(beside / "postgres"),
        command,
        prepare=lambda data: [
            [str(beside / "initdb"), "-D", str(data / "db"), "-A", "trust", "-U", "postgres", "-E", "UTF8", "--no-sync"]
        ],
        answers=lambda port: succeeds(str(beside / "pg_isready"), "-q", "-h", "127.0.0.1", "-p", str(port)),
        user="postgres",
    )


class PgBouncer(Group):
    """A server, and PgBouncer in front of it in transaction mode, with few connections to it."""

    def __init__(self, server: Program, program: str, *settings: str, connections: int = 5) -> None:
        """`settings` are additional lines of its configuration."""

        def command(data: Path, port: int) -> list[str]:
            users = data / "users"
            users.write_text('"postgres" ""\n')
            (data / "pgbouncer.ini").write_text(
                f"[databases]\n* = host=127.0.0.1 port={server.port}\n[pgbouncer]\nlisten_addr = 127.0.0.1\n"
                f"listen_port = {port}\nunix_socket_dir =\nauth_type = trust\nauth_file = {users}\npool_mode = transaction\n"
                f"default_pool_size = {connections}\nmax_client_conn = 1000\nadmin_users = postgres\n"
                + "".join(f"{line}\n" for line in settings)
            )
            return [program, str(data / "pgbouncer.ini")]

        self.pooler = Program(
            "postgresql://postgres@127.0.0.1:{port}/postgres",
            program,
            command,
            answers=lambda port: succeeds(
                installed("pg_isready", "/usr/lib/postgresql/*/bin") or "pg_isready",
                "-q", "-h", "127.0.0.1", "-p", str(port),
            ),
            user="postgres",
        )  # fmt: skip
        self.server = server
        super().__init__([server, self.pooler])
        self.origin = f"{self.pooler.origin} in front of {server.origin}"
        self.url = self.pooler.url


def pgbouncer(*settings: str) -> PgBouncer | None:
    """Start both, with additional settings of PgBouncer."""
    program = installed("pgbouncer", "/usr/sbin")
    server = postgresql() if program is not None else None
    return None if program is None or server is None else PgBouncer(server, program, *settings)
