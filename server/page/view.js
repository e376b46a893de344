// What is seen and pressed. It knows what to show and whom to tell, and nothing of how files are sent.
//
// Everything that a server or a file name says is put in as text (`textContent`), after `shown`.

import { put } from "./elements.js";
import { Rows, why } from "./rows.js";
import { shown } from "./shown.js";

const SCENES = ["asking", "gate", "join", "switch", "may-not", "sending", "photos"];

/** Figures change so often, in milliseconds: they can be read, and drawing takes no time from sending. */
const FRAME = 200;

/** Different reasons of failures that are told in full; mostly there is one. */
const REASONS = 3;

const $ = (id) => document.getElementById(id);

/** Names that are told of interrupted uploads. */
const NAMED = 3;

export class View {
    #words;
    #on;
    #rows;
    #queue = null;
    #drawn = -Infinity;
    #drawing = false;
    #tick = 0;
    #lookingFor = 0;
    /** Which state was told aloud last. */
    #said = "";

    /** `on` has a function for everything that can be pressed; see `page.js`. */
    constructor(words, on) {
        this.#words = words;
        this.#on = on;
        this.#rows = new Rows($("list"), words, { retry: on.retry, remove: on.remove });
        this.#translate();
        this.#listen();
    }

    /** Shows one of the scenes, and nothing of the others. */
    scene(name) {
        document.body.classList.toggle("wide", name === "photos");
        for (const scene of SCENES) $(scene).hidden = scene !== name;
        $("drop").hidden = true;
        // Whoever reads by ear or by keyboard goes on here, not at the top.
        const focus = document.activeElement;
        if (!focus || focus === document.body || focus.closest("[hidden]")) $("main").focus({ preventScroll: true });
    }

    asking() {
        this.scene("asking");
    }

    /** Nobody is in. `notice` says why, where it is not that nobody ever was; `again` whether asking anew may help. */
    gate(notice = "", again = false) {
        this.#who(null);
        put("gate-notice", notice);
        $("gate-again").hidden = !again;
        this.scene("gate");
    }

    /** There is an invite to be accepted, which may have named this device already. */
    join(name, isNamed, notice = "") {
        put("join-text", this.#words.joinText(location.host));
        put("join-as", isNamed ? this.#words.joinAs(shown(name)) : "");
        put("join-notice", notice);
        $("device").hidden = $("device-label").hidden = $("device").disabled = isNamed;
        if (!isNamed) $("device").value ||= name;
        const button = $("join").querySelector("button");
        button.disabled = false;
        button.textContent = this.#words.join;
        this.scene("join");
    }

    joining() {
        const button = $("join").querySelector("button");
        button.disabled = true;
        button.textContent = this.#words.joining;
    }

    /** There is an invite, and a session already: which of them shall it be? */
    choice(session) {
        put("switch-text", this.#words.switchText(shown(session.client), shown(session.server)));
        $("switch-keep").textContent = this.#words.keep(shown(session.client));
        this.#who(session);
        this.scene("switch");
        $("switch-keep").focus();
    }

    /** Somebody is in. */
    aboard(session) {
        this.#who(session);
    }

    /** What one comes to send with, if that is granted. */
    sending({ may }) {
        this.scene(may.put ? "sending" : "may-not");
        this.#current("#/send");
        if (this.#queue) this.queue(this.#queue);
    }

    photos() {
        this.scene("photos");
        this.#current("#/photos");
    }

    #current(address) {
        for (const link of $("views").querySelectorAll("a")) {
            if (link.getAttribute("href") === address) link.setAttribute("aria-current", "page");
            else link.removeAttribute("aria-current");
        }
    }

    /** Draws the queue soon, and not too often. */
    queue(queue) {
        this.#queue = queue;
        if (this.#drawing) return;
        this.#drawing = true;
        const wait = Math.max(0, this.#drawn + FRAME - performance.now());
        setTimeout(() => requestAnimationFrame(() => this.#draw()), wait);
    }

    announce(text) {
        $("live").textContent = text;
    }

    /** Folders are being walked, and so many files were found; null when that is over. */
    looking(count) {
        this.#lookingFor = count;
        put("looking", count === null ? "" : this.#words.looking(count));
    }

    unread(count) {
        put("looking", this.#words.unreadFolders(count));
    }

    /** Uploads of these names were interrupted in an earlier visit. */
    interrupted(names) {
        const count = names.length;
        const some = names.slice(0, NAMED).map(shown).concat(count > NAMED ? ["…"] : []);
        $("interrupted").hidden = count === 0;
        const told = () => this.#words.interrupted(some.join(this.#words.comma), this.#words.number(count), count);
        put("interrupted-told", count === 0 ? "" : told());
    }

    folder() {
        return $("folder").value;
    }

    #draw() {
        this.#drawing = false;
        this.#drawn = performance.now();
        const queue = this.#queue;
        const now = Date.now();
        const totals = queue.totals();
        $("summary").hidden = queue.items.length === 0;
        $("hero").hidden = !$("summary").hidden;
        this.#sum(queue, totals, now);
        this.#rows.show(queue.items, now);
        const name = this.#words.title;
        document.title = totals.unfinished > 0 ? `${this.#words.percent(part(totals))} · ${name}` : name;
        // Times that run down are drawn without anything else happening.
        clearTimeout(this.#tick);
        if (totals.unfinished > 0 && !queue.paused && !queue.over)
            this.#tick = setTimeout(() => this.queue(queue), 1_000);
    }

    #sum(queue, totals, now) {
        const words = this.#words;
        const there = totals.sent + totals.held;
        $("percent").textContent = words.percent(part(totals));
        $("count").textContent = words.ofFiles(words.number(there), words.number(totals.files), totals.files);
        $("amount").textContent = words.ofBytes(words.size(totals.done), words.size(totals.bytes));
        $("all").value = part(totals);

        const finished = totals.unfinished === 0;
        const [state, bad, aloud] = this.#state(queue, totals, now);
        $("state").textContent = state;
        $("state").hidden = finished;
        $("state").classList.toggle("bad", bad);
        $("who").classList.toggle("over", bad);

        const outcome = finished && totals.files > 0;
        const rate =
            totals.seconds > 0 && queue.moved > 0 ? words.perSecond(words.size(queue.moved / totals.seconds)) : null;
        const told = words.told(
            totals.sent,
            totals.held,
            totals.failed,
            totals.sentBytes ? words.size(totals.sentBytes) : null,
            words.time(Math.max(1, totals.seconds)),
            rate,
        );
        const verdict = totals.failed > 0 ? words.someFailed(totals.failed) : words.allThere;
        $("verdict").textContent = verdict;
        $("told").textContent = told;
        this.#reasons(outcome && totals.failed > 0 ? queue.items : []);
        $("outcome").hidden = !outcome;
        $("outcome").classList.toggle("bad", totals.failed > 0);

        $("pause").hidden = finished || queue.over !== null;
        $("pause").textContent = queue.paused ? words.resume : words.pause;
        $("pause").classList.toggle("primary", queue.paused);
        $("retry-all").hidden = totals.failed === 0;
        $("tidy").hidden = there === 0;
        this.#sayOnce(outcome ? `${verdict}: ${told}` : aloud);
    }

    /** Why files failed, in full: a row has no room for a long sentence, and a finger does not hover. */
    #reasons(items) {
        const counts = new Map();
        for (const item of items) {
            if (item.state !== "failed") continue;
            const reason = why(item.fault, this.#words);
            counts.set(reason, (counts.get(reason) ?? 0) + 1);
        }
        const texts = Array.from(counts, ([reason, n]) =>
            n > 1 ? this.#words.severally(reason, this.#words.number(n)) : reason,
        ).slice(0, REASONS);
        const list = $("reasons");
        // Left alone while it is the same: somebody may be reading or copying it.
        if (texts.join("\n") === Array.from(list.children, (line) => line.textContent).join("\n")) return;
        list.replaceChildren(...lines(texts));
    }

    /** What is to be known of it all: in words, whether it is bad, and what of it is told aloud, once. */
    #state(queue, totals, now) {
        const words = this.#words;
        if (totals.unfinished === 0) return ["", false, ""];
        if (queue.over) return [words.over, true, words.over];
        if (queue.paused) return [words.paused, false, words.paused];
        if (queue.outage) {
            const wait = queue.outage.until - now;
            if (wait <= 0) return [words.offline, true, words.offline];
            const time = words.time(wait / 1000);
            // It said itself that it is busy, if it said anything.
            return [queue.outage.fault.detail ? words.busy(time) : words.offlineFor(time), true, words.offline];
        }
        const rate =
            totals.rate > 0
                ? `${words.perSecond(words.size(totals.rate))} · ${words.left(words.time(Math.max(1, totals.left)))}`
                : words.stay;
        return [rate, false, ""];
    }

    #sayOnce(text) {
        if (text === this.#said) return;
        this.#said = text;
        if (text) this.announce(text);
    }

    #who(session) {
        $("who").hidden = session === null;
        $("who").open = false;
        $("views").hidden = session === null || !(session.may.list || session.may.get);
        if (session === null) return;
        const words = this.#words;
        $("who-name").textContent = shown(session.server);
        $("hero-title").textContent = words.sendTo(shown(session.server));
        $("who-aboard").textContent = words.aboard(shown(session.client));
        const room =
            session.quota === null
                ? null
                : words.roomLeft(words.size(Math.max(0, session.quota - (session.held ?? 0))));
        const terms = [
            session.folder ? words.ashore(shown(session.folder)) : null,
            session.max_file ? words.upTo(words.size(session.max_file)) : null,
            room,
            session.expires ? words.untilThen(words.date(session.expires)) : null,
        ];
        $("who-terms").replaceChildren(...lines(terms.filter(Boolean)));
    }

    #translate() {
        const words = this.#words;
        document.documentElement.lang = words.language;
        for (const element of document.querySelectorAll("[data-word]"))
            element.textContent = words[element.dataset.word];
        for (const element of document.querySelectorAll("[data-label]"))
            element.setAttribute("aria-label", words[element.dataset.label]);
        for (const element of document.querySelectorAll("[data-placeholder]"))
            element.placeholder = words[element.dataset.placeholder];
    }

    #listen() {
        const on = this.#on;
        const press = (id, call) => $(id).addEventListener("click", () => call());
        press("gate-again", on.again);
        press("switch-keep", on.keep);
        press("switch-use", on.use);
        press("sign-out", on.signOut);
        press("retry-all", on.retryAll);
        press("tidy", on.tidy);
        press("interrupted-forget", on.forgetInterrupted);
        press("pause", () => on.pause(!this.#queue.paused));
        $("join").addEventListener("submit", (event) => {
            event.preventDefault();
            on.join($("device").value.trim());
        });

        const choosing = (button, input) => {
            press(button, () => $(input).click());
            $(input).addEventListener("change", () => {
                on.chosen($(input).files);
                // So that choosing the same again is a change.
                $(input).value = "";
            });
        };
        choosing("choose-files", "files-input");
        choosing("choose-folder", "folder-input");
        // Phones say that they can, and then offer an empty list.
        $("choose-folder").hidden =
            !("webkitdirectory" in $("folder-input")) || matchMedia("(hover: none) and (pointer: coarse)").matches;

        this.#listenForDrops();
        for (const event of ["scroll", "resize"])
            addEventListener(event, () => this.#queue && this.queue(this.#queue), { passive: true });
        addEventListener("click", (event) => {
            if (!$("who").contains(event.target)) $("who").open = false;
        });
        addEventListener("keydown", (event) => {
            if (event.key === "Escape" && $("who").open) {
                $("who").open = false;
                $("who").querySelector("summary").focus();
            }
        });
    }

    #listenForDrops() {
        const wanted = (event) =>
            !$("sending").hidden && (event.dataTransfer ?? event.clipboardData)?.types.includes("Files");
        for (const event of ["dragenter", "dragover"]) {
            addEventListener(event, (drag) => {
                // A file that is let go beside a target would be opened in place of this page.
                drag.preventDefault();
                if (wanted(drag)) $("drop").hidden = false;
                else if (drag.dataTransfer) drag.dataTransfer.dropEffect = "none";
            });
        }
        addEventListener("dragleave", (drag) => {
            if (drag.relatedTarget === null) $("drop").hidden = true;
        });
        addEventListener("drop", (drop) => {
            drop.preventDefault();
            $("drop").hidden = true;
            if (wanted(drop)) this.#on.dropped(drop.dataTransfer);
        });
        addEventListener("paste", (paste) => {
            if (wanted(paste)) this.#on.dropped(paste.clipboardData);
        });
    }
}

/** How much of all has arrived, by bytes; by files where none has any. Less than all is never 1. */
function part({ bytes, done, files, failed, unfinished }) {
    if (files === 0) return 0;
    if (failed + unfinished === 0) return 1;
    return bytes > 0 ? Math.min(done / bytes, 0.999) : 1 - (failed + unfinished) / files;
}

const lines = (texts) => texts.map((textContent) => Object.assign(document.createElement("li"), { textContent }));
