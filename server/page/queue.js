// What is to be sent, in which order, how many at once, and when what has failed is tried again. It knows neither the
// page nor HTTP: `send` does the work for one item, and a clock comes from outside.

import { Fault } from "./fault.js";
import { keyOf } from "./memory.js";
import { Pace } from "./pace.js";

/** Files under way at once. A browser opens six connections to a server; two hide the waits of one another, three of them all. */
const AT_ONCE = 3;

/** Tries of one file since its last progress, as with `ferry send`. */
const TRIES = 3;

/** The first wait in milliseconds; it doubles up to the last one. */
const FIRST_WAIT = 1_000;
const LAST_WAIT = 30_000;

/** What a file is: `waiting`, `working`, `sent`, `held` or `failed`. */
class Item {
    constructor(id, name, file) {
        this.id = id;
        this.name = name;
        this.file = file;
        this.state = "waiting";
        /** While it is worked on: `checking`, `sending` or `storing`. */
        this.step = "";
        /** Bytes that are digested, that have left here, and that the server has said it has. */
        this.checked = 0;
        this.done = 0;
        this.kept = 0;
        this.pace = new Pace();
        /** Tries since the server last had more of it. */
        this.tries = 0;
        /** Why the last try came to nothing. */
        this.fault = null;
        this.receipt = null;
        /** Not before this time. */
        this.due = 0;
        this.abort = null;
    }
}

export class Queue {
    #send;
    #cancel;
    #clock;
    #random;
    #changed;
    #waiting = [];
    #working = new Set();
    /** Unfinished and finished items by what tells files apart. */
    #byKey = new Map();
    #last = 0;
    #alarm = null;

    /** All items, in the order in which they were chosen. */
    items = [];
    paused = false;
    /** The session is over: nothing is tried before `wake`. */
    over = null;
    /** Nobody answers: since when, how often that was noticed, when it is tried next, and what was said. */
    outage = null;
    /** When the first of the current files began and the last one ended, and how long earlier ones took, in milliseconds. */
    #began = null;
    #ended = null;
    #earlier = 0;
    /** Bytes that have left in all of that time. */
    moved = 0;
    pace = new Pace();

    constructor({ send, cancel = async () => {}, clock = CLOCK, random = Math.random, changed = () => {} }) {
        this.#send = send;
        this.#cancel = cancel;
        this.#clock = clock;
        this.#random = random;
        this.#changed = changed;
    }

    /**
     * Takes chosen files (`{ name, file }`), and answers with their number. One that is here already is not taken twice; if it
     * had failed, or was changed since, it is tried anew.
     */
    add(files) {
        let added = 0;
        if (this.#finished()) this.#beginAnew();
        const changed = this.items.filter(({ state, fault }) => state === "failed" && fault.kind === "unreadable");
        const byName = new Map(changed.map((item) => [item.name, item]));
        for (const { name, file } of files) {
            const key = keyOf({ name, file });
            const known = this.#byKey.get(key) ?? byName.get(name);
            if (known && known.state !== "failed") continue;
            const item = new Item(++this.#last, name, file);
            if (known) {
                this.#byKey.delete(keyOf(known));
                byName.delete(name);
                this.items[this.items.indexOf(known)] = item;
            } else {
                this.items.push(item);
            }
            this.#byKey.set(key, item);
            this.#waiting.push(item);
            added++;
        }
        this.#turn();
        return added;
    }

    /** Whether there is an item of this key. */
    has(key) {
        return this.#byKey.has(key);
    }

    /** The items that wait, next one first. */
    waiting() {
        return this.#waiting;
    }

    working() {
        return this.#working;
    }

    pause() {
        this.paused = true;
        for (const item of this.#working) item.abort.abort();
        this.#changed();
    }

    resume() {
        this.paused = false;
        this.wake();
    }

    /** Tries at once: the network is back, the page is looked at again, or there is a new session. */
    wake() {
        this.over = null;
        if (this.outage) this.outage.until = this.#clock.now();
        for (const item of this.#waiting) item.due = 0;
        this.#turn();
    }

    retry(item) {
        if (item.state !== "failed") return;
        if (this.#finished()) this.#beginAnew();
        Object.assign(item, { state: "waiting", tries: 0, fault: null, due: 0, done: 0 });
        this.#waiting.push(item);
        this.#turn();
    }

    retryAll() {
        for (const item of this.items) this.retry(item);
    }

    /** Takes an item out, whatever it is doing. */
    remove(item) {
        const was = item.state;
        item.state = "removed";
        item.abort?.abort();
        this.items = this.items.filter((other) => other !== item);
        this.#waiting = this.#waiting.filter((other) => other !== item);
        this.#byKey.delete(keyOf(item));
        // What cannot be taken back now, the server sweeps away later.
        if (was !== "sent" && was !== "held") this.#cancel(item).catch(() => {});
        this.#turn();
    }

    /** Takes out what has arrived. */
    tidy() {
        for (const item of this.items) if (isThere(item)) this.#byKey.delete(keyOf(item));
        this.items = this.items.filter((item) => !isThere(item));
        if (this.#finished()) {
            this.#beginAnew();
            this.#earlier = this.moved = 0;
        }
        this.#changed();
    }

    /** Sums over everything: files and bytes by what became of them, rate and time left. */
    totals() {
        const sums = { files: this.items.length, waiting: 0, working: 0, sent: 0, held: 0, failed: 0 };
        Object.assign(sums, { bytes: 0, done: 0, sentBytes: 0, failedBytes: 0 });
        for (const item of this.items) {
            const { size } = item.file;
            sums[item.state]++;
            sums.bytes += size;
            if (item.state === "failed") sums.failedBytes += size;
            else sums.done += isThere(item) ? size : item.done;
            if (item.state === "sent") sums.sentBytes += size;
        }
        const now = this.#clock.now();
        sums.rate = this.pace.rate(now);
        sums.left = sums.rate > 0 ? (sums.bytes - sums.failedBytes - sums.done) / sums.rate : null;
        sums.unfinished = sums.waiting + sums.working;
        sums.seconds = (this.#earlier + this.#current(now)) / 1000;
        return sums;
    }

    #finished() {
        return this.#waiting.length === 0 && this.#working.size === 0;
    }

    #current(now) {
        return this.#began === null ? 0 : (this.#ended ?? now) - this.#began;
    }

    /** More comes after all was done: what was idle in between is no part of the time that it takes. */
    #beginAnew() {
        this.#earlier += this.#current(this.#clock.now());
        this.#began = this.#ended = null;
        this.pace = new Pace();
    }

    /** Starts what can be started, and sees to it that it is called again when more can be. */
    #turn() {
        const now = this.#clock.now();
        this.#alarm?.();
        this.#alarm = null;
        if (!this.paused && !this.over) {
            // While nobody answers, one file at a time finds out whether somebody does again.
            const places = (this.outage ? 1 : AT_ONCE) - this.#working.size;
            const since = this.outage?.until ?? now;
            if (since > now) {
                this.#wakeAt(since);
            } else {
                for (let i = 0; i < places; i++) {
                    const item = this.#next(now);
                    if (!item) break;
                    this.#work(item);
                }
                if (places > 0 && this.#waiting.length > 0 && this.#working.size < AT_ONCE) {
                    const due = Math.min(...this.#waiting.slice(0, AT_ONCE).map((item) => item.due));
                    if (due > now) this.#wakeAt(due);
                }
            }
        }
        if (this.#finished() && this.#began !== null) this.#ended ??= now;
        this.#changed();
    }

    #next(now) {
        const at = this.#waiting.findIndex((item) => item.due <= now);
        return at < 0 ? null : this.#waiting.splice(at, 1)[0];
    }

    #wakeAt(time) {
        this.#alarm = this.#clock.at(time, () => {
            this.#alarm = null;
            this.#turn();
        });
    }

    async #work(item) {
        const abort = new AbortController();
        // An outage that was noticed by a try which began before the last one was noticed is the same one.
        const outages = this.outage?.times ?? 0;
        Object.assign(item, { state: "working", step: "", checked: 0, reported: false, abort, pace: new Pace() });
        this.#working.add(item);
        this.#began ??= this.#clock.now();
        let fault = null;
        try {
            item.receipt = await this.#send(item, (told) => this.#progress(item, abort, told), abort.signal);
        } catch (error) {
            fault = error instanceof Fault ? error : new Fault("broken", { detail: String(error?.message ?? error) });
        }
        this.#working.delete(item);
        item.abort = null;
        if (item.state !== "removed") {
            if (!fault) this.#arrived(item);
            else if (abort.signal.aborted) this.#putBack(item);
            else this.#failed(item, fault, outages);
        }
        this.#turn();
    }

    #progress(item, abort, { step, checked, done, kept }) {
        if (abort.signal.aborted || item.state !== "working") return;
        item.step = step;
        if (checked !== undefined) item.checked = checked;
        if (done !== undefined) {
            // The first word of a try is where it goes on from: nothing has been sent for that.
            if (item.reported && done > item.done) {
                const now = this.#clock.now();
                const moved = done - item.done;
                this.moved += moved;
                this.pace.add(now, moved);
                item.pace.add(now, moved);
            }
            item.reported = true;
            item.done = done;
        }
        if (kept > item.kept) {
            item.kept = kept;
            this.#heard(item);
        }
        this.#changed();
    }

    /** The server has more than before: whatever was wrong is over. What has merely left here says nothing. */
    #heard(item) {
        item.tries = 0;
        if (this.outage) {
            this.outage = null;
            this.#turn();
        }
    }

    #arrived(item) {
        item.state = item.receipt.held ? "held" : "sent";
        item.done = item.file.size;
        item.fault = null;
        this.#heard(item);
    }

    #failed(item, fault, outages) {
        const now = this.#clock.now();
        item.fault = fault;
        item.tries++;
        if (fault.kind === "over") {
            this.over = fault;
            this.#putBack(item);
        } else if (fault.kind === "unreachable") {
            if (!this.outage || this.outage.times === outages) {
                const times = (this.outage?.times ?? 0) + 1;
                const until = now + this.#wait(times, fault);
                this.outage = { since: this.outage?.since ?? now, times, until, fault };
            }
            this.#putBack(item);
        } else if (fault.kind === "again" && item.tries < TRIES) {
            item.due = now + this.#wait(item.tries, fault);
            this.#putBack(item);
        } else {
            item.state = "failed";
        }
    }

    #putBack(item) {
        item.state = "waiting";
        // First in line again. But should it be this very file that nobody answers to, others have their turn before.
        if (item.tries > TRIES) this.#waiting.push(item);
        else this.#waiting.unshift(item);
    }

    /** Some milliseconds, not the same ones for all who lost the same server. */
    #wait(times, fault) {
        const wait = Math.min(LAST_WAIT, FIRST_WAIT * 2 ** (times - 1)) * (0.75 + this.#random() / 2);
        return Math.max(wait, fault.after * 1000);
    }
}

const isThere = ({ state }) => state === "sent" || state === "held";

const CLOCK = {
    now: () => Date.now(),
    at: (time, call) => {
        const timer = setTimeout(call, Math.max(0, time - Date.now()));
        return () => clearTimeout(timer);
    },
};
