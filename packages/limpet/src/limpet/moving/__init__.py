"""Data that moves: copying a database to another driver, comparing two, backups."""

from ._backup import Backup, BackupReport, Keep, backup, backups
from ._copy import CopyReport, copy, follow
from ._kinds import kind_of
from ._progress import OnProgress, Progress
from ._restore import BackupContents, check_backup, restore
from ._verify import Comparison, KindCount, verify

__all__ = [
    "Backup",
    "BackupContents",
    "BackupReport",
    "Comparison",
    "CopyReport",
    "Keep",
    "KindCount",
    "OnProgress",
    "Progress",
    "backup",
    "backups",
    "check_backup",
    "copy",
    "follow",
    "kind_of",
    "restore",
    "verify",
]
