// The list of files, of which only what is in sight is on the page: five thousand rows would take a phone's breath away.
//
// What needs somebody comes first, then what is under way, what waits, and what has arrived. While a hand or the
// keyboard is in the list it keeps its order, so that no button moves away from under a finger.

import { shown } from "./shown.js";

const RANK = { failed: 0, working: 1, waiting: 2, sent: 3, held: 3 };

/** Rows above and below what is in sight, so that scrolling does not run ahead of drawing. */
const MARGIN = 6;

/** So long after a touch the order stays. */
const STILL = 2_500;

export class Rows {
    #list;
    #words;
    #act;
    #order = [];
    #rows = new Map();
    #height = 0;
    #touched = -Infinity;

    /** `act` has `retry(item)` and `remove(item)`. */
    constructor(list, words, act) {
        this.#list = list;
        this.#words = words;
        this.#act = act;
        for (const event of ["pointermove", "pointerdown", "keydown"]) {
            list.addEventListener(event, () => (this.#touched = performance.now()), { passive: true });
        }
        new ResizeObserver(() => (this.#height = 0)).observe(list);
    }

    show(items, now) {
        this.#arrange(items);
        this.#height ||= this.#measure();
        this.#list.style.height = `${this.#order.length * this.#height}px`;
        const [first, end] = this.#inSight();
        const seen = new Set(this.#order.slice(first, end));
        for (const [item, row] of this.#rows) {
            if (!seen.has(item)) {
                row.element.remove();
                this.#rows.delete(item);
            }
        }
        let before = null;
        for (let i = first; i < end; i++) {
            const item = this.#order[i];
            let row = this.#rows.get(item);
            if (!row) {
                row = new Row(item, this.#words, this.#act);
                this.#rows.set(item, row);
            }
            // In the order in which they are read aloud, and moved only if they are not.
            const place = before ? before.nextSibling : this.#list.firstChild;
            if (row.element !== place) this.#list.insertBefore(row.element, place);
            before = row.element;
            row.put(i, this.#order.length, this.#height);
            row.tell(now);
        }
    }

    #arrange(items) {
        const still = performance.now() - this.#touched < STILL || this.#list.contains(document.activeElement);
        if (still) {
            const there = new Set(items);
            const kept = this.#order.filter((item) => there.delete(item));
            this.#order = [...kept, ...there];
        } else {
            // Among themselves they stay in the order in which they were chosen.
            this.#order = [...items].sort((a, b) => RANK[a.state] - RANK[b.state]);
        }
    }

    #measure() {
        const size = getComputedStyle(this.#list).getPropertyValue("--row");
        return parseFloat(size) * parseFloat(getComputedStyle(document.documentElement).fontSize);
    }

    #inSight() {
        const { top } = this.#list.getBoundingClientRect();
        const first = Math.max(0, Math.floor(-top / this.#height) - MARGIN);
        const end = Math.ceil((innerHeight - top) / this.#height) + MARGIN;
        return [first, Math.max(first, Math.min(end, this.#order.length))];
    }
}

class Row {
    #item;
    #words;
    #told = "";

    constructor(item, words, act) {
        this.#item = item;
        this.#words = words;
        const name = shown(item.name.slice(item.name.lastIndexOf("/") + 1));
        this.tile = icon(kindOf(item));
        this.said = make("p", { className: "said" });
        this.bar = make("progress", { max: 1, hidden: true });
        this.bar.setAttribute("aria-label", name);
        this.retry = button("again", words.retryNamed(name), () => act.retry(item));
        this.remove = button("cross", words.removeNamed(name), () => act.remove(item));
        const title = make("p", { className: "name", title: shown(item.name) }, make("bdi", { textContent: name }));
        this.element = make(
            "li",
            {},
            make("div", { className: "tile" }, this.tile),
            make("div", { className: "about" }, title, this.said, this.bar),
            this.retry,
            this.remove,
        );
    }

    put(at, count, height) {
        this.element.style.transform = `translateY(${at * height}px)`;
        this.element.setAttribute("aria-posinset", at + 1);
        this.element.setAttribute("aria-setsize", count);
    }

    tell(now) {
        const item = this.#item;
        const { state } = item;
        const said = sayOf(item, this.#words, now);
        const part = item.step === "checking" ? item.checked / item.file.size : item.done / item.file.size;
        const bar = state === "working" && item.file.size > 0 ? part : null;
        const told = `${state} ${said} ${bar}`;
        if (told === this.#told) return;
        this.#told = told;
        this.element.className = `row ${state}`;
        this.said.textContent = said;
        this.said.title = state === "failed" ? said : item.receipt ? this.#words.digestOf(item.receipt.digest) : "";
        this.bar.hidden = bar === null;
        if (bar !== null) this.bar.value = bar;
        this.retry.hidden = state !== "failed";
        this.remove.hidden = state === "sent" || state === "held";
        const mark = { sent: "check", held: "equal", failed: "alert" }[state] ?? kindOf(item);
        this.tile.firstChild.setAttribute("href", `#icon-${mark}`);
    }
}

/** What is to be said of a file, besides its name. */
function sayOf(item, words, now) {
    const { state, file } = item;
    const size = words.size(file.size);
    const folder = item.name.includes("/") ? shown(item.name.slice(0, item.name.lastIndexOf("/"))) : null;
    const parts = (...all) => all.filter(Boolean).join(" · ");
    switch (state) {
        case "working": {
            if (item.step === "checking")
                return parts(words.checkingFor(words.percent(item.checked / file.size)), size);
            if (item.step === "storing" && item.done >= file.size) return parts(words.storing, size);
            if (item.step !== "sending") return parts(words.checking, size);
            if (item.done === 0) return parts(words.sending, size);
            const rate = item.pace.rate(now);
            const time = rate > 0 ? words.left(words.time((file.size - item.done) / rate)) : null;
            const moved = words.ofBytes(words.size(item.done), size);
            return parts(
                words.percent(item.done / file.size),
                moved,
                rate > 0 ? words.perSecond(words.size(rate)) : null,
                time,
            );
        }
        case "sent": {
            const other = item.receipt.name?.split("/").at(-1);
            const renamed = other && other !== item.name.split("/").at(-1) ? words.storedAs(shown(other)) : null;
            return parts(words.arrived, renamed, size, folder);
        }
        case "held":
            return parts(words.heldNothingSent, size, folder);
        case "failed":
            return words.failedFor(why(item.fault, words));
        default:
            return parts(
                words.waiting,
                item.due > now ? words.nextTry(words.time((item.due - now) / 1000)) : null,
                size,
                folder,
            );
    }
}

/** Why a file failed, in the reader's language where the page knows, and else in the server's own words. */
export function why(fault, words) {
    const detail = shown(fault.detail);
    switch (fault.kind) {
        case "unreadable":
            return words.unreadable;
        case "differs":
            return `${words.differs} (${detail})`;
        case "again":
            return detail || words.lost;
        case "broken":
            return `${words.broken} ${detail}`.trim();
        default:
            return detail || words.failed;
    }
}

/** By its media type, or, where a browser knows none, by the end of its name. */
function kindOf({ file }) {
    const kind = { image: "photo", video: "film", audio: "sound" }[file.type.split("/")[0]];
    return kind ?? (ENDINGS.find(([, endings]) => endings.test(file.name))?.[0] || "paper");
}

const ENDINGS = [
    ["photo", /\.(jpe?g|png|gif|webp|avif|hei[cf]|tiff?|dng|cr[23]|nef|arw|raf|orf|rw2)$/i],
    ["film", /\.(mp4|m4v|mov|mkv|webm|avi|mts|m2ts|3gp)$/i],
    ["sound", /\.(mp3|m4a|aac|flac|ogg|opus|wav)$/i],
];

function button(mark, label, press) {
    const made = make("button", { type: "button", className: "bare", title: label }, icon(mark));
    made.setAttribute("aria-label", label);
    made.addEventListener("click", press);
    return made;
}

function icon(mark) {
    const SVG = "http://www.w3.org/2000/svg";
    const svg = document.createElementNS(SVG, "svg");
    svg.setAttribute("class", "icon");
    svg.setAttribute("aria-hidden", "true");
    const use = document.createElementNS(SVG, "use");
    use.setAttribute("href", `#icon-${mark}`);
    svg.append(use);
    return svg;
}

function make(tag, properties, ...children) {
    const element = Object.assign(document.createElement(tag), properties);
    element.append(...children);
    return element;
}
