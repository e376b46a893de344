// The gallery: asks the server what a folder holds, and shows it as an album, or one file of it in full view.

import { album } from "./album.js";
import { make, put } from "./elements.js";
import { Fault } from "./fault.js";
import { Full } from "./full.js";
import { json } from "./http.js";
import { addressOf, pathOf } from "./place.js";
import { why } from "./rows.js";
import { current } from "./session.js";
import { nameIn, shown } from "./shown.js";
import { Tiles } from "./tiles.js";

/** A server that still looks into pictures is asked again after so many milliseconds, */
const AGAIN = 1_000;

/** and not before the page has lain still for so long: under a finger nothing is moved. */
const STILL = 400;

/** One that did not answer is asked again after so many. */
const LOST = 3_000;

/** Where the folder that was shown last was scrolled to. */
const LEFT = "ferry.left";

const $ = (id) => document.getElementById(id);

export class Photos {
    #words;
    #over;
    #tiles;
    #full;
    #may = { get: false };
    /** The names of the folder that is shown, and what it holds. */
    #folder = null;
    #album = null;
    /** The file that was opened, or is to be. */
    #file = null;
    #asking = null;
    /** Where folders were scrolled to when they were left. */
    #tops = new Map();
    #wantedTop = 0;
    /** A tile was pressed, whose address is gone to. */
    #openedHere = false;
    /** While it is not clear whether anybody answers. */
    #doubting = null;

    /** `over()` is called when the session turns out to be over. */
    constructor(words, over) {
        this.#words = words;
        this.#over = over;
        this.#tiles = new Tiles($("tiles"), words, {
            opened: (item) => (this.#openedHere = item.kind !== "folder"),
            failed: () => this.#doubt(),
        });
        this.#full = new Full(words, {
            turned: (item) => {
                this.#file = item.url;
                history.replaceState(history.state, "", addressOf(this.#folder, item.url));
            },
            left: () => this.#leaveFile(),
            failed: () => this.#doubt(),
            facts: (item, signal) => this.#facts(item, signal),
            why: (fault) => this.#why(fault),
        });
        $("photos-again").addEventListener("click", () => this.#ask());
        // A reload keeps nothing else.
        const left = JSON.parse(sessionStorage.getItem(LEFT));
        if (left) this.#tops.set(...left);
        sessionStorage.removeItem(LEFT);
        addEventListener("pagehide", () => {
            if (this.#asking) sessionStorage.setItem(LEFT, JSON.stringify([addressOf(this.#folder), scrollY]));
        });
    }

    /** The address names a folder, or a file in one. */
    open({ folder, file }, may) {
        this.#may = may;
        const other = this.#folder === null || addressOf(folder) !== addressOf(this.#folder);
        const closed = this.#file !== null && file === null ? this.#full.item : null;
        if (this.#asking && !other) {
            this.#file = file;
            this.#openFile();
            if (closed) this.#tiles.focus(closed.key);
            return;
        }
        this.leave();
        this.#folder = folder;
        this.#file = file;
        this.#path();
        if (other) this.#clear();
        this.#goBackTo(folder);
        this.#ask();
    }

    #clear() {
        this.#album = null;
        this.#tiles.clear();
        put("photos-count", "");
        $("photos-more").hidden = true;
        this.#tell("");
        $("photos-empty").hidden = true;
    }

    /** Another view is opened. What was here is asked for anew when somebody comes back. */
    leave() {
        if (!this.#asking) return;
        this.#tops.set(addressOf(this.#folder), scrollY);
        this.#asking.abort();
        this.#asking = null;
        this.#doubting?.abort();
        this.#doubting = null;
        this.#file = null;
        this.#full.close();
    }

    /** Somebody else is in, or nobody. */
    forget() {
        this.leave();
        this.#folder = null;
        this.#tops.clear();
        this.#clear();
    }

    /** As far down as it was when it was left, now or as soon as it is there. */
    #goBackTo(folder) {
        const top = this.#tops.get(addressOf(folder)) ?? 0;
        this.#wantedTop = this.#album === null ? top : 0;
        scrollTo({ top: this.#album === null ? 0 : top, behavior: "instant" });
    }

    /** Asks what the folder holds, again while the server still looks into it or does not answer. */
    async #ask() {
        this.#asking?.abort();
        const { signal } = (this.#asking = new AbortController());
        put("photos-asking", this.#album === null ? this.#words.connecting : "");
        while (!signal.aborted) {
            const began = performance.now();
            try {
                const listing = await json("GET", pathOf("list", this.#folder), { signal });
                const took = performance.now() - began;
                if (this.#album !== null) await this.#stillness(signal);
                if (signal.aborted) return;
                this.#arrived(listing);
                if (!listing.looking) return;
                await pause(AGAIN + took);
            } catch (fault) {
                if (signal.aborted) return;
                this.#failed(fault);
                if (fault.kind !== "unreachable") return;
                await pause(LOST);
            }
        }
    }

    async #stillness(signal) {
        while (!signal.aborted && performance.now() - this.#tiles.scrolled < STILL) await pause(STILL);
    }

    #failed(fault) {
        if (fault.kind === "over") return this.#over();
        put("photos-asking", "");
        this.#tell(fault.code === "source-vanished" ? this.#words.noFolder : this.#why(fault), fault);
    }

    /** Says what is amiss. Somebody who looks at photos meanwhile sees it wherever he is, and nothing moves for it. */
    #tell(text, fault = null) {
        $("photos-trouble").hidden = text === "";
        $("photos-trouble").classList.toggle("afloat", fault?.kind === "unreachable" && this.#album !== null);
        $("photos-again").hidden = fault === null;
        put("photos-notice", text);
    }

    #why(fault) {
        return fault.kind === "unreachable" ? this.#words.unreachable : why(fault, this.#words);
    }

    /** A picture did not come, and a browser does not say why: the server is asked until it answers. */
    async #doubt() {
        if (this.#doubting || !this.#asking) return;
        const { signal } = (this.#doubting = new AbortController());
        let lost = false;
        while (!signal.aborted) {
            try {
                const who = await current();
                if (signal.aborted) return;
                if (who === null) return this.#over();
                break;
            } catch {
                if (signal.aborted) return;
                lost = true;
                this.#failed(new Fault("unreachable"));
                this.#full.lost();
                await pause(LOST);
            }
        }
        if (signal.aborted) return;
        this.#doubting = null;
        this.#tiles.again();
        this.#full.again();
        // It may hold something else by now.
        if (lost) this.#ask();
    }

    async #facts(item, signal) {
        try {
            return await json("GET", pathOf("facts", this.#folder, item.url), { signal });
        } catch (fault) {
            if (fault.kind === "over") this.#over();
            throw fault;
        }
    }

    #arrived(listing) {
        const words = this.#words;
        const first = this.#album === null;
        this.#album = album(listing);
        const { folders, files } = this.#album;
        put("photos-asking", listing.looking ? words.lookingInto : "");
        put(
            "photos-count",
            files.length > 0 && !listing.looking ? words.items(words.number(files.length), files.length) : "",
        );
        $("photos-more").hidden = !listing.more;
        this.#tell("");
        $("photos-empty").hidden = folders.length + files.length > 0;
        this.#tiles.show(this.#album, this.#addresses());
        if (first && this.#wantedTop > 0) scrollTo({ top: this.#wantedTop, behavior: "instant" });
        this.#wantedTop = 0;
        this.#openFile();
    }

    #addresses() {
        const folder = this.#folder;
        const { get } = this.#may;
        return {
            page: (item) => (item.kind === "folder" ? addressOf([...folder, item.url]) : addressOf(folder, item.url)),
            thumb: (item) =>
                get && item.kind === "picture"
                    ? `${pathOf("thumbs", folder, item.url)}?v=${encodeURIComponent(item.version)}`
                    : null,
            file: (item) => (get ? pathOf("files", folder, item.url) : null),
        };
    }

    /** Shows the file that the address names, or nothing in full view if it names none. */
    #openFile() {
        if (this.#file === null) return this.#full.close();
        if (this.#album === null) return;
        const index = this.#album.files.findIndex(({ url }) => url === this.#file);
        if (index >= 0) {
            // What goes back to the album goes back in the history, too, if it was opened from there.
            if (this.#openedHere) history.replaceState({ inside: true }, "");
            this.#openedHere = false;
            return this.#full.show(this.#album.files, index, this.#addresses());
        }
        if (this.#album.folders.some(({ url }) => url === this.#file))
            return location.replace(addressOf([...this.#folder, this.#file]));
        // It is in full view, and there no more: it stays until somebody turns.
        if (this.#full.item) return;
        this.#tell(this.#words.noFile);
        this.#file = null;
        history.replaceState(null, "", addressOf(this.#folder));
    }

    #leaveFile() {
        if (history.state?.inside) return history.back();
        const { item } = this.#full;
        this.#file = null;
        history.replaceState(null, "", addressOf(this.#folder));
        this.#full.close();
        if (item) this.#tiles.focus(item.key);
    }

    /** The folders that lead here. */
    #path() {
        const words = this.#words;
        const names = this.#folder.map((url) => nameIn({ url, name: shown(url) }));
        $("photos-title").textContent = names.at(-1) ?? words.photos;
        const steps = [words.photos, ...names].slice(0, -1);
        $("photos-path").hidden = steps.length === 0;
        $("photos-steps").replaceChildren(
            ...steps.map((name, depth) =>
                make(
                    "li",
                    {},
                    make("a", { href: addressOf(this.#folder.slice(0, depth)) }, make("bdi", { textContent: name })),
                ),
            ),
        );
    }
}

const pause = (time) => new Promise((done) => setTimeout(done, time));
