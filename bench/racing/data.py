"""What is sent: random bytes, in files of the same sizes every time, so that results can be compared."""

import hashlib
import os
import random
from dataclasses import dataclass
from pathlib import Path

from .tools import KIB, MIB, human, run_quietly, say

FILES_PER_FOLDER = 100


@dataclass
class File:
    path: Path
    payload: int
    digest: bytes

    def arrived_in(self, folder):
        arrived = list(folder.iterdir())
        return [path.name for path in arrived] == [self.path.name] and sha256(arrived[0]) == self.digest


@dataclass
class Tree:
    """A folder; what is in it is sent."""

    path: Path
    payload: int
    files: int

    def arrived_in(self, folder):
        return run_quietly("diff", "-r", "--no-dereference", self.path, folder).returncode == 0


def one_file(path, length):
    say(f"  making a file of {human(length)}")
    path.parent.mkdir(parents=True, exist_ok=True)
    return File(path, length, fill(path, length))


def several_files(path, count, length):
    say(f"  making {count} files of {human(length)}")
    path.mkdir(parents=True)
    for number in range(count):
        fill(path / f"{number:02}.bin", length)
    return Tree(path, count * length, count)


def fill(path, length):
    digest, left = hashlib.sha256(), length
    with open(path, "wb") as file:
        while left:
            piece = os.urandom(min(left, MIB))
            file.write(piece)
            digest.update(piece)
            left -= len(piece)
    return digest.digest()


def small_files(path, count):
    return tree(path, count, lambda number, dice: dice.randint(KIB, 8 * KIB))


def photos(path, count):
    return tree(path, count, lambda number, dice: dice.randint(2_000_000, 6_000_000))


def specks(path, count):
    """Every other file is empty, the others have 1 to 64 bytes."""
    return tree(path, count, lambda number, dice: dice.randint(1, 64) * (number % 2))


def tree(path, count, size):
    say(f"  making {count:,} files")
    dice, total = random.Random(7117), 0
    for number in range(count):
        folder = f"{path}/{number // FILES_PER_FOLDER:05}"
        if number % FILES_PER_FOLDER == 0:
            os.makedirs(folder)
        length = size(number, dice)
        with open(f"{folder}/{number:07}.bin", "wb") as file:
            file.write(os.urandom(length))
        total += length
    return Tree(path, total, count)


def folders(count):
    return -(-count // FILES_PER_FOLDER)


def sha256(path):
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").digest()
