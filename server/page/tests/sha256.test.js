// The page's SHA-256 says what node's says.

import assert from "node:assert/strict";
import { createHash, randomBytes, randomInt } from "node:crypto";
import { test } from "node:test";

import { Sha256 } from "../sha256.js";

const theirs = (...pieces) => pieces.reduce((hash, piece) => hash.update(piece), createHash("sha256")).digest("hex");

test("every length up to 300, so every way in which a last block can be full", () => {
    const bytes = randomBytes(300);
    for (let length = 0; length <= 300; length++) {
        const piece = bytes.subarray(0, length);
        assert.equal(new Sha256().update(piece).digest(), theirs(piece), `${length} bytes`);
    }
});

test("it agrees with crypto.subtle, which the page uses for small files", async () => {
    for (const length of [0, 1, 55, 56, 63, 64, 65, 119, 120, 128, 1_000_003]) {
        const bytes = randomBytes(length);
        const digest = Buffer.from(await crypto.subtle.digest("SHA-256", bytes)).toString("hex");
        assert.equal(new Sha256().update(bytes).digest(), digest, `${length} bytes`);
    }
});

test("however the bytes are cut", () => {
    for (let round = 0; round < 500; round++) {
        const bytes = randomBytes(randomInt(2_000));
        const hash = new Sha256();
        const cuts = [];
        for (let at = 0; at < bytes.length;) {
            const length = randomInt(round % 2 ? 200 : 3);
            cuts.push(length);
            hash.update(bytes.subarray(at, at + length));
            at += length;
        }
        assert.equal(hash.digest(), theirs(bytes), `${bytes.length} bytes, cut into ${cuts}`);
    }
});

test("bytes in the middle of a larger buffer", () => {
    const buffer = randomBytes(4_096).buffer;
    const bytes = new Uint8Array(buffer, 13, 1_001);
    assert.equal(new Sha256().update(bytes).digest(), theirs(bytes));
});

// A length of 512 MiB is 2^32 bits: the upper word of the length counts from there on.
test("more than 512 MiB", { timeout: 120_000 }, () => {
    const piece = Buffer.alloc(1 << 20, "ferry");
    const [ours, wanted] = [new Sha256(), createHash("sha256")];
    for (let sent = 0; sent < 513; sent++) {
        ours.update(piece);
        wanted.update(piece);
    }
    ours.update(piece.subarray(0, 61));
    wanted.update(piece.subarray(0, 61));
    assert.equal(ours.digest(), wanted.digest("hex"));
});
