// One request to the server. XMLHttpRequest, because `fetch` does not tell how much of a body has left.

import { Fault } from "./fault.js";

/** No byte has moved for so long while some should: the Wi-Fi went without a word. */
const STALLED = 30_000;

/** How long an answer may take once everything has left: the server puts a large file on its disk first. */
const UNANSWERED = 180_000;

/** Answers with `{ status, header(name), body }` whatever the status is; fails only where there is no answer. */
export function request(method, path, { headers = {}, body = null, signal, report = () => {} } = {}) {
    return new Promise((answer, fail) => {
        if (signal?.aborted) return fail(signal.reason);
        const xhr = new XMLHttpRequest();
        let watch;
        const expectWithin = (time) => {
            clearTimeout(watch);
            watch = setTimeout(() => xhr.abort(), time);
        };
        const abort = () => xhr.abort();
        const done = (settle, value) => {
            clearTimeout(watch);
            signal?.removeEventListener("abort", abort);
            settle(value);
        };
        const cut = () => done(fail, signal?.aborted ? signal.reason : new Fault("unreachable"));

        xhr.open(method, path);
        for (const [name, value] of Object.entries(headers)) xhr.setRequestHeader(name, value);
        xhr.upload.onprogress = ({ loaded, total }) => {
            expectWithin(loaded < total ? STALLED : UNANSWERED);
            report(loaded);
        };
        xhr.onload = () =>
            done(answer, {
                status: xhr.status,
                header: (name) => xhr.getResponseHeader(name),
                body: xhr.responseText,
            });
        xhr.onerror = cut;
        xhr.onabort = cut;
        signal?.addEventListener("abort", abort);
        expectWithin(STALLED);
        xhr.send(body);
    });
}

/** The answer's body, where it succeeded. */
export async function json(method, path, { value, signal } = {}) {
    const told =
        value === undefined ? {} : { headers: { "Content-Type": "application/json" }, body: JSON.stringify(value) };
    const answer = await request(method, path, { ...told, signal });
    if (answer.status >= 300) throw refusal(answer);
    if (!answer.body) return null;
    try {
        return JSON.parse(answer.body);
    } catch {
        // Not ferryd: a captive portal, a proxy.
        throw new Fault("unreachable");
    }
}

/** What an answer that is no success means. */
export function refusal(answer) {
    const { status } = answer;
    const { code = "", title = "", detail = "" } = problem(answer.body);
    const told = {
        code,
        detail: detail || title || `HTTP ${status}`,
        after: Number(answer.header("Retry-After")) || 0,
    };
    if (status === 401) return new Fault("over", told);
    if (status === 429 || (status >= 502 && status <= 504)) return new Fault("unreachable", told);
    // Another connection has the upload; the offset is another; bytes were changed on their way.
    const passing = status === 423 || status === 460 || (status === 409 && !CONFLICTS.has(code));
    // The upload is gone, the body did not come whole, or the server has a fault that the next try may not meet.
    const gone = status === 404 || status === 410 || status === 408 || status === 500;
    return new Fault(passing || gone ? "again" : "refused", told);
}

/** What stays so, however often one asks. */
const CONFLICTS = new Set(["exists", "kind-conflict"]);

function problem(body) {
    try {
        const said = JSON.parse(body);
        const text = (value) => (typeof value === "string" ? value : "");
        return { code: text(said.code), title: text(said.title), detail: text(said.detail) };
    } catch {
        return {};
    }
}
