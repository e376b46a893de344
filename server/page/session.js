// Who this browser is to the server. An invite from the link's fragment becomes a session, whose cookie no script sees.

import { hex } from "./hex.js";
import { json } from "./http.js";

const NONCE = "ferry.nonce";

/** What this session may, or null without one. */
export async function current() {
    try {
        return await json("GET", "/session");
    } catch (fault) {
        if (fault.kind === "over") return null;
        throw fault;
    }
}

/** The secret of an invite in the address, if there is one: `#invite=SECRET`. */
export function inviteIn(fragment) {
    return /^#invite=([\w.~-]+)$/.exec(fragment)?.[1] ?? null;
}

/** What an invite calls whoever presents it; null where that is for them to say, or nobody knows. It is not spent by that. */
export async function nameBy(invite) {
    try {
        const { name } = await json("POST", "/invite", { value: { invite } });
        return name ?? null;
    } catch {
        // Why it cannot be used is heard when it is presented; a lost answer to that is asked for again.
        return null;
    }
}

/**
 * Turns an invite into a session. Should the answer be lost, the same nonce gets the same session once more, so it is kept
 * until there is an answer, and over a reload.
 */
export async function open(invite, name) {
    let nonce = sessionStorage.getItem(NONCE);
    if (!nonce) {
        nonce = hex(crypto.getRandomValues(new Uint8Array(32)));
        sessionStorage.setItem(NONCE, nonce);
    }
    try {
        const session = await json("POST", "/session", { value: { invite, nonce, name } });
        sessionStorage.removeItem(NONCE);
        return session;
    } catch (fault) {
        if (fault.kind === "refused") sessionStorage.removeItem(NONCE);
        throw fault;
    }
}

export const close = () => json("DELETE", "/session");

/** Which of these (`[{ name, size }]`) may be there already. */
export async function known(files) {
    const { may_be_here } = await json("POST", "/known", { value: { files } });
    return may_be_here;
}

/** What this device may be called, until somebody says better. */
export function deviceName(agent = navigator.userAgent) {
    const device = [
        [/iPhone/, "iPhone"],
        [/iPad/, "iPad"],
        [/Android.*Mobile/, "Android phone"],
        [/Android/, "Android tablet"],
        [/Macintosh/, "Mac"],
        [/Windows/, "Windows PC"],
        [/CrOS/, "Chromebook"],
        [/Linux/, "Linux PC"],
    ].find(([pattern]) => pattern.test(agent));
    return device?.[1] ?? "browser";
}
