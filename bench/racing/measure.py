"""Running contestants in turn, and taking down what each run costs in time, CPU and memory."""

import os
import re
import signal
import subprocess
import threading
import time
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from pathlib import Path

from . import disk
from .tools import say

TICKS = os.sysconf("SC_CLK_TCK")


@dataclass
class Lane:
    """Who sends what."""

    contestant: object
    source: object
    name: str = None
    # Everything has been sent to the same place before, and the second time is measured.
    twice: bool = False

    def __post_init__(self):
        self.name = self.name or self.contestant.name


@dataclass
class Run:
    """Seconds: by the clock, and of CPU at each end as (user, system). `shown` is what a contestant tells beside."""

    wall: float
    client: tuple
    server: tuple
    shown: dict

    @property
    def cpu(self):
        return sum(self.client) + sum(self.server)


@dataclass
class Result:
    """The runs of a lane that count, and the peaks of memory at each end in bytes, by process."""

    lane: Lane
    runs: list = field(default_factory=list)
    clients: dict = field(default_factory=dict)
    servers: dict = field(default_factory=dict)
    idle: int = 0  # the peak of the servers before a run

    def each(self, figure):
        return [figure(run) for run in self.runs]

    def rates(self):
        """Bytes a second."""
        return self.each(lambda run: run.shown.get("rate") or self.lane.source.payload / run.wall)


def race(course, lanes):
    """Gives the result of each lane by its name. Each is run in turn, then weighed."""
    results = {lane.name: Result(lane) for lane in lanes}
    if any(lane.contestant.on_disk for lane in lanes) and not disk.await_inodes(course.disk, course.pick(360, 0)):
        course.troubles.append("new files were slow on the disk before the first run, as after much was removed there")
    with ExitStack() as stack:
        for contestant in dict.fromkeys(lane.contestant for lane in lanes):
            stack.enter_context(contestant)
        for number in range(-course.warm_up, course.rounds):
            for lane in lanes:
                prepare(course, lane, run_name(lane, number))
            for lane in in_turn(lanes, number):
                run = time_once(course, lane, run_name(lane, number))
                say(f"  {f'round {number + 1}' if number >= 0 else 'warm-up'}: {lane.name} {run.wall:.2f} s")
                if number >= 0:
                    results[lane.name].runs.append(run)
    for result in results.values():
        weigh(course, result)
    return results


def in_turn(lanes, number):
    """Each comes first in its turn, and every other round goes backwards.

    So what drifts in the machine, and what a run leaves for the next one, hits all alike.
    """
    first = number // 2 % len(lanes)
    turned = lanes[first:] + lanes[:first]
    return turned if number % 2 == 0 else turned[::-1]


def run_name(lane, number):
    return f"{re.sub('[^a-z0-9]+', '-', lane.name.lower())}.{number}"


def prepare(course, lane, run):
    lane.contestant.prepare(run, lane.source)
    if lane.twice:
        with Sending(course, lane, run) as sending:
            sending.reap()
            sending.check()


def time_once(course, lane, run):
    contestant = lane.contestant
    if contestant.on_disk and not disk.settle(contestant.inbox, course.pick(1, 0.1), course.pick(120, 2)):
        course.troubles.append("the disk did not come to rest before a run, because something else wrote")
    if not contestant.on_disk:
        warm_memory(course.ram, contestant.to_write(lane.source))
    before = server_cpu(contestant.server)
    with Sending(course, lane, run) as sending:
        client, server = sending.reap()
        wall = time.perf_counter() - sending.began
        shown = contestant.over(sending.said)
        # What a server still has to do after its client has left costs CPU too.
        if contestant.server:
            wait_for_children(contestant.server.pid)
            time.sleep(0.3)
        after = server_cpu(contestant.server)
        sending.check()
    arrived_whole(course, lane, run)
    contestant.clear(run)
    return Run(wall, client, tuple(there + then - once for there, then, once in zip(server, after, before)), shown)


def warm_memory(folder, length):
    """Takes as much memory as a run will store, and frees it for that.

    A virtual machine may hand free memory back to its host, and gets it again more slowly than a network brings data: who
    runs first after a pause would pay for it.
    """
    zeros = memoryview(bytes(1 << 20))
    with open(folder / "warm", "wb", buffering=0) as file:
        for written in range(0, length, len(zeros)):
            file.write(zeros[: length - written])
    os.unlink(folder / "warm")


def weigh(course, result):
    """The peak of memory at both ends, with a server of its own, whose earlier runs do not show.

    Peaks are asked for every few milliseconds until the end, and never fall, so that little is missed. A run that is
    weighed is not timed.
    """
    lane = result.lane
    say(f"  weighing {lane.name}")
    with lane.contestant as contestant:
        servers = [contestant.server] if contestant.server else []
        result.idle = sum(peak_memory(servers).values())
        prepare(course, lane, "weighed")
        with Sending(course, lane, "weighed") as sending:
            servers += sending.receivers
            while any(process.poll() is None for process in sending.all()):
                result.clients |= peak_memory(sending.clients)
                result.servers |= peak_memory(servers)
                time.sleep(0.005)
            result.servers |= peak_memory(servers)
            contestant.over(sending.said)
            sending.check()
        arrived_whole(course, lane, "weighed")
        contestant.clear("weighed")


def arrived_whole(course, lane, run):
    if not lane.contestant.has(run, lane.source):
        course.log.fail(f"what {lane.name} sent is not what arrived")


class Sending:
    """The processes of one run: its clients, and what receives it alone. Leaving it kills those that still run."""

    def __init__(self, course, lane, run):
        self.course, self.lane, self.run = course, lane, run
        self.clients, self.receivers = [], []
        self.limit = threading.Timer(course.time_limit, self.kill)

    def __enter__(self):
        try:
            self.start()
        except BaseException:
            self.__exit__()
            raise
        return self

    def start(self):
        contestant, source = self.lane.contestant, self.lane.source
        if receiver := contestant.receiver(self.run, source):
            command, port = receiver
            self.receivers.append(self.launch(command))
            contestant.wait_for(port, self.receivers[0])
        commands = list(contestant.commands(self.run, source))
        self.spoken_before = self.course.log.length()
        self.began = time.perf_counter()
        for command, environment in commands:
            self.clients.append(self.launch(command, environment))
        contestant.under_way(self.began)
        self.limit.start()

    def launch(self, command, environment={}):
        without_agent = {name: value for name, value in os.environ.items() if name != "SSH_AUTH_SOCK"}
        output = self.course.log.file
        return subprocess.Popen(
            command, env=without_agent | environment,
            stdin=subprocess.DEVNULL, stdout=output, stderr=output, start_new_session=True,
        )

    def __exit__(self, *_):
        self.limit.cancel()
        self.kill()
        for process in self.all():
            process.wait()

    def all(self):
        return self.clients + self.receivers

    def kill(self):
        for process in self.all():
            if process.returncode is None:
                # All of a pipeline: each has a group of its own.
                with suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)

    def reap(self):
        """Waits for all of them, and gives the user and system seconds of the clients and of the receivers."""
        return cpu_of(self.clients), cpu_of(self.receivers)

    def said(self):
        return self.course.log.since(self.spoken_before)

    def check(self):
        for process in self.all():
            if process.returncode != 0:
                late = time.perf_counter() - self.began > self.course.time_limit
                how = "has taken longer than the time limit" if late else f"ended with {process.returncode}"
                self.course.log.fail(f"{self.lane.name} {how}")


def cpu_of(processes):
    seconds = [reap(process) for process in processes]
    return sum(user for user, _ in seconds), sum(system for _, system in seconds)


def reap(process):
    """Its CPU seconds, and those of the children that it has waited for."""
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    return usage.ru_utime, usage.ru_stime


def server_cpu(server):
    """User and system seconds of a server and of its children that have ended."""
    if not server:
        return 0, 0
    fields = Path(f"/proc/{server.pid}/stat").read_text().rsplit(")", 1)[1].split()
    user, system, ended_user, ended_system = (int(field) / TICKS for field in fields[11:15])
    return user + ended_user, system + ended_system


def wait_for_children(pid):
    deadline = time.monotonic() + 10
    while len(family(pid)) > 1 and time.monotonic() < deadline:
        time.sleep(0.01)


def peak_memory(processes):
    """The peak of each process in their families, in bytes."""
    peaks = {}
    for member in [member for process in processes for member in family(process.pid)]:
        try:
            found = re.search(r"^VmHWM:\s+(\d+) kB", Path(f"/proc/{member}/status").read_text(), re.MULTILINE)
        except (FileNotFoundError, ProcessLookupError):
            continue
        if found:
            peaks[member] = int(found[1]) * 1024
    return peaks


def family(pid):
    """A process, its children, theirs, and so on."""
    members = [pid]
    for member in members:
        try:
            for task in Path(f"/proc/{member}/task").iterdir():
                members.extend(int(child) for child in (task / "children").read_text().split())
        except (FileNotFoundError, ProcessLookupError):
            continue
    return members
