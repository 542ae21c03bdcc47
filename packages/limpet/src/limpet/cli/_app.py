"""The application, its commands in the order of `--help`."""

from __future__ import annotations

import typer

from ..plugins import call
from . import _backups, _conformance, _demo, _doctor, _drivers, _exports, _items, _keys, _moving, _stats, _user

__all__ = ["application"]


def application() -> typer.Typer:
    """Return the application with all commands, those of plug-ins last. A plug-in that fails is reported on stderr and skipped."""
    app = typer.Typer(
        name="limpet",
        help="Persistence for AI agents, on the database you already run.",
        no_args_is_help=True,
        add_completion=False,
        rich_markup_mode="rich",
        pretty_exceptions_enable=False,
        context_settings={"help_option_names": ["-h", "--help"]},
    )
    app.command("demo")(_demo.demo)
    app.command("drivers")(_drivers.drivers)
    app.command("doctor")(_doctor.doctor)
    app.command("stats")(_stats.stats)
    app.command("copy")(_moving.copy_)
    app.command("verify")(_moving.verify_)
    app.command("export")(_exports.export_)
    app.command("import")(_exports.import_)
    app.command("backup")(_backups.backup_)
    app.command("backups")(_backups.backups_)
    app.command("check")(_backups.check_)
    app.command("restore")(_backups.restore_)
    app.add_typer(_user.user, name="user")
    app.command("ls")(_items.ls)
    app.command("get")(_items.get)
    app.command("set")(_items.set_)
    app.command("rm")(_items.rm)
    app.command("keygen")(_keys.keygen)
    app.command("rotate")(_keys.rotate)
    app.command("conformance")(_conformance.conformance)
    for _ in call("limpet_commands", may_fail=True, app=app):
        pass
    return app
