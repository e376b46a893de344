#!/usr/bin/env python3
"""Makes the sample files in testdata/photos, testdata/pictures and testdata/awkward.

Run it from the top of the repository:

    pip install pillow
    python3 testdata/generate.py

It deletes those folders and builds them again. It needs a file system
that takes any byte but "/" and NUL in a name, so Linux. Running it twice gives
the same bytes; another Pillow version may encode the pictures differently.
README.md says what each file is for.
"""

import io
import math
import os
import random
import shutil
import struct
import zlib
from pathlib import Path

from PIL import Image, ImageDraw

HERE = Path(__file__).resolve().parent
PHOTOS = HERE / "photos"
PICTURES = HERE / "pictures"
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


# --- pictures that say much, or lie -------------------------------------------

BYTES, TEXT, SHORT, LONG, FRACTION = 1, 2, 3, 4, 5


def directory(entries, at, following=0):
    """A TIFF directory at an offset: {tag: (kind, value)}, with what does not fit behind it."""
    head, tail = struct.pack(">H", len(entries)), b""
    behind = at + 2 + 12 * len(entries) + 4
    for tag, (kind, value) in sorted(entries.items()):
        if kind == TEXT:
            data = value if isinstance(value, bytes) else value.encode() + b"\0"
            count = len(data)
        elif kind == FRACTION:
            data, count = struct.pack(">II", *value), 1
        else:
            data, count = struct.pack(">H" if kind == SHORT else ">I", value), 1
        if len(data) > 4:
            place = struct.pack(">I", behind + len(tail))
            tail += data + b"\0" * (len(data) % 2)
        else:
            place = data.ljust(4, b"\0")
        head += struct.pack(">HHI", tag, kind, count) + place
    return head + struct.pack(">I", following) + tail


def exif_block(first, inner=None, preview=None):
    """EXIF as TIFF: what is said of the picture, of how it was taken, and a small JPEG."""
    first = dict(first)
    if inner:
        first[EXIF_IFD] = (LONG, 0)
    at_inner = 8 + len(directory(first, 8))
    inner_bytes = directory(inner, at_inner) if inner else b""
    at_behind = at_inner + len(inner_bytes)
    if inner:
        first[EXIF_IFD] = (LONG, at_inner)
    behind = b""
    if preview:
        entries = {0x0103: (SHORT, 6), 0x0201: (LONG, 0), 0x0202: (LONG, len(preview))}
        length = len(directory(entries, at_behind))
        entries[0x0201] = (LONG, at_behind + length)
        behind = directory(entries, at_behind) + preview
    start = b"MM\0*" + struct.pack(">I", 8)
    return start + directory(first, 8, at_behind if preview else 0) + inner_bytes + behind


def jpeg(image, **options):
    out = io.BytesIO()
    image.save(out, "JPEG", **{"quality": 85, **options})
    return out.getvalue()


def with_exif(data, block):
    """A JPEG with this EXIF in front of everything else."""
    segment = b"Exif\0\0" + block
    return data[:2] + b"\xff\xe1" + struct.pack(">H", len(segment) + 2) + segment + data[2:]


def chunk(name, data):
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


def heif(block):
    """No picture, but the boxes of one, with this EXIF."""

    def box(name, data):
        return struct.pack(">I", len(data) + 8) + name + data

    kind = box(b"ftyp", b"heic\0\0\0\0mif1heic")
    item = struct.pack(">I", 0) + block

    def meta(offset):
        info = box(b"infe", struct.pack(">IHH", 2 << 24, 7, 0) + b"Exif\0")
        infos = box(b"iinf", struct.pack(">IH", 0, 1) + info)
        place = struct.pack(">IBBH", 1 << 24, 0x44, 0, 1) + struct.pack(">HHHHII", 7, 0, 0, 1, offset, len(item))
        return box(b"meta", struct.pack(">I", 0) + infos + box(b"iloc", place))

    return kind + meta(len(kind) + len(meta(0)) + 8) + box(b"mdat", item)


CAMERA = {MAKE: (TEXT, "Ferry"), MODEL: (TEXT, "Sample Camera II"), ORIENTATION: (SHORT, 1)}
TAKEN = {
    0x829A: (FRACTION, (1, 250)),
    0x829D: (FRACTION, (28, 10)),
    0x8827: (SHORT, 400),
    DATETIME_ORIGINAL: (TEXT, "2024:06:30 23:59:58"),
    0x9011: (TEXT, "+02:00"),
    0x9291: (TEXT, "25"),
    0x920A: (FRACTION, (350, 10)),
    0xA405: (SHORT, 52),
    0xA434: (TEXT, "FE 35mm F2.8"),
}


def make_pictures():
    def write_picture(name, data):
        (PICTURES / name).write_bytes(data)

    def converted(image, mode, name, **options):
        out = io.BytesIO()
        image.convert(mode).save(out, name, **options)
        return out.getvalue()

    scene = landscape(600, 400, (70, 130, 200), (225, 235, 245), (0.85, 0.2), (40, 90, 60), SEED + 20)
    red = Image.new("RGB", (160, 120), (200, 30, 30))
    small = Image.new("RGB", (160, 120), (0, 0, 0))
    small.paste(scene.resize((160, 106)), (0, 7))

    # Facts, and a preview with bars, as cameras make it whose pictures have other proportions than 4:3.
    write_picture("camera.jpg", with_exif(jpeg(scene), exif_block(CAMERA, TAKEN, jpeg(small))))
    # The preview shows something else, so that a test can tell which of the two was taken.
    turned = {**CAMERA, ORIENTATION: (SHORT, 6)}
    tall = scene.resize((400, 300))
    write_picture("preview-red.jpg", with_exif(jpeg(tall), exif_block(turned, TAKEN, jpeg(red))))
    # Somebody has cut the picture, and not its preview.
    write_picture("preview-stale.jpg", with_exif(jpeg(scene), exif_block(CAMERA, TAKEN, jpeg(red))))
    write_picture("preview-broken.jpg", with_exif(jpeg(scene), exif_block(CAMERA, TAKEN, jpeg(small)[:900])))

    # Text that acts on terminals and pages, and numbers that are none.
    odd = {
        MAKE: (TEXT, b"\x1b[31mred\x1b[0m\r\n\x07<b>\0"),
        MODEL: (TEXT, "\u202egpj\u200f <script>alert(1)</script>" + "x" * 500),
        ORIENTATION: (SHORT, 99),
    }
    numbers = {
        0x829A: (FRACTION, (1, 0)),
        0x829D: (FRACTION, (0, 0)),
        DATETIME_ORIGINAL: (TEXT, "2024:99:99 ../../.."),
        0xA434: (TEXT, b"\xff\xfe\xfd\xfclens\0"),
    }
    write_picture("hostile-text.jpg", with_exif(jpeg(red), exif_block(odd, numbers)))

    block = exif_block(CAMERA, TAKEN)
    card = orientation_card(1)
    write_picture("exif.png", converted(card, "RGB", "PNG", exif=b"Exif\0\0" + block))
    write_picture("exif.webp", converted(card, "RGB", "WEBP", exif=b"Exif\0\0" + block, quality=80))
    write_picture("exif.heic", heif(block))
    write_picture("exif.dng", block)

    # Other colours than red, green and blue in eight bits.
    write_picture("grey.jpg", jpeg(card.convert("L")))
    write_picture("cmyk.jpg", jpeg(card.convert("CMYK")))
    write_picture("grey-16.png", converted(card.convert("L").point(lambda v: v * 257, "I"), "I;16", "PNG"))
    write_picture("palette.png", converted(card.quantize(32, dither=Image.Dither.NONE), "P", "PNG"))
    grey = card.convert("L").convert("LA")
    grey.putalpha(128)
    write_picture("grey-alpha.png", converted(grey, "LA", "PNG"))
    clear = Image.new("RGBA", (64, 64), (255, 0, 0, 0))
    write_picture("clear.png", converted(clear, "RGBA", "PNG"))
    write_picture("clear.webp", converted(clear, "RGBA", "WEBP", lossless=True))
    blink = [Image.new("RGB", (64, 48), colour) for colour in ((0, 160, 0), (160, 0, 0))]
    out = io.BytesIO()
    blink[0].save(out, "WEBP", save_all=True, append_images=blink[1:], duration=100)
    write_picture("animated.webp", out.getvalue())
    write_picture("restarts.jpg", jpeg(card, restart_marker_blocks=4))
    write_picture("progressive.jpg", jpeg(card, progressive=True))

    # A few bytes that say that they are enormous.
    data = jpeg(red)
    at = data.index(b"\xff\xc0")
    write_picture("huge.jpg", data[: at + 5] + b"\xff\xff\xff\xff" + data[at + 9 :])
    head = struct.pack(">IIBBBBB", 2**31 - 1, 2**31 - 1, 16, 6, 0, 0, 0)
    write_picture("huge.png", b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(b"\0" * 9999)) + chunk(b"IEND", b""))
    # Zeros that are many more than the picture has.
    head = struct.pack(">IIBBBBB", 64, 64, 8, 2, 0, 0, 0)
    bomb = zlib.compress(b"\0" * 8_000_000, 9)
    write_picture("bomb.png", b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", bomb) + chunk(b"IEND", b""))
    write_picture("huge.gif", b"GIF89a\xff\xff\xff\xff\x80\0\0\0\0\0\xff\xff\xff,\0\0\0\0\xff\xff\xff\xff\0\x02\x02D\x01\0;")
    write_picture("huge.webp", b"RIFF\x16\0\0\0WEBPVP8X\x0a\0\0\0\x02\0\0\0" + b"\xff" * 6)


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
    for folder in (PHOTOS, PICTURES, AWKWARD):
        if folder.exists():
            shutil.rmtree(folder)
        folder.mkdir()
    make_photos()
    make_pictures()
    make_awkward()


if __name__ == "__main__":
    main()
