#!/usr/bin/env python3
"""Makes the sample files in testdata/photos and testdata/awkward.

Run it from the top of the repository:

    pip install pillow
    python3 testdata/generate.py

It deletes those two folders and builds them again. It needs a file system
that takes any byte but "/" and NUL in a name, so Linux. Running it twice gives
the same bytes; another Pillow version may encode the pictures differently.
README.md says what each file is for.
"""

import io
import math
import os
import random
import shutil
from pathlib import Path

from PIL import Image, ImageDraw

HERE = Path(__file__).resolve().parent
PHOTOS = HERE / "photos"
AWKWARD = HERE / "awkward"
SEED = 20240316

# EXIF tags
MAKE, MODEL, ORIENTATION, DATETIME = 0x010F, 0x0110, 0x0112, 0x0132
EXIF_IFD, DATETIME_ORIGINAL = 0x8769, 0x9003

# How an upright picture has to be stored so that a viewer which obeys the
# Orientation tag shows it upright again.
STORED = {
    1: None,
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_90,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_270,
}


# --- drawing ---------------------------------------------------------------


def mix(a, b, t):
    """The colour a fraction t of the way from a to b."""
    return tuple(round(x + (y - x) * t) for x, y in zip(a, b))


def landscape(width, height, top, bottom, sun, hills, seed):
    """A sky from top to bottom, a sun at (x, y) as fractions, rows of hills."""
    rng = random.Random(seed)
    image = Image.new("RGB", (width, height))
    draw = ImageDraw.Draw(image)
    for y in range(height):
        draw.line([(0, y), (width, y)], fill=mix(top, bottom, y / height))

    cx, cy, r = sun[0] * width, sun[1] * height, height * 0.09
    draw.ellipse([cx - r, cy - r, cx + r, cy + r], fill=(255, 236, 170))

    for row in range(4):
        base = height * (0.58 + 0.11 * row)
        waves = [
            (height * (0.02 + 0.05 * rng.random()), height * (0.25 + rng.random()), 7 * rng.random())
            for _ in range(3)
        ]
        colour = mix(bottom, hills, 0.35 + 0.65 * row / 3)
        for x in range(width):
            y = round(base + sum(size * math.sin(x / length + shift) for size, length, shift in waves))
            draw.line([(x, y), (x, height)], fill=colour)
    return image


def orientation_card(number):
    """A scene with an upright letter F and as many dots as the number."""
    image = landscape(320, 240, (70, 130, 200), (225, 235, 245), (0.85, 0.2), (40, 90, 60), SEED + number)
    draw = ImageDraw.Draw(image)
    draw.rectangle([110, 40, 134, 180], fill=(170, 30, 40))
    draw.rectangle([110, 40, 200, 64], fill=(170, 30, 40))
    draw.rectangle([110, 96, 180, 118], fill=(170, 30, 40))
    for i in range(number):
        draw.ellipse([20 + 36 * i, 206, 40 + 36 * i, 226], fill=(255, 255, 255))
    return image


# --- photos ----------------------------------------------------------------


def exif_for(date, orientation=1):
    exif = Image.Exif()
    exif[MAKE] = "Ferry"
    exif[MODEL] = "Sample Camera"
    exif[DATETIME] = date
    exif[ORIENTATION] = orientation
    exif.get_ifd(EXIF_IFD)[DATETIME_ORIGINAL] = date
    return exif


def make_photos():
    for number, transform in STORED.items():
        image = orientation_card(number)
        if transform is not None:
            image = image.transpose(transform)
        image.save(
            PHOTOS / f"IMG_20240316_08150{number}.jpg",
            quality=85,
            exif=exif_for(f"2024:03:16 08:15:0{number}", number),
        )

    image = landscape(960, 640, (60, 40, 110), (250, 160, 110), (0.3, 0.5), (35, 30, 60), SEED + 10)
    image.save(
        PHOTOS / "IMG_20240502_203344.jpg",
        quality=85,
        progressive=True,
        exif=exif_for("2024:05:02 20:33:44"),
    )

    image = landscape(6000, 400, (50, 120, 190), (235, 225, 200), (0.7, 0.25), (50, 80, 50), SEED + 11)
    image.save(PHOTOS / "PANO_20240815_190533.jpg", quality=80, exif=exif_for("2024:08:15 19:05:33"))

    make_sticker().save(PHOTOS / "Sticker_20240620-141500.png", optimize=True)

    image = landscape(640, 480, (20, 40, 80), (120, 160, 190), (0.6, 0.3), (15, 40, 45), SEED + 12)
    image.save(PHOTOS / "IMG-20240801-WA0007.webp", quality=80, method=6)

    make_sunrise(PHOTOS / "Sunrise 2024-09-01 06.12.30.gif")

    # Only the first 60 in 100 bytes of a good JPEG.
    image = landscape(640, 480, (120, 170, 220), (240, 240, 230), (0.2, 0.2), (90, 110, 50), SEED + 13)
    whole = io.BytesIO()
    image.save(whole, "JPEG", quality=85, exif=exif_for("2024:10:05 11:20:00"))
    data = whole.getvalue()
    (PHOTOS / "IMG_20241005_112000.jpg").write_bytes(data[: len(data) * 60 // 100])

    # A PNG whose name says JPEG.
    image = landscape(320, 240, (90, 90, 120), (200, 190, 210), (0.5, 0.3), (50, 40, 60), SEED + 14)
    image.save(PHOTOS / "IMG_20241112_170901.jpg", "PNG", optimize=True)


def make_sticker():
    """A smiling face on a clear background, with an edge that fades out."""
    size, middle = 240, 120
    image = Image.new("RGBA", (size, size), (0, 0, 0, 0))
    draw = ImageDraw.Draw(image)
    for radius in range(115, 90, -1):
        alpha = round(255 * (115 - radius) / 25)
        box = [middle - radius, middle - radius, middle + radius, middle + radius]
        draw.ellipse(box, fill=(250, 200, 60, alpha))
    draw.ellipse([30, 30, 210, 210], fill=(250, 200, 60, 255))
    draw.ellipse([82, 80, 100, 110], fill=(70, 40, 20, 255))
    draw.ellipse([140, 80, 158, 110], fill=(70, 40, 20, 255))
    draw.arc([75, 85, 165, 170], 20, 160, fill=(70, 40, 20, 255), width=8)
    return image


def make_sunrise(path):
    frames = []
    for i in range(10):
        t = i / 9
        image = landscape(
            160, 120, mix((20, 20, 60), (90, 160, 220), t), mix((90, 50, 70), (240, 220, 180), t),
            (0.2 + 0.6 * t, 0.7 - 0.5 * t), (30, 60, 40), SEED + 15,
        )
        frames.append(image.quantize(64, dither=Image.Dither.NONE))
    frames[0].save(path, save_all=True, append_images=frames[1:], duration=120, loop=0)


# --- awkward names and sizes -----------------------------------------------

WORDS = "anchor bay buoy cable cargo deck dock ferry harbour hull island keel ladder pier rope sail tide wave".split()

# Name, and what the file says inside.
NAMES = [
    ("name with  spaces.txt", "spaces, two of them in a row"),
    ("-leading-dash.txt", "a leading dash"),
    (".leading-dot", "a leading dot"),
    ("long-" + "n" * 246 + ".txt", "a name of 255 bytes"),
    ("caf\u00e9.txt", "e with acute as one code point (NFC)"),
    ("cafe\u0301.txt", "e and a combining acute (NFD)"),
    ("boat-\u26f4\ufe0f-\U0001f600.txt", "emoji"),
    ("right-to-left-\u200f-mark.txt", "a right-to-left mark (U+200F)"),
    ("back\\slash.txt", "a backslash"),
    ("colon:12:30.txt", "colons"),
    ("aux.h", "a name Windows keeps for a device"),
    ("a\\x2db.mount", "a backslash, then x2d, as systemd writes unit names"),
    ("trailing-dot.", "a trailing dot"),
    ("trailing-space ", "a trailing space"),
    ("new\nline.txt", "a newline"),
    ("ansi-\x1b[31mred\x1b[0m.txt", "ANSI escapes that turn a terminal red"),
    ('double"quote.txt', "a double quote"),
    ("%2e%2e", "two dots as a web address would write them"),
]

SIZES = [65535, 65536, 65537, 262143, 262144, 262145, 1048575, 1048576, 1048577]


def text_of_size(size):
    """Numbered lines of words, cut to exactly size bytes."""
    # random() is the one method Python promises to keep the same for a seed.
    rng = random.Random(SEED + size)
    lines, total, number = [], 0, 0
    while total < size:
        words = " ".join(WORDS[int(rng.random() * len(WORDS))] for _ in range(10))
        line = f"{number:06} {words}\n".encode()
        lines.append(line)
        total += len(line)
        number += 1
    return b"".join(lines)[:size]


def write(path, data, mode=0o644):
    # A later name must not land on an earlier file, as it would on a file
    # system that folds é and e + accent into one.
    with open(path, "xb") as file:
        file.write(data)
    path.chmod(mode)


def make_awkward():
    write(AWKWARD / "empty", b"")
    write(AWKWARD / "one-byte", b"1")

    for name, what in NAMES:
        write(AWKWARD / name, f"The name of this file has: {what}.\n".encode())

    for size in SIZES:
        write(AWKWARD / f"size-{size}.txt", text_of_size(size))

    folder = AWKWARD / "deep"
    for level in range(1, 21):
        folder = folder / f"level-{level:02}"
    folder.mkdir(parents=True)
    write(folder / "bottom.txt", b"Twenty-one folders down.\n")

    write(AWKWARD / "executable.sh", b"#!/bin/sh\necho ferry\n", 0o755)
    write(AWKWARD / "read-only.txt", b"Mode 0444.\n", 0o444)

    (AWKWARD / "link-relative").symlink_to("size-65536.txt")
    (AWKWARD / "link-dangling").symlink_to("no-such-file")
    (AWKWARD / "link-absolute").symlink_to("/etc/hostname")


def main():
    os.umask(0o022)
    for folder in (PHOTOS, AWKWARD):
        if folder.exists():
            shutil.rmtree(folder)
        folder.mkdir()
    make_photos()
    make_awkward()


if __name__ == "__main__":
    main()
