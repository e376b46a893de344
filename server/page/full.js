// One file, as large as the window: by keys, by swipes and by buttons to the next one, and what is known of it.

import { icon, make, MARKS } from "./elements.js";
import { inWords } from "./facts.js";

/** How far a finger goes until it means it, in pixels. */
const SWIPE = 56;

/** Whoever leafs quickly does not want the facts of each. */
const LEAFING = 150;

/** What some browsers show and others do not, by the name's ending; a browser takes it only if it can. */
const SOMETIMES = { avif: "image/avif", heic: "image/heic", heif: "image/heif" };

const $ = (id) => document.getElementById(id);

export class Full {
    #words;
    #on;
    #files = [];
    #index = -1;
    #addresses = null;
    #dialog = $("full");
    #stage = $("stage");
    #asking = null;
    #preloaded = [];
    /** What is to be shown did not come; because nobody answers, as it turned out. */
    #failed = false;
    #lost = false;

    /** `on` has `turned(item)`, `left()`, `failed()` for what did not come, `facts(item, signal)` and `why(fault)`. */
    constructor(words, on) {
        this.#words = words;
        this.#on = on;
        this.#listen();
    }

    get item() {
        return this.#files[this.#index] ?? null;
    }

    /** Opens, or turns to, one of these files. */
    show(files, index, addresses) {
        const key = this.item?.key;
        this.#files = files;
        this.#index = index;
        this.#addresses = addresses;
        if (!this.#dialog.open) {
            this.#dialog.showModal();
            $("full-close").focus();
        }
        if (this.item.key !== key) this.#draw();
        else this.#steps();
    }

    close() {
        if (this.#index < 0) return;
        this.#index = -1;
        this.#empty();
        this.#asking?.abort();
        if (this.#dialog.open) this.#dialog.close();
    }

    /** Nobody answers. */
    lost() {
        if (!this.#failed || this.#lost) return;
        this.#replace(this.item, this.#words.unreachable);
        this.#lost = true;
    }

    /** Somebody does again. */
    again() {
        if (this.#lost) this.#draw();
    }

    #draw() {
        const { item } = this;
        const words = this.#words;
        $("full-name").textContent = item.name;
        const download = $("full-download");
        download.hidden = this.#addresses.file(item) === null;
        if (!download.hidden) download.href = `${this.#addresses.file(item)}?download`;
        this.#empty();
        this.#stage.append(this.#shownAs(item));
        this.#steps();
        this.#preload();
        this.#ask();
    }

    #steps() {
        const words = this.#words;
        $("full-count").textContent = words.position(words.number(this.#index + 1), words.number(this.#files.length));
        $("full-previous").disabled = this.#index === 0;
        $("full-next").disabled = this.#index === this.#files.length - 1;
        // Whoever pressed it to its end goes on by keys.
        if (document.activeElement?.matches(":disabled")) $("full-close").focus();
    }

    #shownAs(item) {
        const address = this.#addresses.file(item);
        if (address === null) return this.#plain(item, this.#words.mayNotRead);
        if (item.kind === "picture") return this.#picture(item, address);
        const type = SOMETIMES[/\.(\w+)$/.exec(item.name)?.[1].toLowerCase()];
        if (item.kind === "image" && type) {
            const image = make("img", { alt: item.name });
            image.onerror = () => this.#notShown(item);
            const source = make("source", { type, srcset: address });
            // Where nothing is chosen not every browser says so.
            setTimeout(() => image.currentSrc === "" && this.#notShown(item));
            return make("picture", { className: "sheet" }, source, image);
        }
        if (item.kind === "video" || item.kind === "audio") {
            const player = make(item.kind, {
                controls: true,
                preload: "metadata",
                playsInline: true,
                className: "player",
            });
            player.setAttribute("aria-label", item.name);
            player.onerror = () => this.#notShown(item);
            player.src = address;
            return player;
        }
        return this.#plain(item, this.#words.noPreview);
    }

    /** The small picture at once, and the file itself over it when it has come. */
    #picture(item, address) {
        const sheet = make("div", { className: "sheet" });
        const thumb = this.#addresses.thumb(item);
        if (thumb) {
            const small = make("img", { alt: "", className: "small", draggable: false });
            small.onerror = () => small.remove();
            small.src = thumb;
            sheet.append(small);
        }
        const image = make("img", { alt: item.name, className: "large", decoding: "async", draggable: false });
        image.onload = () => sheet.classList.add("there");
        image.onerror = () => this.#notShown(item);
        image.src = address;
        sheet.append(image);
        return sheet;
    }

    #plain(item, text) {
        const name = make("bdi", { className: "strong", textContent: item.name });
        return make(
            "div",
            { className: "nothing" },
            icon(MARKS[item.kind]),
            name,
            make("p", { className: "muted", textContent: text }),
        );
    }

    #replace(item, text) {
        this.#empty();
        this.#stage.append(this.#plain(item, text));
    }

    /** It could not be shown, though it should. */
    #notShown(item) {
        if (this.item?.key !== item.key) return;
        this.#replace(item, this.#words.noPreview);
        this.#failed = true;
        this.#on.failed();
    }

    /** What is under way for this file is given up. */
    #empty() {
        this.#failed = false;
        this.#lost = false;
        for (const element of this.#stage.querySelectorAll("img, source, video, audio")) {
            element.onerror = null;
            element.onload = null;
            element.pause?.();
            element.removeAttribute("src");
            element.removeAttribute("srcset");
            element.load?.();
        }
        this.#stage.replaceChildren();
        this.#stage.style.transform = "";
        for (const image of this.#preloaded.splice(0)) image.removeAttribute("src");
    }

    #preload() {
        for (const step of [1, -1]) {
            const neighbour = this.#files[this.#index + step];
            const thumb = neighbour && this.#addresses.thumb(neighbour);
            if (thumb) this.#preloaded.push(make("img", { src: thumb }));
        }
    }

    async #ask() {
        this.#asking?.abort();
        const { item } = this;
        const words = this.#words;
        if ($("facts-side").hidden) return;
        if (this.#addresses.file(item) === null) return this.#noFacts(words.mayNotRead);
        this.#noFacts(words.connecting);
        const { signal } = (this.#asking = new AbortController());
        await new Promise((done) => setTimeout(done, LEAFING));
        if (signal.aborted) return;
        try {
            const facts = await this.#on.facts(item, signal);
            if (!signal.aborted) this.#factsOf(facts);
        } catch (fault) {
            if (!signal.aborted) this.#noFacts(this.#on.why(fault));
        }
    }

    #noFacts(textContent) {
        $("facts").replaceChildren(make("p", { className: "muted", textContent }));
    }

    #factsOf(facts) {
        const words = this.#words;
        const list = make("dl");
        for (const [label, text] of inWords(facts, words)) {
            const told = make("dd", {}, make("bdi", { textContent: text }));
            if (label === words.digest) told.className = "digest";
            list.append(make("div", {}, make("dt", { textContent: label }), told));
        }
        $("facts").replaceChildren(list);
    }

    #turn(step) {
        const item = this.#files[this.#index + step];
        if (!item) return;
        this.#index += step;
        this.#draw();
        this.#on.turned(item);
    }

    #toggleFacts() {
        const side = $("facts-side");
        side.hidden = !side.hidden;
        $("full-facts").setAttribute("aria-expanded", String(!side.hidden));
        if (!side.hidden) this.#ask();
    }

    #listen() {
        const press = (id, call) => $(id).addEventListener("click", call);
        press("full-close", () => this.#on.left());
        press("full-previous", () => this.#turn(-1));
        press("full-next", () => this.#turn(1));
        press("full-facts", () => this.#toggleFacts());
        // Escape, or a phone's gesture: the address follows.
        this.#dialog.addEventListener("close", () => this.#index >= 0 && this.#on.left());
        this.#dialog.addEventListener("keydown", (event) => {
            if (event.ctrlKey || event.altKey || event.metaKey || event.target.closest("video, audio")) return;
            if (event.key === "ArrowLeft") this.#turn(-1);
            else if (event.key === "ArrowRight") this.#turn(1);
            else if (event.key === "i") this.#toggleFacts();
            else return;
            event.preventDefault();
        });
        this.#listenForSwipes();
    }

    #listenForSwipes() {
        const stage = this.#stage;
        const frame = stage.parentElement;
        let from = null;
        const moved = ({ clientX, clientY }) => [clientX - from.x, clientY - from.y];
        const end = () => {
            from = null;
            stage.style.transform = "";
            stage.classList.remove("held");
        };
        // Magnified with two fingers, one finger moves what is seen.
        const magnified = () => (visualViewport?.scale ?? 1) > 1.01;
        visualViewport?.addEventListener("resize", () => frame.classList.toggle("magnified", magnified()));
        frame.addEventListener("pointerdown", (event) => {
            if (from) return end();
            if (event.pointerType === "mouse" || magnified() || event.target.closest("video, audio, button")) return;
            from = { x: event.clientX, y: event.clientY, id: event.pointerId };
        });
        frame.addEventListener("pointermove", (event) => {
            if (event.pointerId !== from?.id) return;
            const [across, down] = moved(event);
            stage.classList.add("held");
            stage.style.transform =
                Math.abs(across) > Math.abs(down) ? `translateX(${across}px)` : `translateY(${Math.max(0, down)}px)`;
        });
        frame.addEventListener("pointerup", (event) => {
            if (event.pointerId !== from?.id) return;
            const [across, down] = moved(event);
            end();
            if (Math.abs(across) > SWIPE && Math.abs(across) > Math.abs(down)) this.#turn(across < 0 ? 1 : -1);
            else if (down > 2 * SWIPE) this.#on.left();
        });
        frame.addEventListener("pointercancel", end);
    }
}
