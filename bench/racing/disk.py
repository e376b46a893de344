"""The disk: what file system it has, and waiting until earlier work on it no longer disturbs."""

import re
import subprocess
import tempfile
import time
from pathlib import Path

from .tools import MIB, say, text_of

QUICKLY = 0.000_1  # seconds for a new file: ext4 takes a fifth of that where nothing disturbs, and up to ten times
FEW = 4 * MIB  # of dirty memory: somebody always writes a log


def kind(folder):
    return text_of("findmnt", "--noheadings", "--output", "FSTYPE", "--target", folder)


def describe(folder):
    """The type of its file system, and the options that it is mounted with."""
    return " ".join(text_of("findmnt", "--noheadings", "--output", "FSTYPE,OPTIONS", "--target", folder).split())


def await_inodes(folder, patience):
    """Waits until new files are made quickly. Gives whether that came to be in `patience` seconds.

    ext4 does not give out the inodes of removed files for five minutes, and looks at them one by one whenever it needs
    one. Whatever was removed shortly before, by anybody, makes new files several times as slow.
    """
    began, said = time.monotonic(), False
    while time_of_new_file(folder) > QUICKLY:
        if time.monotonic() > began + patience:
            return False
        if not said:
            say(f"  new files are slow on this disk; waiting for {patience} s at most until they are not")
            said = True
        time.sleep(20)
    return True


def time_of_new_file(folder):
    count, probe = 500, tempfile.mkdtemp(dir=folder)
    began = time.perf_counter()
    for number in range(count):
        open(f"{probe}/{number}", "wb").close()
    return (time.perf_counter() - began) / count


def settle(folder, quiet, patience):
    """Syncs the file system, and waits until for `quiet` seconds nothing is in flight and next to nothing is dirty.

    What earlier runs have left to write, to forget and to discard would else be paid for by the next one. Gives whether
    the disk came to rest in `patience` seconds.
    """
    subprocess.run(["sync", "-f", folder], check=True)
    began = last_busy = time.monotonic()
    while time.monotonic() < last_busy + quiet:
        if in_flight() > 0 or unwritten() > FEW:
            last_busy = time.monotonic()
        if time.monotonic() > began + patience:
            say(f"  the disk has not come to rest in {patience} s: somebody else writes, and the figures will show it")
            return False
        time.sleep(0.02)
    return True


def in_flight():
    """Requests that the disks of this machine have not answered yet."""
    return sum(int(line.split()[11]) for line in Path("/proc/diskstats").read_text().splitlines())


def unwritten():
    found = re.findall(r"^(?:Dirty|Writeback):\s+(\d+) kB", Path("/proc/meminfo").read_text(), re.MULTILINE)
    return sum(int(kib) * 1024 for kib in found)
