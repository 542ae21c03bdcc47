"""Permissions and owner of new files: for drivers that store data on this machine's disk.

A folder that we make is for its owner alone, and so are the files in it. In a folder that was there before, new files
are as open as the folder, since its mode is somebody's choice, unless it is only what `mkdir` gives everybody (0755,
or 0775 where each user has a group) or a folder that all share, such as `/tmp`: then they are for their owner alone.
The umask takes its bits away from either.
"""

from __future__ import annotations

import os
import stat

__all__ = ["give_to_owner", "new_file_mode", "new_folder_mode"]

_NO_CHOICE = (0o755, 0o775)


def new_folder_mode(parent: os.stat_result) -> int:
    """The mode for `mkdir` in this folder."""
    mode = stat.S_IMODE(parent.st_mode)
    return 0o700 if mode in _NO_CHOICE or mode & stat.S_ISVTX else (mode & 0o777) | 0o700


def new_file_mode(folder: os.stat_result) -> int:
    """The mode for a file that is made in this folder."""
    return new_folder_mode(folder) & 0o666


def give_to_owner(fd: int, folder: os.stat_result) -> None:
    """Give a new file or folder to the owner of the folder that it is in, if we are root.

    Otherwise a look at somebody's place as root would leave files there that they cannot open.
    """
    if hasattr(os, "geteuid") and os.geteuid() == 0 and (folder.st_uid, folder.st_gid) != (0, 0):
        os.fchown(fd, folder.st_uid, folder.st_gid)
