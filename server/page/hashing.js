// Digests of files: who computes them (a few workers), and how far each file has been read for it.

import { Fault } from "./fault.js";
import { hex } from "./hex.js";

/** What is read, digested and sent at a time. A file up to this size is one piece, and one request. */
export const SLICE = 8 * 1024 * 1024;

/** Reads the bytes between two positions, or says by name that they cannot be read (any more). */
export async function read(file, from, to) {
    let bytes;
    try {
        bytes = await file.slice(from, to).arrayBuffer();
    } catch (error) {
        // A browser notices by its time that a file is no longer the one that was chosen.
        throw new Fault("unreadable", { detail: error.message });
    }
    if (bytes.byteLength !== to - from) throw new Fault("unreadable", { detail: "" });
    return bytes;
}

/** Bytes that are all there: the browser does that itself, six times as fast, and on a thread of its own. */
export const digestOf = async (bytes) => hex(await crypto.subtle.digest("SHA-256", bytes));

/** A few workers. One core is left for the page and the network, and more than four would wait for the disk. */
export class Hashers {
    #workers = [];
    #last = 0;
    /** What was asked and is not answered, by the file's number: a worker answers in the order in which it was asked. */
    #asked = new Map();
    #broken = false;

    constructor(count = Math.min(4, Math.max(1, (navigator.hardwareConcurrency ?? 2) - 1))) {
        for (let i = 0; i < count; i++) {
            const worker = new Worker(new URL("./hasher.js", import.meta.url), { type: "module" });
            worker.onmessage = ({ data }) => this.#asked.get(data.id).shift().answer(data.digest);
            worker.onerror = () => this.#fail();
            this.#workers.push(worker);
        }
    }

    /** A new state, at its first byte. All bytes of one file go to one worker. */
    begin() {
        const id = ++this.#last;
        const worker = this.#workers[id % this.#workers.length];
        const ask = (message, given = []) =>
            new Promise((answer, fail) => {
                if (this.#broken) return fail(new Fault("broken"));
                if (!this.#asked.has(id)) this.#asked.set(id, []);
                this.#asked.get(id).push({ answer, fail });
                worker.postMessage({ id, ...message }, given);
            });
        return {
            /** The buffer is given away. The promise is kept once it is digested, so that few wait at a time. */
            update: (bytes) => ask({ ask: "update", bytes }, [bytes]),
            digest: () => ask({ ask: "digest" }).finally(() => this.#asked.delete(id)),
            forget: () => worker.postMessage({ id, ask: "forget" }),
        };
    }

    /** A worker has not started, or has a fault: nobody waits for its answers. */
    #fail() {
        this.#broken = true;
        for (const waiting of this.#asked.values()) {
            waiting.splice(0).forEach(({ fail }) => fail(new Fault("broken")));
        }
    }
}

/**
 * The digest of one file, which is read once wherever that is possible: whoever sends a piece hands it over. Where
 * sending and digesting are at different places, each goes its own way. A server that lost bytes is sent them again, and
 * what is digested stays so; what a server has from an earlier visit is read here, while the rest is on its way.
 */
export class Hashing {
    #hash;
    #file;
    /** Bytes digested. */
    #done = 0;
    /** How far it should be by now: the end of what was handed over. */
    #wanted = 0;
    #work = null;
    #digest = null;

    constructor(file, hashers) {
        this.#file = file;
        this.#hash = hashers.begin();
    }

    get done() {
        return this.#done;
    }

    /** Takes a piece that was read to be sent; kept once that piece is digested or left for later. */
    async take(position, bytes) {
        const end = position + bytes.byteLength;
        this.#wanted = Math.max(this.#wanted, end);
        if (this.#work) return;
        if (position <= this.#done && this.#done < end) {
            await this.#goOn(() => this.#add(bytes.slice(this.#done - position)));
        } else if (this.#done < position) {
            this.#catchUp();
        }
    }

    /** The digest of the whole file, of which it reads what nobody has handed over. */
    async digest(signal, report = () => {}) {
        if (this.#digest) return this.#digest;
        this.#wanted = this.#file.size;
        do {
            // Work that an earlier try began may end by that one's signal: then this one begins it again.
            await (this.#work ?? this.#catchUp(signal, report));
            signal?.throwIfAborted();
        } while (this.#done < this.#file.size);
        this.#digest ??= this.#hash.digest();
        return this.#digest;
    }

    /** Lets go of what a worker keeps for it. */
    forget() {
        if (!this.#digest) this.#hash.forget();
    }

    #catchUp(signal, report = () => {}) {
        return this.#goOn(async () => {
            while (this.#done < this.#wanted && !signal?.aborted) {
                const to = Math.min(this.#done + SLICE, this.#wanted);
                await this.#add(await read(this.#file, this.#done, to));
                report(this.#done);
            }
        });
    }

    /** One thing at a time is done, so that no byte is digested twice. */
    #goOn(work) {
        this.#work = work().finally(() => (this.#work = null));
        // Whoever wants the digest hears of it.
        this.#work.catch(() => {});
        return this.#work;
    }

    async #add(bytes) {
        const length = bytes.byteLength;
        await this.#hash.update(bytes);
        this.#done += length;
    }
}
