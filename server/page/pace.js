// How fast bytes go, over the last seconds: long enough for a figure that can be read, short enough to be true.

const WINDOW = 6_000;

/** Sums of so many milliseconds are kept together, so that a fast network does not make thousands. */
const GRAIN = 250;

export class Pace {
    #steps = [];
    #first = null;

    add(now, bytes) {
        this.#first ??= now;
        const last = this.#steps.at(-1);
        if (last && now - last.at < GRAIN) last.bytes += bytes;
        else this.#steps.push({ at: now, bytes });
        while (this.#steps[0].at < now - WINDOW) this.#steps.shift();
    }

    /** Bytes a second, or 0 while nothing can be said. */
    rate(now) {
        if (this.#first === null) return 0;
        const time = Math.min(WINDOW, now - this.#first);
        if (time < GRAIN) return 0;
        const bytes = this.#steps.reduce((sum, { at, bytes }) => (at >= now - WINDOW ? sum + bytes : sum), 0);
        return (bytes * 1000) / time;
    }
}
