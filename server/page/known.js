// What of the chosen files may be at the server already. It is asked in batches, when the first file of one is due.

/** The server takes so many names in one request. */
const BATCH = 1_000;

/** And hardly more bytes of names than this, which deep folders could reach before. */
const NAMES = 128 * 1024;

export class Known {
    #ask;
    #upcoming;
    /** Promises of answers, by item. An item that is gone takes its answer along. */
    #answers = new WeakMap();

    /** `ask(files)` asks the server; `upcoming()` gives the items that wait, in their order. */
    constructor(ask, upcoming) {
        this.#ask = ask;
        this.#upcoming = upcoming;
    }

    /** Whether a file of this name and size is there, or was a moment ago. */
    mayBeHere(item) {
        if (!this.#answers.has(item)) this.#askFor(item);
        return this.#answers.get(item);
    }

    #askFor(item) {
        const batch = [item];
        let names = item.name.length;
        for (const other of this.#upcoming()) {
            if (batch.length === BATCH || names + other.name.length > NAMES) break;
            if (other === item || this.#answers.has(other)) continue;
            names += other.name.length;
            batch.push(other);
        }
        const answers = this.#ask(batch.map(({ name, file }) => ({ name, size: file.size })));
        batch.forEach((each, i) => {
            const answer = answers.then((list) => list[i] === true);
            // One that failed is asked anew with the next try. Whoever waits for it hears of it, the others need not.
            answer.catch(() => this.#answers.delete(each));
            this.#answers.set(each, answer);
        });
    }
}
