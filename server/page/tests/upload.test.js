// One file's way to the server, with a server that loses bytes, forgets, and lies.

import assert from "node:assert/strict";
import { createHash, randomBytes } from "node:crypto";
import { test } from "node:test";

import { Fault } from "../fault.js";
import { Hashing, SLICE } from "../hashing.js";
import { Known } from "../known.js";
import { keyOf, Memory } from "../memory.js";
import { Sha256 } from "../sha256.js";
import { Uploads } from "../upload.js";

const digestOf = (bytes) => createHash("sha256").update(bytes).digest("hex");

/** What a browser's storage is to `Memory`. */
class Storage extends Map {
    getItem = (key) => this.get(key) ?? null;
    setItem = (key, value) => this.set(key, value);
}

/** Digests at once, and counts how many bytes it was given. */
class Hashers {
    bytes = 0;
    begin() {
        const hash = new Sha256();
        return {
            update: async (bytes) => {
                this.bytes += bytes.byteLength;
                hash.update(new Uint8Array(bytes));
            },
            digest: async () => hash.digest(),
            forget() {},
        };
    }
}

/** A server in memory. `calls` tells what was asked of it; `before(call)` may fail a call. */
class Tus {
    calls = [];
    places = new Map();
    files = new Map();
    before = () => {};
    receiptOf = (digest) => digest;
    #last = 0;

    async create({ name, size, digest }, body) {
        this.#call(`create${body ? ` with ${body.byteLength}` : ""}${digest ? " digest" : ""}`);
        if (digest && this.files.get(name) === digest)
            return { url: "/uploads/held", offset: size, receipt: { digest, held: true, name } };
        const url = `/uploads/${++this.#last}`;
        this.places.set(url, { name, size, bytes: Buffer.alloc(0), receipt: null });
        return body || size === 0 ? this.#add(url, body ?? new ArrayBuffer(0), digest) : this.#tell(url);
    }

    async ask(url) {
        this.#call("ask");
        return this.places.has(url) ? this.#tell(url) : null;
    }

    async append(url, offset, bytes, digest) {
        this.#call(`append ${offset}`);
        if (!this.places.has(url)) throw new Fault("again", { detail: "gone" });
        if (this.places.get(url).bytes.length !== offset) throw new Fault("again", { detail: "another offset" });
        return this.#add(url, bytes, digest);
    }

    async remove(url) {
        this.#call("remove");
        this.places.delete(url);
    }

    #add(url, bytes, claimed) {
        const place = this.places.get(url);
        place.bytes = Buffer.concat([place.bytes, Buffer.from(bytes)]);
        if (place.bytes.length === place.size) {
            const digest = digestOf(place.bytes);
            if (claimed !== digest) {
                this.places.delete(url);
                throw new Fault("refused", { code: "digest-mismatch" });
            }
            place.receipt = { digest: this.receiptOf(digest), held: false, name: place.name };
            this.files.set(place.name, digest);
        }
        return this.#tell(url);
    }

    #tell(url) {
        const { bytes, receipt } = this.places.get(url);
        return { url, offset: bytes.length, receipt };
    }

    #call(call) {
        this.calls.push(call);
        this.before(call, this);
    }
}

function rig({ here = [] } = {}) {
    const tus = new Tus();
    const hashers = new Hashers();
    const storage = new Storage();
    const open = () => {
        const known = new Known(
            async (files) => files.map(({ name }) => here.includes(name)),
            () => [],
        );
        return new Uploads({ tus, hashers, known, memory: new Memory(storage) });
    };
    return { tus, hashers, storage, open, uploads: open() };
}

const chosen = (bytes, name = "film.mp4") => ({ name, file: new File([bytes], name, { lastModified: 1 }), tries: 0 });
const going = new AbortController().signal;
const send = (uploads, item, report = () => {}, signal = going) => uploads.send(item, report, signal);

/** Two slices, and a third that is not full. */
const FILM = randomBytes(2 * SLICE + 4_711);
const PHOTO = randomBytes(70_001);

test("a photo is one request, which brings its digest", async () => {
    const { tus, uploads } = rig();
    const receipt = await send(uploads, chosen(PHOTO));
    assert.equal(receipt.digest, digestOf(PHOTO));
    assert.deepEqual(tus.calls, ["create with 70001 digest"]);
});

test("an empty file arrives", async () => {
    const { uploads } = rig();
    assert.equal((await send(uploads, chosen(""))).digest, digestOf(""));
});

test("what is there already is recognised before a byte is sent", async () => {
    for (const bytes of [PHOTO, FILM]) {
        const { tus, uploads } = rig({ here: ["film.mp4"] });
        tus.files.set("film.mp4", digestOf(bytes));
        const receipt = await send(uploads, chosen(bytes));
        assert.equal(receipt.held, true);
        assert.deepEqual(tus.calls, ["create digest"]);
    }
});

test("another content of the same name and size is sent", async () => {
    for (const bytes of [PHOTO, FILM]) {
        const { tus, uploads } = rig({ here: ["film.mp4"] });
        tus.files.set("film.mp4", digestOf("other"));
        assert.equal((await send(uploads, chosen(bytes))).held, false);
        assert.equal(tus.files.get("film.mp4"), digestOf(bytes));
    }
});

test("a film goes in slices, is read once for its digest, and its progress is told", async () => {
    const { tus, hashers, uploads, storage } = rig();
    const told = [];
    await send(uploads, chosen(FILM), ({ kept }) => kept && told.push(kept));
    assert.deepEqual(tus.calls, ["create", "append 0", `append ${SLICE}`, `append ${2 * SLICE}`]);
    assert.deepEqual(told, [SLICE, 2 * SLICE]);
    assert.equal(hashers.bytes, FILM.length);
    assert.equal(storage.get("ferry.uploads"), "[]", "a finished upload is not remembered");
});

test("a server that has lost bytes gets them again, and no byte is digested twice", async () => {
    const { tus, hashers, uploads } = rig();
    const item = chosen(FILM);
    let cut = true;
    tus.before = (call) => {
        if (call !== `append ${2 * SLICE}` || !cut) return;
        cut = false;
        const place = [...tus.places.values()][0];
        // Not even a whole slice is left.
        place.bytes = place.bytes.subarray(0, SLICE - 1_000);
        throw new Fault("unreachable");
    };
    await assert.rejects(send(uploads, item), { kind: "unreachable" });
    assert.equal((await send(uploads, item)).digest, digestOf(FILM));
    assert.deepEqual(tus.calls.slice(4), ["ask", `append ${SLICE - 1_000}`, `append ${2 * SLICE - 1_000}`]);
    assert.equal(hashers.bytes, FILM.length);
});

test("a server that has forgotten an upload is told of it anew", async () => {
    const { tus, hashers, uploads } = rig();
    const item = chosen(FILM);
    let cut = true;
    tus.before = (call) => {
        if (call !== `append ${SLICE}` || !cut) return;
        cut = false;
        tus.places.clear();
        throw new Fault("unreachable");
    };
    await assert.rejects(send(uploads, item), { kind: "unreachable" });
    assert.equal((await send(uploads, item)).digest, digestOf(FILM));
    assert.deepEqual(tus.calls.slice(3, 6), ["ask", "create", "append 0"]);
    assert.equal(hashers.bytes, FILM.length);
});

test("after a reload it goes on, and what was sent before is read here for the digest", async () => {
    const { tus, hashers, uploads, open } = rig();
    tus.before = (call) => {
        if (call === `append ${2 * SLICE}`) throw new Fault("unreachable");
    };
    await assert.rejects(send(uploads, chosen(FILM)), { kind: "unreachable" });
    tus.before = () => {};
    tus.calls.length = hashers.bytes = 0;
    const receipt = await send(open(), chosen(FILM));
    assert.equal(receipt.digest, digestOf(FILM));
    assert.deepEqual(tus.calls, ["ask", `append ${2 * SLICE}`]);
    assert.equal(hashers.bytes, FILM.length);
});

test("the last answer is lost: the receipt is asked for, whether or not the server remembers the upload", async () => {
    for (const remembers of [true, false]) {
        const { tus, uploads } = rig();
        const item = chosen(FILM);
        const { append } = tus;
        tus.append = async (url, offset, ...rest) => {
            await append.call(tus, url, offset, ...rest);
            if (offset === 2 * SLICE) {
                if (!remembers) tus.places.clear();
                throw new Fault("unreachable");
            }
            return tus.places.get(url) && { url, offset: offset + SLICE, receipt: null };
        };
        await assert.rejects(send(uploads, item), { kind: "unreachable" });
        tus.calls.length = 0;
        assert.equal((await send(uploads, item)).digest, digestOf(FILM));
        assert.deepEqual(tus.calls, remembers ? ["ask"] : ["ask", "create digest"]);
    }
});

test("another file's bytes are never joined to this one's: all over again", async () => {
    const { tus, uploads, open } = rig();
    tus.before = (call) => {
        if (call === `append ${SLICE}`) throw new Fault("unreachable");
    };
    await assert.rejects(send(uploads, chosen(FILM)), { kind: "unreachable" });
    tus.before = () => {};
    // Same name, size and time, another content.
    const other = Buffer.from(FILM);
    other[5] ^= 1;
    const item = chosen(other);
    const next = open();
    await assert.rejects(send(next, item), { kind: "again" });
    assert.equal((await send(next, item)).digest, digestOf(other));
    assert.equal(tus.files.get("film.mp4"), digestOf(other));
});

test("a receipt with another digest is a failure, and said to be one", async () => {
    for (const bytes of [PHOTO, FILM]) {
        const { tus, uploads } = rig();
        tus.receiptOf = () => digestOf("something else");
        await assert.rejects(send(uploads, chosen(bytes)), { kind: "differs" });
    }
});

test("a file that cannot be read any more says so", async () => {
    const { uploads } = rig();
    for (const bytes of [PHOTO, FILM]) {
        const item = chosen(bytes);
        const gone = { arrayBuffer: async () => Promise.reject(new DOMException("gone", "NotReadableError")) };
        Object.defineProperty(item.file, "slice", { value: () => gone });
        await assert.rejects(send(uploads, item), { kind: "unreadable" });
    }
});

test("after a refusal that may have been lost with the connection, it is announced without its body", async () => {
    const { tus, uploads } = rig();
    const item = chosen(PHOTO);
    item.tries = 1;
    await send(uploads, item);
    assert.deepEqual(tus.calls, ["create digest", "append 0"]);
});

test("a pause ends a try, and the next one goes on", async () => {
    const { tus, hashers, uploads } = rig();
    const item = chosen(FILM);
    const abort = new AbortController();
    const { append } = tus;
    tus.append = async (...args) => {
        abort.signal.throwIfAborted();
        const place = await append.apply(tus, args);
        if (args[1] === SLICE) abort.abort();
        return place;
    };
    await assert.rejects(send(uploads, item, () => {}, abort.signal));
    tus.append = append;
    await send(uploads, item);
    assert.equal(hashers.bytes, FILM.length);
});

test("a pause ends reading, too, and nothing is read again afterwards", async () => {
    const { hashers, uploads } = rig({ here: ["film.mp4"] });
    const item = chosen(FILM);
    const abort = new AbortController();
    const report = ({ step }) => step === "checking" && abort.abort();
    await assert.rejects(send(uploads, item, report, abort.signal), { name: "AbortError" });
    assert.equal(hashers.bytes, SLICE);
    await send(uploads, item);
    assert.equal(hashers.bytes, FILM.length);
});

test("a cancelled upload is taken back from the server", async () => {
    const { tus, uploads, storage } = rig();
    const item = chosen(FILM);
    tus.before = (call) => {
        if (call === `append ${SLICE}`) throw new Fault("unreachable");
    };
    await assert.rejects(send(uploads, item));
    await uploads.cancel(item);
    assert.equal(tus.places.size, 0);
    assert.equal(storage.get("ferry.uploads"), "[]");
});

test("a digest is the same however its file is handed over", async () => {
    for (let round = 0; round < 30; round++) {
        const bytes = randomBytes(3_000 + Math.floor(Math.random() * 9_000));
        const hashers = new Hashers();
        const hashing = new Hashing(new File([bytes], "x"), hashers);
        // Pieces from anywhere, as after restarts and reloads.
        for (let piece = 0; piece < 12; piece++) {
            const from = Math.floor(Math.random() * bytes.length);
            const to = Math.min(bytes.length, from + Math.floor(Math.random() * 3_000));
            const taken = hashing.take(from, Uint8Array.from(bytes.subarray(from, to)).buffer);
            if (Math.random() < 0.7) await taken;
        }
        assert.equal(await hashing.digest(), digestOf(bytes));
        assert.equal(hashers.bytes, bytes.length);
    }
});

test("what may be there is asked in batches, and asked anew after a failure", async () => {
    const asked = [];
    const items = Array.from({ length: 2_500 }, (_, i) => ({ name: `${i}.jpg`, file: { size: i } }));
    let fail = true;
    const ask = async (files) => {
        asked.push(files.length);
        if (fail) throw new Fault("unreachable");
        return files.map(({ size }) => size % 2 === 0);
    };
    const known = new Known(ask, () => items);
    await assert.rejects(known.mayBeHere(items[0]), { kind: "unreachable" });
    await new Promise((done) => setImmediate(done));
    fail = false;
    for (const item of items) assert.equal(await known.mayBeHere(item), item.file.size % 2 === 0);
    assert.deepEqual(asked, [1_000, 1_000, 1_000, 500]);
});

test("what an earlier visit has left is told of until it has gone on, has expired or is forgotten", async () => {
    let now = 0;
    const { tus, storage, uploads } = rig();
    const memory = new Memory(storage, () => now);
    const [first, second, third] = ["1.mp4", "2.mp4", "3.mp4"].map((name) => chosen(FILM, name));
    const queue = new Set();
    const isHere = (key) => queue.has(key);
    for (const item of [first, second, third]) memory.note(item, `/uploads/${item.name}`);
    assert.equal(memory.interrupted(isHere).length, 0, "nobody has looked back: they are this visit's own");

    // What is on its way here is none of them.
    const next = new Memory(storage, () => now);
    queue.add(keyOf(third));
    next.lookBack();
    assert.equal(next.interrupted(isHere).length, 2);
    // A visit of its own notes more, which is not left by anybody.
    const own = chosen(FILM, "4.mp4");
    next.note(own, "/uploads/4");
    assert.equal(next.interrupted(isHere).length, 2);
    // Chosen again it goes on, and its end is that of the telling.
    queue.add(keyOf(first));
    assert.equal(next.interrupted(isHere).length, 1);
    next.forget(first);
    queue.delete(keyOf(first));
    assert.equal(next.interrupted(isHere).length, 1);
    assert.deepEqual(next.forgetInterrupted(isHere), ["/uploads/2.mp4"]);
    assert.equal(next.interrupted(isHere).length, 0);
    assert.equal(next.recall(second), null);
    assert.equal(next.recall(own), "/uploads/4", "what is under way is not forgotten");

    // What may be on its way elsewhere is not spoken of, and nothing happens to it.
    const away = new Memory(storage, () => now);
    away.lookBack();
    const before = storage.get("ferry.uploads");
    away.lookAway();
    assert.deepEqual([away.interrupted(isHere), away.forgetInterrupted(isHere)], [[], []]);
    assert.equal(storage.get("ferry.uploads"), before);

    // What is too old for the server is no upload any more.
    const last = new Memory(storage, () => now);
    last.lookBack();
    assert.equal(last.interrupted(isHere).length, 1);
    now = 8 * 86_400_000;
    assert.equal(last.interrupted(isHere).length, 0);
    storage.set("ferry.uploads", "{{{");
    last.lookBack();
    assert.equal(last.interrupted(isHere).length, 0);

    // As the uploads themselves note and forget it.
    now = Date.now();
    storage.clear();
    tus.before = (call) => {
        if (call === `append ${SLICE}`) throw new Fault("unreachable");
    };
    await assert.rejects(send(uploads, chosen(FILM)), { kind: "unreachable" });
    last.lookBack();
    assert.equal(last.interrupted(() => false).length, 1);
    tus.before = () => {};
    await send(uploads, chosen(FILM));
    assert.equal(last.interrupted(() => false).length, 0);
});

test("what is remembered has bounds, and outlives neither its days nor a broken storage", () => {
    let now = 0;
    const storage = new Storage();
    const memory = new Memory(storage, () => now);
    const item = (n) => ({ name: `${n}`, file: { size: 1, lastModified: 1 } });
    for (let n = 0; n < 300; n++) memory.note(item(n), `/uploads/${n}`);
    assert.equal(memory.recall(item(99)), null);
    assert.equal(memory.recall(item(100)), "/uploads/100");
    now = 8 * 86_400_000;
    assert.equal(memory.recall(item(100)), null);
    storage.set("ferry.uploads", "{{{");
    assert.equal(memory.recall(item(100)), null);
    storage.setItem = () => {
        throw new DOMException("full", "QuotaExceededError");
    };
    memory.note(item(1), "/uploads/1");
});
