"""Many photos, as they are looked at in a browser: the rows `thumbnails` and `gallery`."""

import json
import os
import subprocess
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from statistics import median

from .measure import peak_memory
from .report import Claim, Section, mib
from .tools import GIB, HOUSE, MIB, example, remove, say
from .web import FerryWeb

# As wide as a small picture of ferryd's, and a bit more, so that it can be made of this one.
PREVIEW = 440
ALBUM = "album"


class Album(FerryWeb):
    """A ferryd that has got an album of photos."""

    def __init__(self, course, *shape):
        super().__init__(course, "ferryd")
        self.shape = [str(number) for number in shape]
        self.photos = course.source / ALBUM

    def start(self):
        super().start()
        say(f"  making {self.shape[0]} photos")
        subprocess.run([example("ferry-pictures", "album"), self.photos, *self.shape], check=True)
        send = [self.bins / "ferry", "send", self.photos, "--to", "race", "--progress", "never"]
        home = {"FERRY_HOME": str(self.homes[0])}
        subprocess.run(send, env=os.environ | home, check=True, stdout=self.log.file, stderr=self.log.file)
        remove(self.photos)
        self.names = sorted(path.name for path in (self.inbox / ALBUM).iterdir())
        self.bytes = sum((self.inbox / ALBUM / name).stat().st_size for name in self.names)

    def forget(self):
        """Starts anew, with no small picture of any."""
        self.server.terminate()
        self.server.wait()
        for file in (self.inbox / ".ferry").glob("pictures.db*"):
            file.unlink()
        self.launch()

    def look_into_all(self):
        """Lists the folder until nothing in it is unknown."""
        with self.connected() as connection:
            while json.loads(self.ask(connection, "GET", f"/list/{ALBUM}")[1])["looking"]:
                pass

    def make_small(self):
        """Asks for a small picture of each, by a few connections; gives the seconds until all were there."""
        connections = threading.local()

        def ask(name):
            if not hasattr(connections, "own"):
                connections.own = self.connected().__enter__()
            answer, jpeg = self.ask(connections.own, "GET", f"/thumbs/{ALBUM}/{name}")
            return answer.status == 200 and jpeg.startswith(b"\xff\xd8")

        began = time.perf_counter()
        with ThreadPoolExecutor(6) as browser:
            made = list(browser.map(ask, self.names))
        wall = time.perf_counter() - began
        if not all(made):
            self.log.fail(f"{made.count(False)} photos have no small picture")
        return wall


def thumbnails(course):
    count = course.pick(1_000, 12)
    width, height = course.pick((4_000, 3_000), (800, 600))
    claims, notes = [], []
    for name, preview, least in [("decoded", [], 15), ("by EXIF preview", [PREVIEW], 150)]:
        course.need(ram=12 * GIB)
        with Album(course, count, width, height, *preview) as ferry:
            rates, peaks = [], []
            for number in range(course.rounds):
                ferry.forget()
                rates.append(count / ferry.make_small())
                peaks.append(max(peak_memory([ferry.server]).values()) / MIB)
                say(f"  {name}, round {number + 1}: {rates[-1]:.1f} a second, peak {peaks[-1]:.1f} MiB")
            claims.append(Claim(f"{name}, a second", median(rates), rates, least=least))
            claims.append(Claim(f"{name}: peak of the server, MiB", max(peaks), peaks, most=300))
            notes.append(f"{name}: files of {ferry.bytes / count / 1e6:.1f} MB on average.")
    return Section(
        f"small pictures of {count:,} JPEGs of {width * height / 1e6:.0f} megapixels",
        {},
        claims,
        notes=[
            "Each has other bytes than the others, though twelve have pixels of their own: slopes with noise, a little harder "
            "to decode than photos.",
            "Six connections ask for one after the other, as a browser does, over HTTPS, and a ferryd that has been started anew "
            "makes all of them.",
            *notes,
        ],
    )


def gallery(course):
    count = course.pick(10_000, 400)
    course.need(ram=8 * GIB)
    with Album(course, count, 800, 600, PREVIEW) as ferry:
        ferry.make_small()
        ferry.look_into_all()
        look = ["node", HOUSE / "bench/racing/gallery.mjs", ferry.invite(), ALBUM, str(course.rounds)]
        told = subprocess.run(look, stdout=subprocess.PIPE, stderr=course.log.file, timeout=course.time_limit)
        if told.returncode != 0:
            course.log.fail("the gallery does not stand")
        told, peak = json.loads(told.stdout), max(peak_memory([ferry.server]).values())
    first = [milliseconds / 1000 for milliseconds in told["first"]]
    heaps, own, shared = ([weighed[what] for weighed in told["weighed"]] for what in ("heap", "own", "shared"))
    # By then the first of them has been seen, with all that is made once.
    growth = [max(figures[1:]) / figures[1] for figures in (heaps, own)]
    return Section(
        f"an album of {count:,} photos in Chromium, with small pictures that are there already",
        {},
        [
            Claim("first screen, seconds", median(first), first, most=1.0),
            Claim("the longest of these", max(first), []),
            Claim("JavaScript's memory, the most of all / that after a fifth of the way", growth[0], [], most=1.3),
            Claim("memory that the page's process has for itself, the same", growth[1], [], most=1.3),
        ],
        notes=[
            "The first screen stands when each of its pictures is there, in a browser that has nothing in its cache; the clock "
            "is the page's own, and begins when its address is gone to.",
            f"Then all {told['screens']} screens are scrolled to, down and up again, each when the one before it stands. There were "
            f"{told['tiles']} tiles in the page at first.",
            f"At {len(own)} stops on the way JavaScript's memory was {mib(min(heaps))} to {mib(max(heaps))} MiB, and what the page's "
            f"process had for itself {mib(min(own))} to {mib(max(own))} MiB.",
            f"Chromium keeps decoded pictures as well, in memory of another kind and up to a bound of its own: {mib(shared[0])} MiB at "
            f"first, {mib(max(shared))} MiB at the most, and {mib(told['pressed']['shared'])} MiB after it was told that the machine has "
            "none left.",
            f"Peak of ferryd: {mib(peak)} MiB, with making all small pictures.",
        ],
    )
