// Uploads over HTTP: tus 1.0.0 with creation and creation-with-upload, and a receipt at the end.
//
// Each call answers with a place: `{ url, offset, receipt }`. The receipt is there once the file is durable.

import { Fault } from "./fault.js";
import { hex } from "./hex.js";
import { refusal, request } from "./http.js";

const VERSION = { "Tus-Resumable": "1.0.0" };
const BYTES = "application/offset+octet-stream";

/** Announces a file, and sends it with the same request where `body` is all of it. */
export async function create({ name, size, lastModified, digest }, body, { signal, report } = {}) {
    const metadata = [`filename ${base64(new TextEncoder().encode(name))}`];
    if (lastModified) metadata.push(`lastModified ${base64(new TextEncoder().encode(String(lastModified)))}`);
    if (digest) metadata.push(`sha256 ${base64(new TextEncoder().encode(digest))}`);
    const headers = { ...VERSION, "Upload-Length": String(size), "Upload-Metadata": metadata.join(",") };
    if (body) Object.assign(headers, { "Content-Type": BYTES, "Repr-Digest": reprDigest(digest) });
    const answer = await request("POST", "/uploads", { headers, body, signal, report });
    if (answer.status !== 201) throw refusal(answer);
    return place(answer, answer.header("Location"), 0);
}

/** How much of it is there; null where the server knows nothing of it any more. */
export async function ask(url, { signal } = {}) {
    const answer = await request("HEAD", url, { headers: VERSION, signal });
    if (answer.status === 404 || answer.status === 410) return null;
    if (answer.status >= 300) throw refusal(answer);
    return place(answer, url, null);
}

/** Sends bytes that begin at `offset`; with the last ones goes the digest of the whole. */
export async function append(url, offset, bytes, digest, { signal, report } = {}) {
    const headers = { ...VERSION, "Content-Type": BYTES, "Upload-Offset": String(offset) };
    if (digest) headers["Repr-Digest"] = reprDigest(digest);
    const answer = await request("PATCH", url, { headers, body: bytes, signal, report });
    if (answer.status !== 204) throw refusal(answer);
    return place(answer, url, null);
}

/** Takes back what has arrived. */
export async function remove(url) {
    await request("DELETE", url, { headers: VERSION });
}

function place(answer, url, offset) {
    const told = answer.header("Upload-Offset");
    if (told !== null) offset = Number(told);
    // Paths of this server alone: a receipt from elsewhere would be worth nothing.
    if (!url?.startsWith("/") || url.startsWith("//") || !Number.isSafeInteger(offset) || offset < 0) {
        throw new Fault("unreachable");
    }
    return { url, offset, receipt: receipt(answer) };
}

/** What a finished upload says: the digest of what the server has, under which name, and whether it was there before. */
function receipt(answer) {
    const digest = /(?:^|,)\s*sha-256=:([A-Za-z0-9+/=]+):/.exec(answer.header("Repr-Digest") ?? "");
    const status = answer.header("Ferry-Status");
    if (!digest || !status) return null;
    return { digest: hexOf(digest[1]), held: status === "held", name: fileName(answer.header("Content-Location")) };
}

function fileName(path) {
    const prefix = "/files/";
    if (!path?.startsWith(prefix)) return null;
    try {
        return decodeURIComponent(path.slice(prefix.length));
    } catch {
        // Bytes that are not UTF-8: shown as they came.
        return path.slice(prefix.length);
    }
}

export const reprDigest = (digest) => {
    const bytes = Uint8Array.from(digest.match(/../g), (pair) => parseInt(pair, 16));
    return `sha-256=:${base64(bytes)}:`;
};

const base64 = (bytes) => btoa(Array.from(bytes, (byte) => String.fromCharCode(byte)).join(""));

const hexOf = (base64) => hex(Uint8Array.from(atob(base64), (c) => c.charCodeAt(0)));
