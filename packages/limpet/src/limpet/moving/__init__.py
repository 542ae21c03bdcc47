"""Data that moves: copying a database to another driver, comparing two, backups, exports."""

from ._backup import Backup, BackupReport, Keep, backup, backups
from ._copy import CopyReport, copy, follow
from ._export import ExportReport, What, export
from ._import import import_file
from ._kinds import kind_of
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
    "ExportReport",
    "ImportReport",
    "Keep",
    "KindCount",
    "OnConflict",
    "OnProgress",
    "Progress",
    "What",
    "backup",
    "backups",
    "check_backup",
    "copy",
    "export",
    "follow",
    "import_file",
    "kind_of",
    "restore",
    "verify",
]
