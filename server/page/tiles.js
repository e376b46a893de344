// The tiles of an album, of which only those near the window are on the page: ten thousand photos are as quick as ten. The
// pictures of tiles that leave are let go of, so that nobody makes or sends them in vain.
//
// One tile at a time is reached by Tab; from there the arrows lead on.

import { icon, make, MARKS } from "./elements.js";
import { Grid } from "./grid.js";

/** How much is ready above and below the window, in windows. */
const MARGIN = 0.75;

/** Who scrolls by so many windows between two drawings is on his way elsewhere: pictures wait until he is there, */
const HURRY = 1.5;

/** which he is when he has not scrolled for so many milliseconds. */
const SETTLED = 120;

export class Tiles {
    #place;
    #words;
    #on;
    #album = { folders: [], files: [], months: [] };
    #items = [];
    #titles = [];
    #addresses = null;
    #grid = new Grid(0, []);
    #sections = new Map();
    #tiles = new Map();
    /** The tile that Tab leads to, by its key. */
    #current = null;
    /** The one that has the focus, while tiles are put elsewhere. */
    #held = null;
    #width = 0;
    #drawing = false;
    #seen = 0;
    #settling = null;
    /** Pictures that did not come, and those of them that were asked for a second time. */
    #missing = new Set();
    #retried = new Set();
    scrolled = 0;

    /** `on` has `opened(item)`, told before a tile's address is gone to, and `failed()`, told when a picture did not come. */
    constructor(place, words, on) {
        this.#place = place;
        this.#words = words;
        this.#on = on;
        place.addEventListener("keydown", (event) => this.#key(event));
        place.addEventListener("focusin", ({ target }) => this.#comeTo(target.closest("a")?.dataset.key));
        place.addEventListener("click", ({ target, ctrlKey, metaKey, shiftKey }) => {
            const item = this.#items.find(({ key }) => key === target.closest("a")?.dataset.key);
            if (item && !ctrlKey && !metaKey && !shiftKey) on.opened(item);
        });
        addEventListener("scroll", () => this.#soon(), { passive: true });
        addEventListener("resize", () => this.#soon(), { passive: true });
        new ResizeObserver(
            ([{ contentRect }]) => this.#shown && contentRect.width !== this.#width && this.#arrange(),
        ).observe(place);
    }

    get #shown() {
        return this.#place.offsetParent !== null;
    }

    /** Shows an album; `addresses` has `page(item)` and `thumb(item)`, which is null for what has no picture. What is at the top of the window stays there. */
    show(album, addresses) {
        const anchor = this.#anchor();
        this.#album = album;
        this.#items = [...album.folders, ...album.files];
        this.#addresses = addresses;
        this.#arrange(anchor);
    }

    clear() {
        this.#missing.clear();
        this.#retried.clear();
        this.#current = null;
        this.#letGo(new Map());
        this.show({ folders: [], files: [], months: [] }, null);
    }

    /** The server answers (again): what did not come is asked for once more. */
    again() {
        for (const thumb of this.#missing) {
            if (this.#retried.has(thumb)) continue;
            this.#retried.add(thumb);
            this.#missing.delete(thumb);
        }
        this.#draw();
    }

    /** Leads the eye and the keyboard to an item. */
    focus(key) {
        const index = this.#items.findIndex((item) => item.key === key);
        if (index < 0) return;
        this.#current = key;
        this.#bringIn(index);
        this.#draw();
        this.#tiles.get(key)?.link.focus({ preventScroll: true });
    }

    #arrange(anchor = this.#anchor()) {
        this.#width = this.#place.clientWidth;
        const rem = parseFloat(getComputedStyle(document.documentElement).fontSize);
        // As in page.css.
        const narrow = matchMedia("(max-width: 40rem)").matches;
        const fit = (least, gap, inset) => Math.max(1, Math.floor((this.#width - 2 * inset + gap) / (least + gap)));
        const { folders, files, months } = this.#album;
        const sections = [];
        if (folders.length > 0) {
            const [gap, inset] = [0.6 * rem, narrow ? rem : 0];
            const head = (narrow ? 0.5 : 0.25) * rem;
            sections.push({
                title: null,
                count: folders.length,
                head,
                inset,
                gap,
                columns: fit((narrow ? 10 : 13) * rem, gap, inset),
                tile: 3.75 * rem,
            });
        }
        const gap = narrow ? 2 : 6;
        const columns = Math.max(files.length > 0 ? 3 : 1, fit((narrow ? 7 : 10.5) * rem, gap, 0));
        for (const { month, count } of months)
            sections.push({ title: this.#words.month(month), count, head: 3 * rem, gap, columns });
        this.#titles = sections.map(({ title }) => title);
        this.#grid = new Grid(this.#width, sections);
        this.#place.style.height = `${Math.ceil(this.#grid.height)}px`;
        this.#held = document.activeElement?.dataset?.key ?? null;
        for (const section of this.#sections.values()) section.element.remove();
        this.#sections.clear();
        for (const tile of this.#tiles.values()) tile.at = -1;
        this.#keep(anchor);
        this.#draw();
        this.#tiles.get(this.#held)?.link.focus({ preventScroll: true });
        this.#held = null;
    }

    /** The first item in sight and how far it is below the window's top, unless the page is at its beginning. */
    #anchor() {
        if (!this.#shown || scrollY < 80) return null;
        const { top } = this.#place.getBoundingClientRect();
        const near = this.#grid.near(-top, innerHeight - top).find(({ first, end }) => end > first);
        if (!near) return null;
        const spot = this.#grid.spot(near.first);
        return { key: this.#items[near.first]?.key, below: top + this.#grid.sections[spot.section].top + spot.y };
    }

    #keep(anchor) {
        if (!anchor) return;
        const index = this.#items.findIndex(({ key }) => key === anchor.key);
        if (index < 0) return;
        const spot = this.#grid.spot(index);
        const now = this.#place.getBoundingClientRect().top + this.#grid.sections[spot.section].top + spot.y;
        if (Math.abs(now - anchor.below) >= 1) scrollBy({ top: now - anchor.below, behavior: "instant" });
    }

    #soon() {
        if (this.#drawing || !this.#shown) return;
        this.#drawing = true;
        this.scrolled = performance.now();
        requestAnimationFrame(() => this.#draw());
    }

    #draw() {
        this.#drawing = false;
        if (!this.#shown) return;
        const { top } = this.#place.getBoundingClientRect();
        const hurried = Math.abs(top - this.#seen) > innerHeight * HURRY;
        this.#seen = top;
        clearTimeout(this.#settling);
        if (hurried) this.#settling = setTimeout(() => this.#draw(), SETTLED);

        const margin = innerHeight * MARGIN;
        const wanted = new Map();
        const want = (number, index) => {
            if (!wanted.has(number)) wanted.set(number, []);
            if (index !== undefined) wanted.get(number).push(index);
        };
        let first = Infinity;
        for (const { section, first: begin, end } of this.#grid.near(-top - margin, innerHeight - top + margin)) {
            want(section);
            for (let index = begin; index < end; index++) want(section, index);
            first = Math.min(first, begin);
        }
        // The keyboard stays where it is, though that is out of sight.
        const held = this.#focused();
        if (held >= 0) {
            const { section } = this.#grid.spot(held);
            if (!wanted.get(section)?.includes(held)) {
                want(section, held);
                wanted.get(section).sort((a, b) => a - b);
            }
        }
        this.#letGo(wanted);
        for (const [number, indices] of [...wanted].sort(([a], [b]) => a - b))
            this.#drawSection(number, indices, hurried);
        this.#reachable(top);
    }

    #focused() {
        const key = this.#held ?? document.activeElement?.dataset?.key;
        return key !== undefined && this.#tiles.has(key) ? this.#items.findIndex((item) => item.key === key) : -1;
    }

    #letGo(wanted) {
        const keys = new Set([...wanted.values()].flat().map((index) => this.#items[index].key));
        // The last first: else each that is given up lets another one go that is given up, too.
        for (const [key, tile] of [...this.#tiles].reverse()) {
            if (keys.has(key)) continue;
            tile.letGo();
            this.#tiles.delete(key);
        }
        for (const [number, section] of this.#sections) {
            if (wanted.has(number)) continue;
            section.element.remove();
            this.#sections.delete(number);
        }
    }

    #drawSection(number, indices, hurried) {
        const { top, height, first, count } = this.#grid.sections[number];
        let section = this.#sections.get(number);
        if (!section) {
            section = new Section(number, this.#titles[number], this.#words);
            section.element.style.top = `${top}px`;
            section.element.style.height = `${height}px`;
            this.#sections.set(number, section);
            const after = [...this.#sections].filter(([other]) => other > number).sort(([a], [b]) => a - b)[0];
            this.#place.insertBefore(section.element, after?.[1].element ?? null);
        }
        let before = null;
        for (const index of indices) {
            const item = this.#items[index];
            let tile = this.#tiles.get(item.key);
            if (!tile) {
                tile = new Tile(item, this.#addresses, this.#words);
                this.#tiles.set(item.key, tile);
            }
            // In the order in which they are read aloud, and moved only if they are not: to move one takes its focus.
            const next = before ? before.nextSibling : section.list.firstChild;
            if (tile.element !== next) {
                const focused = tile.element.contains(document.activeElement);
                section.list.insertBefore(tile.element, next);
                if (focused) tile.link.focus({ preventScroll: true });
            }
            before = tile.element;
            if (tile.at !== index) tile.put(index, this.#grid.spot(index), index - first + 1, count);
            if (!hurried) this.#fill(tile);
        }
    }

    #fill(tile) {
        if (this.#missing.has(tile.thumb)) return tile.plain();
        tile.fill({
            came: () => this.#retried.delete(tile.thumb),
            failed: () => {
                this.#missing.add(tile.thumb);
                tile.plain();
                this.#on.failed();
            },
        });
    }

    /** Tab leads to one tile: where the keyboard was, else the first in sight. */
    #reachable(top) {
        if (!this.#tiles.has(this.#current)) {
            const near = this.#grid.near(-top, innerHeight - top).find(({ first, end }) => end > first);
            if (!near) return;
            this.#comeTo(this.#items[near.first].key, false);
        } else this.#tiles.get(this.#current).link.tabIndex = 0;
    }

    #comeTo(key) {
        if (key === undefined || !this.#tiles.has(key)) return;
        const old = this.#tiles.get(this.#current);
        if (old) old.link.tabIndex = -1;
        this.#current = key;
        this.#tiles.get(key).link.tabIndex = 0;
    }

    #key(event) {
        if (event.ctrlKey || event.altKey || event.metaKey || event.shiftKey) return;
        const key = event.target.closest("a")?.dataset.key;
        const index = this.#items.findIndex((item) => item.key === key);
        if (index < 0) return;
        const next = this.#grid.towards(index, event.key, innerHeight * 0.75);
        if (next === null) return;
        event.preventDefault();
        this.focus(this.#items[next].key);
    }

    /** Scrolls no further than is needed to see an item below its heading. */
    #bringIn(index) {
        const spot = this.#grid.spot(index);
        const section = this.#grid.sections[spot.section];
        const top = this.#place.getBoundingClientRect().top + section.top + spot.y;
        const [above, below] = [section.head + 8, 16];
        if (index < this.#grid.sections[0].columns) scrollTo({ top: 0, behavior: "instant" });
        else if (top < above) scrollBy({ top: top - above, behavior: "instant" });
        else if (top + spot.height + below > innerHeight)
            scrollBy({ top: top + spot.height + below - innerHeight, behavior: "instant" });
    }
}

class Section {
    constructor(number, title, words) {
        this.list = make("ul");
        this.list.setAttribute("role", "list");
        this.element = make("div", { className: title === null ? "folders" : "month" }, this.list);
        if (title === null) return this.list.setAttribute("aria-label", words.folders);
        const heading = make("h2", { textContent: title, id: `month-${number}` });
        this.list.setAttribute("aria-labelledby", heading.id);
        this.element.prepend(heading);
    }
}

class Tile {
    #picture = null;
    at = -1;

    constructor(item, addresses, words) {
        this.thumb = addresses.thumb(item);
        const label =
            item.kind === "folder" ? words.folderNamed(item.name) : words.tile(item.name, words.moment(item.when));
        this.link = make("a", { href: addresses.page(item), tabIndex: -1, className: item.kind, title: item.name });
        this.link.setAttribute("aria-label", label);
        this.link.dataset.key = item.key;
        this.link.draggable = false;
        this.element = make("li", {}, this.link);
        this.item = item;
        if (this.thumb === null) this.plain();
    }

    put(index, { x, y, width, height }, position, count) {
        this.at = index;
        const { style } = this.element;
        style.transform = `translate(${x}px, ${y}px)`;
        style.width = `${width}px`;
        style.height = `${height}px`;
        this.element.setAttribute("aria-posinset", position);
        this.element.setAttribute("aria-setsize", count);
    }

    /** Asks for its picture, once. */
    fill({ came, failed }) {
        if (this.thumb === null || this.#picture) return;
        const picture = make("img", { alt: "", decoding: "async", draggable: false });
        picture.onload = () => {
            picture.classList.add("there");
            came();
        };
        // What was let go of has not failed.
        picture.onerror = () => this.#picture === picture && failed();
        picture.src = this.thumb;
        this.#picture = picture;
        this.link.classList.remove("plain");
        this.link.replaceChildren(picture);
    }

    /** Without a picture: what it is, and its name. */
    plain() {
        if (this.link.classList.contains("plain")) return;
        this.#release();
        this.link.classList.add("plain");
        this.link.replaceChildren(icon(MARKS[this.item.kind]), make("bdi", { textContent: this.item.name }));
    }

    letGo() {
        this.#release();
        this.element.remove();
    }

    #release() {
        const picture = this.#picture;
        this.#picture = null;
        picture?.removeAttribute("src");
    }
}
