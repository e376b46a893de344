"""The row `watch`: a folder of many files under `ferry watch`, to which one more is added now and then."""

import json
import os
import subprocess
import threading
import time
from statistics import median

from . import data
from .contestants import Ferry
from .measure import peak_memory, server_cpu
from .report import Claim, Section, mib
from .tools import KIB, say

SETTLE = 2.0
# Longer than a connection is kept without work, so that each new file needs a new one.
APART = 6.0


def watch(course):
    count, idle = course.pick(100_000, 400), course.pick(30, 3)
    tree = data.specks(course.source, count)
    with Ferry(course) as ferry, Watch(course, ferry, tree) as watch:
        caught_up = watch.catch_up()
        delays = [watch.add_one(number) for number in range(course.warm_up + course.rounds)][course.warm_up :]
        client, server = watch.rest(idle)
        peaks = [mib(max(peak_memory([process]).values())) for process in (watch.client, ferry.server)]
        watch.stop()
    claims = [
        Claim("receipt after the last write and the settling time, seconds", median(delays), delays, most=1.0),
        Claim("the longest of these", max(delays), [], most=1.0),
        Claim(f"CPU of the client in {idle} idle seconds", client, [], most=0.01 * idle),
        Claim(f"CPU of the server in {idle} idle seconds", server, [], most=0.01 * idle),
    ]
    notes = [
        f"At the start all of them were sent, which took {caught_up:.1f} s.",
        f"A file of {4 * KIB} bytes is added every {APART:.0f} s, when the connection of the one before has ended. Its receipt "
        "is there when `ferry watch --json` says so.",
        "Idle is bound to one hundredth of a core; the clock ticks every hundredth of a second.",
        f"Peak of the client {peaks[0]} MiB, of the server {peaks[1]} MiB, sending all of them at the start included.",
    ]
    return Section(f"{count:,} files under watch, and one new one", {}, claims, notes=notes)


class Watch:
    """A client that watches, and the times at which it tells of each name."""

    def __init__(self, course, ferry, tree):
        self.log, self.time_limit, self.tree, self.ferry = course.log, course.time_limit, tree, ferry
        self.told, self.news = {}, threading.Condition()
        self.files = 0
        command = [course.bins / "ferry", "watch", tree.path, "--to", "race", "--settle", f"{SETTLE:.0f}s", "--json"]
        self.command = ferry.way.at_client(command)

    def __enter__(self):
        self.began = time.perf_counter()
        self.client = subprocess.Popen(
            self.command, env=os.environ | {"FERRY_HOME": str(self.ferry.homes[0])},
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=self.log.file, text=True,
        )
        threading.Thread(target=self.listen, daemon=True).start()
        return self

    def __exit__(self, *_):
        self.client.kill()
        self.client.wait()

    def listen(self):
        for line in self.client.stdout:
            now, told = time.perf_counter(), json.loads(line)
            if told.get("status") == "sent":
                with self.news:
                    self.told[told["name"]] = now
                    self.files += told["name"].endswith(".bin")
                    self.news.notify()

    def wait(self, what, is_there):
        with self.news:
            if not self.news.wait_for(is_there, self.time_limit):
                self.log.fail(f"ferry watch does not tell of {what}")

    def catch_up(self):
        """Seconds until every file has its receipt."""
        self.wait("what was there", lambda: self.files == self.tree.files)
        took = time.perf_counter() - self.began
        say(f"  caught up after {took:.1f} s")
        return took

    def add_one(self, number):
        """Seconds from its last write, less the settling time, to its receipt."""
        time.sleep(APART)
        name = f"new-{number}"
        path = self.tree.path / name
        path.write_bytes(os.urandom(4 * KIB))
        written = time.perf_counter()
        told = f"{self.tree.path.name}/{name}"
        self.wait(name, lambda: told in self.told)
        arrived = self.ferry.inbox / told
        if arrived.read_bytes() != path.read_bytes():
            self.log.fail(f"{name} is not what arrived")
        delay = self.told[told] - written - SETTLE
        say(f"  {name}: {delay:.3f} s after it had settled")
        return delay

    def rest(self, seconds):
        """CPU of client and server while nothing happens."""
        time.sleep(APART)
        processes = [self.client, self.ferry.server]
        before = [sum(server_cpu(process)) for process in processes]
        time.sleep(seconds)
        return [sum(server_cpu(process)) - used for process, used in zip(processes, before, strict=True)]

    def stop(self):
        self.client.terminate()
        if self.client.wait(30) != 0:
            self.log.fail(f"ferry watch ended with {self.client.returncode}")
