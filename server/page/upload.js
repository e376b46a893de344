// One file's way to the server, from where an earlier try has left it to a receipt whose digest is the page's own.
//
// Every try begins by asking how much is there, so it need not know how the last one ended.

import { Fault } from "./fault.js";
import { digestOf, Hashing, read, SLICE } from "./hashing.js";

export class Uploads {
    #tus;
    #hashers;
    #known;
    #memory;

    constructor({ tus, hashers, known, memory }) {
        this.#tus = tus;
        this.#hashers = hashers;
        this.#known = known;
        this.#memory = memory;
    }

    /**
     * Sends `item` (`{ name, file }`), or goes on with it. `report` is told the step (`checking`, `sending`, `storing`)
     * and the bytes that are digested (`checked`), have left (`done`) or are there (`kept`). Answers with the receipt, or fails with a `Fault`.
     */
    async send(item, report, signal) {
        const receipt = await (item.file.size <= SLICE
            ? this.#small(item, report, signal)
            : this.#large(item, report, signal));
        const digest = await this.#digest(item, report, signal);
        this.#forget(item);
        if (receipt.digest !== digest) throw new Fault("differs", { detail: `${receipt.digest} ≠ ${digest}` });
        return receipt;
    }

    /** Takes back what has arrived of a file that is not to be sent after all. */
    async cancel(item) {
        const url = this.#placeOf(item);
        this.#forget(item);
        if (url) await this.#tus.remove(url);
    }

    /** A file of one piece is read once, digested in no time, and sent with the request that announces it. */
    async #small(item, report, signal) {
        const { file } = item;
        const bytes = await read(file, 0, file.size);
        item.digest = await digestOf(bytes);
        const mayBeHere = await this.#known.mayBeHere(item);
        // A server that says no may hang up before it has read a body, and then nobody hears why: so the second try asks.
        const announceFirst = mayBeHere || item.tries > 0 || file.size === 0;
        report({ step: "sending", done: 0 });
        const told = { signal, report: (done) => report({ step: done < file.size ? "sending" : "storing", done }) };
        let place = await this.#tus.create(this.#announced(item), announceFirst ? null : bytes, told);
        if (!place.receipt) {
            const from = place.offset;
            const rest = { signal, report: (done) => report({ step: "sending", done: from + done }) };
            place = await this.#tus.append(place.url, from, bytes.slice(from), item.digest, rest);
        }
        return this.#received(place);
    }

    /** A large one goes in pieces, each of which is read once, digested by a worker and sent. */
    async #large(item, report, signal) {
        const { file } = item;
        item.hashing ??= new Hashing(file, this.#hashers);
        let place = await this.#found(item, report, signal);
        report({ step: "sending", done: place.offset });
        let ahead = null;
        try {
            while (!place.receipt) {
                const from = place.offset;
                const to = Math.min(from + SLICE, file.size);
                const bytes = await (ahead ?? read(file, from, to));
                // The next piece is read while this one is sent.
                ahead = to < file.size ? read(file, to, Math.min(to + SLICE, file.size)) : null;
                ahead?.catch(() => {});
                const taken = item.hashing.take(from, bytes);
                const digest = to === file.size ? await this.#digest(item, report, signal) : null;
                const told = (done) =>
                    report({ step: from + done < file.size ? "sending" : "storing", done: from + done });
                place = await this.#append(item, place, bytes, digest, { signal, report: told });
                if (to === file.size) return this.#received(place);
                if (place.offset !== to) throw new Fault("again");
                report({ step: "sending", done: to, kept: to });
                // So that no more pieces wait for the worker than are on their way.
                await taken;
            }
        } finally {
            await ahead?.catch(() => {});
        }
        return this.#received(place);
    }

    /** Where it goes on: where this page or an earlier visit left it, or where the server puts it now. */
    async #found(item, report, signal) {
        const url = this.#placeOf(item);
        const place = url && (await this.#tus.ask(url, { signal }));
        // What is complete and has no receipt is asked for anew, with its digest: either it is held, or it can be finished.
        if (place && (place.receipt || place.offset < item.file.size)) {
            item.url = url;
            return place;
        }
        this.#memory.forget(item);
        if ((place || (await this.#known.mayBeHere(item))) && !item.digest) await this.#digest(item, report, signal);
        const made = await this.#tus.create(this.#announced(item), null, { signal });
        item.url = made.url;
        if (!made.receipt) this.#memory.note(item, made.url);
        return made;
    }

    async #append(item, place, bytes, digest, told) {
        try {
            return await this.#tus.append(place.url, place.offset, bytes, digest, told);
        } catch (fault) {
            // The server has other bytes than these before this piece, or the file was changed while it was read: all
            // over again, from the first byte and its digest.
            if (fault.code === "digest-mismatch") {
                this.#forget(item);
                throw new Fault("again", fault);
            }
            throw fault;
        }
    }

    async #digest(item, report, signal) {
        item.digest ??= await item.hashing.digest(signal, (checked) => report({ step: "checking", checked }));
        return item.digest;
    }

    /** The receipt of something that has been sent to its end: without one, the next try asks. */
    #received(place) {
        if (!place.receipt) throw new Fault("again");
        return place.receipt;
    }

    #announced({ name, file, digest }) {
        return { name, size: file.size, lastModified: file.lastModified, digest };
    }

    #placeOf(item) {
        return item.url ?? this.#memory.recall(item);
    }

    #forget(item) {
        this.#memory.forget(item);
        item.hashing?.forget();
        item.url = item.hashing = item.digest = null;
    }
}
