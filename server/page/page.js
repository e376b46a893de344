// Puts it together: who is in, what is to be sent, and what is seen of it.
//
// The address says which view is open (`place.js`), or brings an invite (`#invite=…`), which does not stay there.

import { fromInput, fromTransfer, into } from "./choosing.js";
import { Fault } from "./fault.js";
import { Hashers } from "./hashing.js";
import { Known } from "./known.js";
import { Memory } from "./memory.js";
import { Photos } from "./photos.js";
import { placeIn } from "./place.js";
import { Queue } from "./queue.js";
import * as session from "./session.js";
import * as tus from "./tus.js";
import { Uploads } from "./upload.js";
import { View } from "./view.js";
import { watchOver } from "./vigil.js";
import { choose, speak } from "./words.js";

/** The lock that the first of a browser's tabs holds. */
const ALONE = "ferry.page";

const words = speak(choose(navigator.languages));
const memory = new Memory(localStorage);
const known = new Known(session.known, () => queue.waiting());
const isHere = (key) => queue.has(key);
const uploads = new Uploads({ tus, hashers: new Hashers(), known, memory });

const queue = new Queue({
    send,
    cancel: (item) => uploads.cancel(item),
    changed: () => {
        view.queue(queue);
        vigil.look();
        tellInterrupted();
    },
});

/** Who is in: what `GET /session` says, or null. */
let aboard = null;
let invite = null;

/** What the invite calls this device, if it does. */
let named = null;

/** Somebody has signed out: what was chosen until then is not for whoever comes next. */
let hasLeft = false;

const view = new View(words, {
    again: () => location.reload(),
    join,
    use: invited,
    keep() {
        forgetInvite();
        enter(aboard);
    },
    async signOut() {
        queue.pause();
        try {
            await session.close();
        } catch (fault) {
            // What this browser knows is worth as much as before.
            if (fault.kind !== "over") return view.gate(words.notSignedOut, true);
        }
        memory.clear();
        aboard = null;
        hasLeft = true;
        photos.forget();
        view.gate(words.signedOut);
    },
    chosen: (list) => add(fromInput(list)),
    dropped,
    pause: (wanted) => (wanted ? queue.pause() : queue.resume()),
    retry: (item) => queue.retry(item),
    retryAll: () => queue.retryAll(),
    remove: (item) => queue.remove(item),
    tidy: () => queue.tidy(),
    async forgetInterrupted() {
        // A tab that was opened since may have gone on with some of them: then they are no longer spoken of, and nothing else.
        if (await hasCompany()) memory.lookAway();
        // What cannot be taken back now, the server sweeps away later.
        for (const url of memory.forgetInterrupted(isHere)) tus.remove(url).catch(() => {});
        tellInterrupted();
    },
});

const photos = new Photos(words, () => {
    aboard = null;
    photos.forget();
    view.gate(words.photosOver);
});

const vigil = watchOver(queue);

// Each view knows where it was scrolled to.
history.scrollRestoration = "manual";

addEventListener("hashchange", arrive);
whenAlone(() => {
    memory.lookBack();
    tellInterrupted();
});
await arrive();

/** The page was opened, or its address has changed. */
async function arrive() {
    const brought = session.inviteIn(location.hash);
    if (!brought && aboard) return route();
    invite = brought;
    if (!aboard) {
        view.asking();
        try {
            aboard = await session.current();
        } catch {
            return view.gate(words.unreachable, true);
        }
    }
    if (aboard && invite && !queue.over) view.choice(aboard);
    else if (invite) await invited();
    else if (aboard) enter(aboard);
    else view.gate();
}

/** There is an invite to be accepted. Nobody is asked for a name that the invite has. */
async function invited() {
    const held = invite;
    view.asking();
    const name = await session.nameBy(held);
    // Another link may have been opened meanwhile.
    if (invite !== held) return;
    named = name;
    view.join(named ?? session.deviceName(), named !== null);
}

/** What of an earlier visit waits to go on, as long as anything does. */
function tellInterrupted() {
    view.interrupted(memory.interrupted(isHere));
}

/** Calls once no other tab of this browser has the page open: what one of them is sending is not interrupted. */
function whenAlone(call) {
    if (!navigator.locks) return call();
    const keep = () => {
        call();
        // For as long as the page is open.
        return new Promise(() => {});
    };
    navigator.locks.request(ALONE, keep).catch(call);
}

/** Whether another tab of this browser has the page open, and waits for this one to be gone. */
async function hasCompany() {
    const { pending = [] } = (await navigator.locks?.query()) ?? {};
    return pending.some(({ name }) => name === ALONE);
}

/** An invite is accepted. Nothing of it stays in the page or its address once there is a session. */
async function join(name) {
    view.joining();
    const changes = hasLeft || (aboard !== null && !queue.over);
    try {
        aboard = await session.open(invite, name || session.deviceName());
    } catch (fault) {
        if (fault.kind !== "refused") return view.join(named ?? name, named !== null, words.unreachable);
        forgetInvite();
        return view.gate(words.inviteSpent, aboard !== null);
    }
    forgetInvite();
    if (changes) {
        // What was chosen for one place does not go to another.
        memory.clear();
        return location.reload();
    }
    enter(aboard);
}

function enter(who) {
    view.aboard(who);
    route();
    queue.wake();
}

/** Opens the view that the address names; without one, what this session is for. */
function route() {
    const { may } = aboard;
    const mayLook = may.list || may.get;
    let place = placeIn(location.hash);
    if (!place || (place.view === "photos" && !mayLook)) {
        const home = may.put || !mayLook ? "#/send" : "#/photos";
        history.replaceState(null, "", home);
        place = placeIn(home);
    }
    if (place.view === "photos") {
        view.photos();
        return photos.open(place, may);
    }
    photos.leave();
    view.sending(aboard);
}

function forgetInvite() {
    invite = null;
    history.replaceState(null, "", location.pathname);
}

async function dropped(transfer) {
    let unread = 0;
    let found = 0;
    const taken = (files) => {
        found += files.length;
        view.looking(found);
        add(files);
    };
    await fromTransfer(transfer, taken, () => unread++);
    view.looking(null);
    if (unread > 0) view.unread(unread);
}

/** What is too large is not even announced: a server that hangs up on a body cannot say why. */
async function send(item, report, signal) {
    const { max_file } = aboard;
    if (max_file && item.file.size > max_file)
        throw new Fault("refused", { detail: words.tooLarge(words.size(max_file)) });
    return uploads.send(item, report, signal);
}

function add(files) {
    if (files.length === 0) return;
    const added = queue.add(into(view.folder(), files));
    view.announce(added > 0 ? words.announceAdded(added) : words.announceNothing);
}
