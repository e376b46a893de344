// The page in Chromium, served by ferryd itself. FERRYD names the program; without it the newest build is taken.

import assert from "node:assert/strict";
import { execFileSync, spawn } from "node:child_process";
import { createHash } from "node:crypto";
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { request } from "node:https";
import { tmpdir } from "node:os";
import { join, relative } from "node:path";
import { createInterface } from "node:readline";
import { after, afterEach, before, beforeEach, test } from "node:test";

import { shown } from "../../shown.js";
import { POLICY } from "../mock.js";
import { board, DESKTOP, digestOf, drop, Folder, launch, open, outcome, PHONE } from "./support.js";

const HOUSE = join(import.meta.dirname, "../../../..");

const FERRYD =
    process.env.FERRYD ??
    ["release", "debug"]
        .map((build) => join(HOUSE, "target", build, "ferryd"))
        .filter(existsSync)
        .sort((a, b) => statSync(b).mtimeMs - statSync(a).mtimeMs)[0];

/** A server of its own, with a root of its own. */
class Ferryd {
    root = mkdtempSync(join(tmpdir(), "ferry-root-"));
    web = "127.0.0.1:0";

    async start() {
        const args = ["serve", "--root", this.root, "--listen", "127.0.0.1:0", "--web", this.web];
        this.process = spawn(FERRYD, args, {
            stdio: ["ignore", "pipe", "pipe"],
            env: { ...process.env, RUST_BACKTRACE: "1" },
        });
        this.log = "";
        this.process.stderr.on("data", (data) => (this.log += data));
        this.exited = new Promise((done) => this.process.once("exit", done));
        const found = new Promise((done) => {
            createInterface({ input: this.process.stdout }).on("line", (line) => {
                const url = /^listening on (https:\/\/(\S+))$/.exec(line);
                if (url) done(url);
            });
        });
        const url = await Promise.race([found, this.exited.then(() => null)]);
        assert.ok(url, `ferryd did not start: ${this.log}`);
        [, this.url, this.web] = url;
    }

    invite(...options) {
        const link = execFileSync(FERRYD, ["invite", "--root", this.root, "--web", ...options], {
            encoding: "utf8",
            stdio: ["ignore", "pipe", "ignore"],
        }).trim();
        return `${this.url}/${new URL(link).hash}`;
    }

    async kill(signal = "SIGKILL") {
        this.process.kill(signal);
        await this.exited;
    }

    /** What is in the inbox, by name, with its digest. */
    files() {
        const all = readdirSync(this.root, { recursive: true, withFileTypes: true }).filter((entry) => entry.isFile());
        const paths = all.map(({ parentPath, path, name }) => join(parentPath ?? path, name));
        const names = paths
            .map((path) => [relative(this.root, path), path])
            .filter(([name]) => !name.startsWith(".ferry/"));
        return new Map(
            names.map(([name, path]) => [name, createHash("sha256").update(readFileSync(path)).digest("hex")]),
        );
    }
}

let browser, ferryd, folder;
before(async () => (browser = await launch()));
after(() => browser.close());
beforeEach(async () => {
    ferryd = new Ferryd();
    await ferryd.start();
    folder = new Folder();
});
afterEach(async () => {
    await ferryd.kill();
    rmSync(ferryd.root, { recursive: true });
    folder.remove();
});

const plain = (map) => Object.fromEntries([...map].sort());

/** A request by somebody who is no browser, with whatever headers he likes. */
function ask(method, path, headers = {}, body = "") {
    return new Promise((done, fail) => {
        const options = {
            method,
            headers: { ...headers, "Content-Length": Buffer.byteLength(body) },
            rejectUnauthorized: false,
        };
        request(`${ferryd.url}${path}`, options, (response) => {
            response.resume().on("end", () => done(response));
        })
            .on("error", fail)
            .end(body);
    });
}

test(
    "promise_3_fifty_photos_that_are_dropped_arrive_though_ferryd_is_killed_in_the_middle",
    { timeout: 180_000 },
    async () => {
        for (let i = 0; i < 50; i++) folder.add(`photos/IMG_${i}.jpg`, 1_000_000 + i);
        const { page, calm, shot } = await open(browser, ferryd.url, DESKTOP, { unanswered: true });
        await board(page, ferryd.invite());
        // Slowly enough that there is a middle, whatever the machine has to do.
        const network = await page.context().newCDPSession(page);
        const limit = (uploadThroughput) =>
            network.send("Network.emulateNetworkConditions", {
                offline: false,
                latency: 0,
                downloadThroughput: -1,
                uploadThroughput,
            });
        await limit(5_000_000);
        await drop(page, [join(folder.path, "photos")]);
        await page.waitForFunction(
            () => document.querySelectorAll(".row.sent").length > 0 || document.querySelector("#all").value > 0.1,
        );
        await ferryd.kill();
        await page.locator("#state.bad").waitFor();
        await shot("ferryd-killed");
        assert.ok(ferryd.files().size < 50, "it was killed in the middle");
        await limit(-1);
        await ferryd.start();
        assert.match(await outcome(page), /Everything has arrived/);
        await shot("ferryd-arrived");
        assert.deepEqual(plain(ferryd.files()), plain(folder.digests));
        await calm();
    },
);

test("promise_3_a_film_goes_on_from_its_checkpoint_after_a_restart_and_a_reload", { timeout: 180_000 }, async () => {
    // More than one checkpoint, which are 32 MiB apart.
    const film = folder.add("film.mp4", 90_000_000);
    const { page, calm } = await open(browser, ferryd.url, DESKTOP, { unanswered: true });
    await board(page, ferryd.invite());
    await page.locator("#files-input").setInputFiles([film]);
    await page.waitForFunction(() => document.querySelector("#all").value > 0.5);
    await ferryd.kill();
    await ferryd.start();
    await page.reload();
    await page.locator("#sending").waitFor();
    const offsets = [];
    page.on("request", (request) => {
        if (request.method() === "PATCH") offsets.push(Number(request.headers()["upload-offset"]));
    });
    await page.locator("#files-input").setInputFiles([film]);
    assert.match(await outcome(page), /Everything has arrived/);
    assert.ok(Math.min(...offsets) >= 32 * 1024 * 1024, `it went on from ${Math.min(...offsets)}`);
    assert.deepEqual(plain(ferryd.files()), plain(folder.digests));
    await calm();
});

test("what is there is recognised, and what has its name without being it is kept beside it", async () => {
    const [photo, film] = [folder.add("a.jpg", 100_000), folder.add("b.mp4", 20_000_000)];
    const { page, calm } = await open(browser, ferryd.url, PHONE);
    await board(page, ferryd.invite());
    await page.locator("#files-input").setInputFiles([photo, film]);
    await outcome(page);
    await page.locator("#tidy").tap();
    let sent = 0;
    page.on(
        "request",
        (request) =>
            (sent +=
                /^(PATCH|POST)$/.test(request.method()) && request.url().includes("/uploads")
                    ? (request.postDataBuffer()?.length ?? 0)
                    : 0),
    );
    await page.locator("#files-input").setInputFiles([photo, film]);
    await page.waitForFunction(() => document.querySelector("#told").textContent.includes("已存在 2"));
    assert.equal(sent, 0);
    // Another photo of the same name, as cameras make them.
    const other = new Folder();
    await page.locator("#files-input").setInputFiles([other.add("a.jpg", 100_000)]);
    await page.waitForFunction(() => document.querySelector("#told").textContent.includes("发送 1"));
    assert.equal(ferryd.files().size, 3);
    assert.equal(ferryd.files().get("a (2).jpg"), other.digests.get("a.jpg"));
    other.remove();
    await calm();
});

test("revoked in the middle: it is said, nothing fails, and a new invite goes on", { timeout: 120_000 }, async () => {
    for (let i = 0; i < 30; i++) folder.add(`photos/IMG_${i}.jpg`, 2_000_000);
    const { page, calm } = await open(browser, ferryd.url, DESKTOP, { unanswered: true });
    await board(page, ferryd.invite("--name", "phone"));
    await drop(page, [join(folder.path, "photos")]);
    await page.waitForFunction(() => document.querySelector("#all").value > 0);
    execFileSync(FERRYD, ["revoke", "--root", ferryd.root, "phone"], { stdio: "ignore" });
    await page.waitForFunction(() => document.querySelector("#state").textContent.includes("session is over"));
    await page.goto(ferryd.invite());
    await page.locator("#join button").click();
    assert.match(await outcome(page), /Everything has arrived/);
    assert.deepEqual(plain(ferryd.files()), plain(folder.digests));
    await calm();
});

test("hostile_15_a_page_of_somebody_else_changes_nothing", async () => {
    const { page, context, calm } = await open(browser, ferryd.url);
    for (const path of ["/", "/page/page.js", "/page/hasher.js"]) {
        const { headers } = await ask("GET", path);
        assert.equal(headers["content-security-policy"], POLICY, path);
        assert.equal(headers["x-content-type-options"], "nosniff", path);
    }
    await board(page, ferryd.invite());
    const [cookie] = await context.cookies();
    assert.deepEqual(
        [cookie.name, cookie.httpOnly, cookie.secure, cookie.sameSite, cookie.path],
        ["__Host-ferry", true, true, "Strict", "/"],
    );

    // Even with the cookie, which browsers do not send from elsewhere.
    const upload = {
        Cookie: `${cookie.name}=${cookie.value}`,
        "Tus-Resumable": "1.0.0",
        "Upload-Length": "0",
        "Upload-Metadata": "filename eA==",
    };
    for (const origin of [
        {},
        { Origin: "https://evil.example" },
        { Origin: "null" },
        { Origin: ferryd.url.replace("https", "http") },
    ]) {
        assert.equal((await ask("POST", "/uploads", { ...upload, ...origin })).statusCode, 403, JSON.stringify(origin));
        assert.equal(
            (await ask("DELETE", "/session", { ...upload, ...origin })).statusCode,
            403,
            JSON.stringify(origin),
        );
    }
    assert.equal(ferryd.files().size, 0);
    assert.equal(
        (await ask("POST", "/uploads", { ...upload, Origin: ferryd.url })).statusCode,
        201,
        "its own page may",
    );

    // A form of another page, in the same browser. It may not even show this one within its own.
    const evil = await context.newPage();
    await evil.setContent(
        `<iframe src="${ferryd.url}/"></iframe><form method="post" action="${ferryd.url}/uploads" target="_self"><button>free photos</button></form>`,
    );
    assert.equal(await evil.frames()[1].locator("main").count(), 0, "it is in nobody's frame");
    const answered = evil.waitForResponse((response) => response.url().endsWith("/uploads"));
    await evil.locator("button").click();
    assert.ok((await answered).status() >= 400);
    await evil.close();
    await calm();
});

test("hostile_15_a_session_is_made_by_the_server_and_cannot_be_brought_along", async () => {
    const context = await browser.newContext({ ...DESKTOP, ignoreHTTPSErrors: true });
    const brought = "0".repeat(64);
    await context.addCookies([
        { name: "__Host-ferry", value: brought, url: ferryd.url, secure: true, httpOnly: true, sameSite: "Strict" },
    ]);
    const { page, calm } = await open(browser, ferryd.url, DESKTOP, { context, unanswered: true });
    await page.locator("#gate").waitFor();
    await board(page, ferryd.invite());
    const [cookie] = await context.cookies();
    assert.notEqual(cookie.value, brought);
    // Signed out, it is worth nothing any more, to whoever has kept it.
    await page.locator("#who").click();
    await page.locator("#sign-out").click();
    await page.locator("#gate").waitFor();
    assert.deepEqual(await context.cookies(), []);
    const kept = { Cookie: `${cookie.name}=${cookie.value}`, "Tus-Resumable": "1.0.0" };
    assert.equal((await ask("HEAD", "/uploads/x", kept)).statusCode, 401);
    await calm();
});

test("hostile_05_names_are_text_on_the_page_and_verbatim_on_the_disk", async () => {
    const names = [
        "<img src=x onerror=alert(1)>.jpg",
        "\u202egpj.exe",
        "a\nb.txt",
        "100%.jpg",
        "%2e%2e%2fx",
        "?#&=+ é 照片.jpg",
        "...",
    ];
    for (const name of names) folder.add(name, 500);
    const { page, calm, shot } = await open(browser, ferryd.url);
    await board(page, ferryd.invite("--path", "up load"));
    // A browser makes what it likes of a line feed in a file's name; the page takes it as it comes.
    await page.evaluate(
        async (files) => {
            const transfer = new DataTransfer();
            for (const [name, bytes] of files)
                transfer.items.add(new File([Uint8Array.from(bytes)], name, { lastModified: 1_700_000_000_000 }));
            document.body.dispatchEvent(
                new DragEvent("drop", { dataTransfer: transfer, bubbles: true, cancelable: true }),
            );
        },
        names.map((name) => [name, [...readFileSync(join(folder.path, name))]]),
    );
    assert.match(await outcome(page), /Everything has arrived/);
    await shot("ferryd-names");
    assert.equal(await page.locator("main img[src='x'], b").count(), 0);
    assert.deepEqual(
        plain(ferryd.files()),
        plain(new Map([...folder.digests].map(([name, digest]) => [`up load/${name}`, digest]))),
    );
    const { mtimeMs } = statSync(join(ferryd.root, "up load", "100%.jpg"));
    assert.equal(mtimeMs, 1_700_000_000_000);

    // And in the gallery, where each can be had.
    await page.locator("#views a[href='#/photos']").click();
    await page.waitForFunction((n) => document.querySelectorAll("#tiles a").length === n, names.length);
    const tiles = page.locator("#tiles a");
    const had = new Map();
    for (let i = 0; i < names.length; i++) {
        await tiles.nth(i).click();
        await page.locator("#full[open]").waitFor();
        const download = await page.locator("#full-download").getAttribute("href");
        const bytes = await page.evaluate(
            async (path) => [...new Uint8Array(await (await fetch(path)).arrayBuffer())],
            download,
        );
        had.set(await page.locator("#full-name").textContent(), digestOf(Buffer.from(bytes)));
        await page.keyboard.press("Escape");
        await page.waitForFunction(() => !document.querySelector("#full").open);
    }
    assert.deepEqual(plain(had), plain(new Map([...folder.digests].map(([name, digest]) => [shown(name), digest]))));
    assert.equal(await page.locator("img[src='x'], b").count(), 0);
    await calm();
});

/** A red F on a hill, which `testdata/README.md` tells of; here it is asked whether it stands upright. */
const isUpright = (image) => {
    const { naturalWidth: width, naturalHeight: height } = image;
    const pen = Object.assign(document.createElement("canvas"), { width, height }).getContext("2d", {
        willReadFrequently: true,
    });
    pen.drawImage(image, 0, 0);
    const red = (x) => {
        const [r, g, b] = pen.getImageData((x / 160) * width, (80 / 120) * height, 1, 1).data;
        return Math.abs(r - 170) < 30 && Math.abs(g - 30) < 30 && Math.abs(b - 40) < 30;
    };
    return width === 320 && height === 240 && red(61) && !red(90);
};

test(
    "fifty photos that are sent are in the gallery, upright, and come back as they were",
    { timeout: 180_000 },
    async () => {
        for (let i = 0; i < 50; i++) {
            const name = `IMG_20240316_08150${(i % 8) + 1}.jpg`;
            const bytes = Buffer.concat([readFileSync(join(HOUSE, "testdata/photos", name)), Buffer.from(`${i}`)]);
            writeFileSync(folder.add(`trip/${i}-${name}`, 0), bytes);
            folder.digests.set(`trip/${i}-${name}`, digestOf(bytes));
        }
        const { page, calm, shot } = await open(browser, ferryd.url);
        await board(page, ferryd.invite("--name", "camera"));
        await drop(page, [join(folder.path, "trip")]);
        assert.match(await outcome(page), /Everything has arrived/);
        await page.locator("#views a[href='#/photos']").click();
        await page.locator("#tiles a.folder").click();
        await page.getByText("50 items").waitFor();
        const seen = new Set();
        for (let top = 0; top < 3_000; top += 500) {
            await page.evaluate((top) => scrollTo(0, top), top);
            await page.waitForFunction(() => {
                const images = [...document.querySelectorAll("#tiles a")];
                return images.length > 0 && images.every((link) => link.querySelector("img.there"));
            });
            for (const link of await page.locator("#tiles a").all()) {
                const name = await link.getAttribute("title");
                assert.equal(await link.locator("img").evaluate(isUpright), true, name);
                seen.add(name);
            }
        }
        assert.equal(seen.size, 50);
        await page.evaluate(() => scrollTo(0, 0));
        const first = await page.locator("#tiles a").first().getAttribute("title");
        assert.match(first, /08\.jpg$/, "the one that was taken last");

        await page.locator("#tiles a").first().click();
        await page.locator("#full-facts").click();
        const turned = new Set();
        for (let i = 0; i < 50; i++) {
            await page.locator(".sheet.there").waitFor();
            const name = await page.locator("#full-name").textContent();
            assert.equal(await page.locator(".large").evaluate(isUpright), true, name);
            turned.add(name);
            if (i % 10 === 0) {
                const digest = folder.digests.get(`trip/${name}`);
                await page.waitForFunction(
                    (digest) => document.querySelector("#facts .digest")?.textContent === digest,
                    digest,
                );
                const facts = await page.locator("#facts").innerText();
                assert.match(facts, /Taken\s+Mar 16, 2024, 8:15\sAM/);
                assert.match(facts, /Camera\s+Ferry Sample Camera/);
                assert.match(facts, /Received\s.+ · from camera/);
                const download = page.waitForEvent("download");
                await page.locator("#full-download").click();
                assert.equal((await download).suggestedFilename(), name);
                assert.equal(digestOf(readFileSync(await (await download).path())), digest);
            }
            if (i === 7) await shot("ferryd-full");
            await page.keyboard.press("ArrowRight");
        }
        assert.equal(turned.size, 50);
        await calm();
    },
);

test("revoked while somebody looks: it is said", async () => {
    fillWith(["a.jpg"]);
    const { page, calm } = await open(browser, ferryd.url, DESKTOP, { unanswered: true });
    await page.goto(ferryd.invite("--name", "phone", "--can", "get,list"));
    await page.locator("#join button").click();
    await page.locator("#tiles img.there").waitFor();
    execFileSync(FERRYD, ["revoke", "--root", ferryd.root, "phone"], { stdio: "ignore" });
    await page.locator("#tiles a").click();
    await page.locator("#gate").waitFor();
    assert.match(await page.locator("#gate-notice").innerText(), /The session is over/);
    await calm();
});

test("who may list and not get sees what is there, and nothing of it", async () => {
    fillWith(["a.jpg", "b.mp4"]);
    const { page, calm } = await open(browser, ferryd.url);
    await board(page, ferryd.invite("--can", "put,list"));
    await page.locator("#views a[href='#/photos']").click();
    await page.waitForFunction(() => document.querySelectorAll("#tiles a.plain").length === 2);
    await page.locator("#tiles a").first().click();
    await page.locator("#stage").getByText("may see what is there, and not read it").waitFor();
    await calm();
});

/** Puts copies of a photo into the inbox, as its owner may. */
function fillWith(names) {
    const photo = readFileSync(join(HOUSE, "testdata/photos/IMG_20240502_203344.jpg"));
    for (const name of names) writeFileSync(join(ferryd.root, name), photo);
}
