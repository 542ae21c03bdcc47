"""Data that moves: copying a database to another driver, comparing two, backups, exports."""

from ._backup import Backup, BackupReport, Keep, backup, backups
from ._copy import CopyReport, copy, follow
from ._export import ExportReport, What, export
from ._import import import_file
from ._kinds import kind_of
from ._person import Erasure, Links, erase_user, export_user
from ._progress import OnProgress, Progress
from ._restore import BackupContents, check_backup, restore
from ._tally import ImportReport, OnConflict
from ._verify import Comparison, KindCount, verify

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
