"""The row `resume`: what was cut near its end is gone on with."""

import math
import os
import re
import subprocess
import threading
import time
from statistics import median

from . import data, report
from .contestants import Ferry, Rsync
from .measure import Lane, race
from .report import Claim, Section
from .tools import GIB, MIB, human, say

CUT = 0.9
CHECKPOINT = 32 << 20


def resume(course):
    large, larger = course.pick(3 * GIB, 192 * MIB), course.pick(8 * GIB, 256 * MIB)
    course.need(ram=max(3 * large, 2 * larger))
    results, claims = {}, []
    for length in [large, larger]:
        source = data.one_file(course.source / "big.bin", length)
        ferry = CutFerry(course)
        lanes = [Lane(ferry, source, f"ferry, {human(length)}")]
        if length == large:
            # Behind ferry, because it is cut where ferry was.
            lanes.append(Lane(CutRsync(course, ferry), source, f"rsync, {human(length)}"))
        found = race(course, lanes)
        source.path.unlink()
        claims += claims_of(*found.values())
        results |= found
    return Section(
        f"files of {human(large)} and {human(larger)}, cut at 90 %, sent again",
        results,
        claims,
        [CutRsync],
        [
            "Only the second run is timed. MB/s are of the whole file, and the peaks of servers hold the first run too. "
            "The first one of ferry is killed (SIGKILL) when nine tenths are in the server's staging folder, and the "
            "second one begins when the server has written all that it still got.",
            "The first new byte is there when the staged file is longer than it was, looked for every millisecond: bytes "
            "that are sent again come before it and do not count. How many those are is what the second run says it sent, "
            "less what was missing.",
            "rsync gets what ferry's server had staged, to the byte.",
        ],
    )


def claims_of(ferry, rsync=None):
    first, again = (ferry.each(lambda run: run.shown[what]) for what in ["first byte", "again"])
    yield Claim(f"{ferry.lane.name}: first new byte, seconds", median(first), first, most=0.5)
    yield Claim(f"{ferry.lane.name}: sent again, MiB", median(again), again)
    if rsync:
        yield report.ratio(ferry, rsync, most=0.6)


class CutFerry(Ferry):
    def __init__(self, course):
        super().__init__(course, flags=["--json"])
        self.ended = threading.Event()

    def __exit__(self, *problem):
        self.ended.set()
        super().__exit__(*problem)

    def prepare(self, run, source):
        super().prepare(run, source)
        [(command, environment)] = self.commands(run, source)
        client = subprocess.Popen(
            command, env=os.environ | environment,
            stdin=subprocess.DEVNULL, stdout=self.log.file, stderr=self.log.file,
        )
        deadline = time.monotonic() + self.time_limit
        try:
            while self.staged() < CUT * source.payload:
                if client.poll() is not None or time.monotonic() > deadline:
                    self.log.fail("ferry has ended, or gets nowhere, before it is cut")
                time.sleep(0.0005)
        finally:
            client.kill()
            client.wait()
        self.length = self.at_rest()
        self.missing = source.payload - self.length
        # A body whose connection ends is cut back to its last checkpoint.
        if not CUT * source.payload - CHECKPOINT <= self.length < source.payload:
            self.log.fail(f"ferry was not cut: {self.length} bytes of {source.payload} are staged")
        say(f"    cut at {100 * self.length / source.payload:.1f} %")

    def at_rest(self):
        """What is staged when that grows no more."""
        length, since = self.staged(), time.monotonic()
        while time.monotonic() < since + 0.5:
            time.sleep(0.01)
            if self.staged() != length:
                length, since = self.staged(), time.monotonic()
        return length

    def staged(self):
        sizes = []
        with os.scandir(self.inbox / ".ferry/staging") as entries:
            for entry in entries:
                try:
                    sizes.append(entry.stat().st_size)
                except FileNotFoundError:
                    pass  # it has just got its name
        return max(sizes, default=0)

    def to_write(self, source):
        return self.missing

    def under_way(self, began):
        self.first_byte = math.inf
        self.ended.clear()
        self.watch = threading.Thread(target=self.look_for_first_byte, args=[began])
        self.watch.start()

    def look_for_first_byte(self, began):
        while not self.ended.wait(0.001):
            if self.staged() > self.length:
                self.first_byte = time.perf_counter() - began
                return

    def over(self, said):
        self.ended.set()
        self.watch.join()
        sent = int(re.search(r'"summary":\{"bytes":(\d+)', said())[1])
        return {"first byte": self.first_byte, "again": (sent - self.missing) / MIB}


class CutRsync(Rsync):
    name = "rsync --append-verify"
    does_not = "To a daemon: no encryption. Nothing is synced. Reads all that is there again, at both ends."
    flags = ["--partial", "--inplace", "--append-verify"]

    def __init__(self, course, ferry):
        super().__init__(course)
        self.ferry = ferry

    def prepare(self, run, source):
        (self.inbox / run).mkdir()
        with open(source.path, "rb") as whole, open(self.inbox / run / source.path.name, "wb") as cut:
            left = self.ferry.length
            while left:
                left -= os.copy_file_range(whole.fileno(), cut.fileno(), left)

    def to_write(self, source):
        return self.ferry.missing
