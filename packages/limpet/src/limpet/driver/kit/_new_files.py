"""Permissions and owner of new files: for drivers that store data on this machine's disk.

A folder that Limpet creates is for its owner only, and so are the files in it. In an existing folder, new files have
the folder's permissions, since someone chose its mode, unless it has the mode that `mkdir` gives by default (0755, or
0775 if each user has a group) or is shared by everyone, such as `/tmp`: then new files are for their owner only. The
umask applies in both cases.
"""

from __future__ import annotations

import os
import stat

__all__ = ["give_to_owner", "new_file_mode", "new_folder_mode"]

_NO_CHOICE = (0o755, 0o775)


def new_folder_mode(parent: os.stat_result) -> int:
    """Return the mode for `mkdir` in this folder."""
    mode = stat.S_IMODE(parent.st_mode)
    return 0o700 if mode in _NO_CHOICE or mode & stat.S_ISVTX else (mode & 0o777) | 0o700


def new_file_mode(folder: os.stat_result) -> int:
    """Return the mode for a new file in this folder."""
    return new_folder_mode(folder) & 0o666


def give_to_owner(fd: int, folder: os.stat_result) -> None:
    """Give a new file or folder to the owner of its folder, if we are root.

    Otherwise, root looking at a user's database would leave files there that the user cannot open.
    """
    if hasattr(os, "geteuid") and os.geteuid() == 0 and (folder.st_uid, folder.st_gid) != (0, 0):
        os.fchown(fd, folder.st_uid, folder.st_gid)
