// Where unfinished uploads live on the server, kept over a reload or a phone that was put away: the same file chosen
// again goes on. No content and no secret is kept: an address is worth nothing without the session's cookie.

const KEY = "ferry.uploads";

/** More than this many large files are hardly under way from one browser; the oldest are forgotten first. */
const KEPT = 200;

/** As long as a server keeps what is unfinished, unless it says otherwise (`--retain-staging`). */
const DAYS = 7;

export class Memory {
    #storage;
    #now;
    /** Keys of what another visit has left unfinished. */
    #interrupted = [];

    constructor(storage, now = Date.now) {
        this.#storage = storage;
        this.#now = now;
    }

    /** The address at which this file is on its way, if it is. */
    recall(item) {
        return this.#read().find(([key]) => key === keyOf(item))?.[1] ?? null;
    }

    note(item, url) {
        const others = this.#read().filter(([key]) => key !== keyOf(item));
        this.#write([...others, [keyOf(item), url, this.#now()]].slice(-KEPT));
    }

    forget(item) {
        const all = this.#read();
        const others = all.filter(([key]) => key !== keyOf(item));
        if (others.length !== all.length) this.#write(others);
    }

    clear() {
        this.#write([]);
    }

    /** Nobody else is at it: whatever is unfinished was interrupted, but for what is on its way here. */
    lookBack() {
        this.#interrupted = this.#read().map(([key]) => key);
    }

    /** Whatever was interrupted is spoken of no longer. */
    lookAway() {
        this.#interrupted = [];
    }

    /** The names of those that are unfinished still, and wait for their files: `isHere` knows by their keys those that are here. */
    interrupted(isHere) {
        if (this.#interrupted.length === 0) return [];
        const kept = new Set(this.#read().map(([key]) => key));
        this.#interrupted = this.#interrupted.filter((key) => kept.has(key));
        return this.#interrupted.filter((key) => !isHere(key)).map(nameOf);
    }

    /** Forgets those that wait, and answers with their addresses. */
    forgetInterrupted(isHere) {
        const waits = new Set(this.#interrupted.filter((key) => !isHere(key)));
        const all = this.#read();
        this.#write(all.filter(([key]) => !waits.has(key)));
        return all.flatMap(([key, url]) => (waits.has(key) ? [url] : []));
    }

    #read() {
        try {
            const oldest = this.#now() - DAYS * 86_400_000;
            return JSON.parse(this.#storage.getItem(KEY) ?? "[]").filter(([, , at]) => at > oldest);
        } catch {
            // Somebody else wrote there, or the browser keeps nothing: then nothing is remembered.
            return [];
        }
    }

    #write(entries) {
        try {
            this.#storage.setItem(KEY, JSON.stringify(entries));
        } catch {
            // Full, or private browsing: a reload finds the upload through the server instead.
        }
    }
}

/** What tells one chosen file from another: a browser shows no more of it. */
export const keyOf = ({ name, file }) => JSON.stringify([name, file.size, file.lastModified]);

const nameOf = (key) => JSON.parse(key)[0];
