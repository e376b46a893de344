"""Where a race is run: what was asked for, and the places that everything lies in while it lasts."""

import datetime
import os
import shutil
import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path

from . import disk
from .tools import GIB, HOUSE, Log, remove


class Course:
    """Entering it makes its folder on the tmpfs, leaving it removes that and what was made on the disk."""

    def __init__(self, options, bins, load_before):
        self.options, self.bins, self.load_before = options, bins, load_before
        self.quick, self.time_limit = options.quick, options.time_limit

    def __enter__(self):
        self.stack = ExitStack()
        self.ram = self.make_folder(self.options.tmp)
        self.source = self.ram / "source"
        self.log = self.stack.enter_context(Log(self.ram / "log"))
        self.made_on_disk = None
        return self

    def __exit__(self, *problem):
        return self.stack.__exit__(*problem)

    @property
    def disk(self):
        """A folder on the disk, made when a row asks for it first."""
        if not self.made_on_disk:
            base = self.options.disk or HOUSE / "target"
            base.mkdir(exist_ok=True)
            if disk.kind(base) == "tmpfs":
                sys.exit(f"bench/race: {base} lies on a tmpfs; --disk names a folder on a disk")
            self.made_on_disk = self.make_folder(base)
        return self.made_on_disk

    def make_folder(self, base):
        folder = Path(tempfile.mkdtemp(prefix="ferry-race-", dir=base))
        self.stack.callback(remove, folder)
        return folder

    def take_up(self, row):
        """What the row before has sent is gone. Its rounds are its own, unless the command line says otherwise."""
        remove(self.source)
        self.troubles = []  # what disturbs the figures
        self.began, self.load = datetime.datetime.now(datetime.timezone.utc), os.getloadavg()[0]
        rounds, warm_up = (2, 0) if self.quick else (row.rounds, row.warm_up)
        self.rounds = rounds if self.options.rounds is None else self.options.rounds
        self.warm_up = warm_up if self.options.warm_up is None else self.options.warm_up

    def pick(self, real, tiny):
        return tiny if self.quick else real

    def need(self, ram=0, disk=0, files=0):
        """Bytes that a row takes, beside a gigabyte for what is not counted, and files that it makes on the disk."""
        if self.quick:
            return
        for folder, space in [(self.ram, ram)] + [(self.disk, disk)] * (disk > 0):
            space += GIB
            if shutil.disk_usage(folder).free < space:
                sys.exit(f"bench/race: {folder.parent} has less than the {space >> 30} GiB free that this row takes")
        # A file system without a table of inodes says that it has none.
        if files and 0 < os.statvfs(self.disk).f_favail < files:
            sys.exit(f"bench/race: {self.disk.parent} has no room for {files:,} files")
