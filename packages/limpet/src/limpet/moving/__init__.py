"""Data that moves: copying a database to another driver, comparing two, backups, exports."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from .._lazy import lazy

if TYPE_CHECKING:
    from ._backup import Backup, BackupReport, Keep, backup, backups
    from ._choices import OnConflict, What
    from ._copy import CopyReport, copy, follow
    from ._export import ExportReport, export
    from ._import import import_file
    from ._kinds import kind_of
    from ._person import Erasure, Links, erase_user, export_user
    from ._progress import OnProgress, Progress
    from ._restore import BackupContents, check_backup, restore
    from ._tally import ImportReport
    from ._verify import Comparison, KindCount, verify

__getattr__: Callable[[str], Any] = lazy(
    __name__,
    {
        "Backup": "._backup",
        "BackupContents": "._restore",
        "BackupReport": "._backup",
        "Comparison": "._verify",
        "CopyReport": "._copy",
        "Erasure": "._person",
        "ExportReport": "._export",
        "ImportReport": "._tally",
        "Keep": "._backup",
        "KindCount": "._verify",
        "Links": "._person",
        "OnConflict": "._choices",
        "OnProgress": "._progress",
        "Progress": "._progress",
        "What": "._choices",
        "backup": "._backup",
        "backups": "._backup",
        "check_backup": "._restore",
        "copy": "._copy",
        "erase_user": "._person",
        "export": "._export",
        "export_user": "._person",
        "follow": "._copy",
        "import_file": "._import",
        "kind_of": "._kinds",
        "restore": "._restore",
        "verify": "._verify",
    },
)

__all__ = [
    "Backup",
    "BackupContents",
    "BackupReport",
    "Comparison",
    "CopyReport",
    "Erasure",
    "ExportReport",
    "ImportReport",
    "Keep",
    "KindCount",
    "Links",
    "OnConflict",
    "OnProgress",
    "Progress",
    "What",
    "backup",
    "backups",
    "check_backup",
    "copy",
    "erase_user",
    "export",
    "export_user",
    "follow",
    "import_file",
    "kind_of",
    "restore",
    "verify",
]
