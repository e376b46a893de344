// A server that speaks the page's side of docs/http.md, and misbehaves on demand. It keeps everything in memory.
//
//     node mock.js [PORT]     for looking at the page; the invite is `#invite=welcome`

import { createHash, randomUUID } from "node:crypto";
import { createReadStream } from "node:fs";
import { createServer } from "node:http";
import { extname, join } from "node:path";

const PAGE = join(import.meta.dirname, "..");
const TYPES = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css",
    ".js": "text/javascript",
    ".svg": "image/svg+xml",
};

export const POLICY =
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob:; media-src 'self' blob:; connect-src 'self'; worker-src 'self'; manifest-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

export class Mock {
    /** Name → `{ digest, size }`. */
    files = new Map();
    uploads = new Map();
    /** Path of a folder, as it stands in a URL → what `GET /list` says of it. */
    listings = new Map([["", { folders: [], files: [], looking: false, more: false }]]);
    /** Of any file: `GET /facts`, and the bytes of its picture: what is asked for is `thumbs` or `files`. */
    facts = () => ({});
    picture = async () => null;
    /** `[status, code, detail]` for what is not to be had. */
    deny = () => null;
    /** Pictures whose answer nobody waited for. */
    abandoned = 0;
    session = {
        server: "nas",
        version: "0.1.0",
        client: "Mia’s phone",
        folder: "photos",
        may: { put: true, get: true, list: true, overwrite: true },
        max_file: 5e12,
        quota: null,
        held: null,
        expires: null,
    };
    invites = new Set(["welcome"]);
    /** What some of them call whoever presents them. */
    names = new Map();
    sessions = new Set();
    /** Method and path of every request, and bytes of bodies that came. */
    asked = [];
    received = 0;
    /** What remains of an upload at a restart is a multiple of this. */
    checkpoint = 4 << 20;
    /** While true, connections are cut at once. */
    down = false;
    /** So many milliseconds before each answer to an upload. */
    delay = 0;
    /** Awaited before anything is done about an upload. */
    hold = async () => {};
    /** Called before a body is read: `(request, upload) => true` takes the answer over. */
    interfere = () => false;
    /** The digest that receipts tell. */
    tell = (digest) => digest;

    async start(port = 0) {
        this.server = createServer((request, response) => this.#serve(request, response));
        await new Promise((done) => this.server.listen(port, "127.0.0.1", done));
        return `http://127.0.0.1:${this.server.address().port}`;
    }

    stop() {
        this.server.closeAllConnections();
        this.server.close();
    }

    cut() {
        this.server.closeAllConnections();
    }

    /** As if it had been killed: what has no checkpoint is forgotten. */
    restart() {
        this.cut();
        for (const [id, upload] of this.uploads) {
            upload.bytes = upload.bytes.subarray(0, upload.bytes.length - (upload.bytes.length % this.checkpoint));
            upload.receipt = null;
            if (upload.bytes.length === 0) this.uploads.delete(id);
        }
    }

    async #serve(request, response) {
        const path = request.url;
        this.asked.push(`${request.method} ${path}`);
        if (this.down) return request.socket.destroy();
        if (path === "/" || path.startsWith("/page/")) return this.#page(path, response);
        const cookie = /ferry=(\S+)/.exec(request.headers.cookie ?? "")?.[1];
        try {
            if (path === "/session" && request.method === "POST")
                return this.#open(response, JSON.parse(await text(request)));
            if (path === "/invite") return this.#name(response, JSON.parse(await text(request)));
            if (!this.sessions.has(cookie) && path === "/session" && request.method === "GET")
                return response.writeHead(204).end();
            if (!this.sessions.has(cookie)) return refuse(response, 401, "unknown-client", "there is no session");
            if (path === "/session") {
                if (request.method === "DELETE") this.sessions.delete(cookie);
                return request.method === "GET" ? json(response, this.session) : response.writeHead(204).end();
            }
            if (path === "/known") {
                const { files } = JSON.parse(await text(request));
                return json(response, {
                    may_be_here: files.map(({ name, size }) => this.files.get(name)?.size === size),
                });
            }
            if (/^\/(list|facts|thumbs|files)(\/|$)/.test(path)) return await this.#look(path, response);
            if (path === "/uploads" || path.startsWith("/uploads/")) return await this.#upload(request, response, path);
            refuse(response, 404, "unsupported", "no such thing");
        } catch (error) {
            if (!request.destroyed) console.error(error);
            request.socket.destroy();
        }
    }

    #page(path, response) {
        const file = join(PAGE, path === "/" ? "index.html" : path.slice("/page/".length));
        const headers = {
            "Content-Type": TYPES[extname(file)] ?? "text/plain",
            "Content-Security-Policy": POLICY,
            "Cache-Control": "no-cache",
        };
        createReadStream(file)
            .on("open", () => response.writeHead(200, headers))
            .on("error", () => response.writeHead(404).end())
            .pipe(response);
    }

    async #look(url, response) {
        const [, what, path] = /^\/(\w+)\/?([^?]*)/.exec(url);
        const denied = this.deny(what, path);
        if (denied) return refuse(response, ...denied);
        if (what === "list" && this.listings.has(path)) return json(response, this.listings.get(path));
        if (what === "facts") return json(response, this.facts(path));
        response.on("close", () => !response.writableFinished && this.abandoned++);
        const picture = what === "list" ? null : await this.picture(path, what);
        if (!picture) return refuse(response, 404, "source-vanished", "there is nothing of this name");
        const headers = {
            "Content-Type": "image/jpeg",
            "Cache-Control": what === "thumbs" ? "private, max-age=31536000, immutable" : "private, no-cache",
            "Content-Security-Policy": POLICY,
        };
        if (url.endsWith("?download")) headers["Content-Disposition"] = "attachment";
        response.writeHead(200, headers).end(picture);
    }

    #name(response, { invite }) {
        if (!this.invites.has(invite)) return refuse(response, 403, "invalid-invite", "invite not valid");
        json(response, { name: this.names.get(invite) ?? null });
    }

    #open(response, { invite, nonce, name }) {
        if (!this.invites.has(invite) || !/^[0-9a-f]{64}$/.test(nonce))
            return refuse(response, 403, "invalid-invite", "invite not valid");
        this.session.client = this.names.get(invite) ?? name;
        this.sessions.add(nonce);
        response.setHeader("Set-Cookie", `ferry=${nonce}; HttpOnly; SameSite=Strict; Path=/`);
        json(response, this.session);
    }

    async #upload(request, response, path) {
        if (this.delay) await new Promise((done) => setTimeout(done, this.delay));
        await this.hold(request);
        if (request.method === "POST") {
            const { filename: name, lastModified, sha256 } = metadata(request.headers["upload-metadata"]);
            const size = Number(request.headers["upload-length"]);
            if (/(^|\/)\.\.?(\/|$)/.test(name)) return refuse(response, 400, "bad-name", `${name} is not a name`);
            const held = this.files.get(name);
            if (held && held.digest === sha256) {
                return this.#tell(
                    response,
                    201,
                    { id: randomUUID(), name, size, bytes: { length: size }, receipt: held.digest },
                    "held",
                );
            }
            let upload = [...this.uploads.values()].find(
                (each) =>
                    !each.receipt && each.name === name && each.size === size && each.lastModified === lastModified,
            );
            upload ??= { id: randomUUID(), name, size, lastModified, bytes: Buffer.alloc(0), receipt: null };
            this.uploads.set(upload.id, upload);
            if (this.interfere(request, response, upload)) return;
            return this.#take(request, response, upload, 201);
        }
        const upload = this.uploads.get(path.slice("/uploads/".length));
        if (request.method === "DELETE") {
            this.uploads.delete(upload?.id);
            return response.writeHead(204).end();
        }
        if (!upload) return refuse(response, 404, "unsupported", "there is no such upload");
        if (this.interfere(request, response, upload)) return;
        if (request.method === "HEAD") return this.#tell(response, 200, upload, "sent");
        if (Number(request.headers["upload-offset"]) !== upload.bytes.length)
            return refuse(response, 409, "", "the offset is another");
        await this.#take(request, response, upload, 204);
    }

    async #take(request, response, upload, status) {
        const pieces = [upload.bytes];
        try {
            for await (const piece of request) {
                pieces.push(piece);
                this.received += piece.length;
                if (this.interfere.piece?.(request, upload)) request.socket.destroy();
            }
        } finally {
            upload.bytes = Buffer.concat(pieces);
        }
        if (upload.bytes.length === upload.size) {
            const digest = createHash("sha256").update(upload.bytes).digest("hex");
            const claimed = /:(.+):/.exec(request.headers["repr-digest"] ?? "")?.[1];
            if (claimed && Buffer.from(claimed, "base64").toString("hex") !== digest) {
                this.uploads.delete(upload.id);
                return refuse(response, 409, "digest-mismatch", "the bytes do not have the digest");
            }
            upload.receipt = digest;
            this.files.set(upload.name, { digest, size: upload.size });
        }
        this.#tell(response, status, upload, "sent");
    }

    #tell(response, status, upload, word) {
        const headers = {
            "Tus-Resumable": "1.0.0",
            Location: `/uploads/${upload.id}`,
            "Upload-Offset": upload.bytes.length,
            "Upload-Length": upload.size,
        };
        if (upload.receipt) {
            headers["Repr-Digest"] =
                `sha-256=:${Buffer.from(this.tell(upload.receipt, upload), "hex").toString("base64")}:`;
            headers["Content-Location"] = `/files/${upload.name.split("/").map(encodeURIComponent).join("/")}`;
            headers["Ferry-Status"] = word;
        }
        response.writeHead(status, headers).end();
    }
}

/** What `GET /list` says of a file. */
export const listed = (name, about = {}) => ({
    name,
    url: encodeURIComponent(name).replace(/[!'()*]/g, (c) => `%${c.charCodeAt(0).toString(16).toUpperCase()}`),
    size: 3_456_789,
    modified: 1_715_000_000_000,
    kind: "picture",
    version: "9f86d081884c7d65",
    taken: null,
    width: 4000,
    height: 3000,
    ...about,
});

function metadata(header) {
    return Object.fromEntries(
        header.split(",").map((pair) => [pair.split(" ")[0], Buffer.from(pair.split(" ")[1], "base64").toString()]),
    );
}

async function text(request) {
    const pieces = [];
    for await (const piece of request) pieces.push(piece);
    return Buffer.concat(pieces).toString();
}

function json(response, value) {
    response.writeHead(200, { "Content-Type": "application/json" }).end(JSON.stringify(value));
}

function refuse(response, status, code, detail) {
    response
        .writeHead(status, { "Content-Type": "application/problem+json" })
        .end(JSON.stringify({ status, code, title: code, detail }));
}

if (process.argv[1] === import.meta.filename)
    console.log(`${await new Mock().start(Number(process.argv[2] ?? 0))}/#invite=welcome`);
