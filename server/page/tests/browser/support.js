// Chromium, and what every test wants of a page: no error on the console, no request to another host, no dialog.

import assert from "node:assert/strict";
import { createHash, randomBytes } from "node:crypto";
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";

import { chromium } from "playwright-core";

/** Debian's. As root it needs to be told that there is no sandbox for it. */
const CHROMIUM = {
    executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium",
    args: [
        "--no-sandbox",
        "--disable-gpu",
        "--disable-quic",
        "--no-first-run",
        "--disable-background-networking",
        "--disable-component-update",
        "--disable-sync",
    ],
};

export const DESKTOP = { viewport: { width: 1280, height: 900 }, locale: "en-US" };
export const PHONE = {
    viewport: { width: 390, height: 844 },
    deviceScaleFactor: 2,
    isMobile: true,
    hasTouch: true,
    locale: "zh-CN",
    colorScheme: "dark",
};

/** Where pictures of the page are put, if somebody wants to look at them. */
const SHOTS = process.env.FERRY_SHOTS;

export const launch = () => chromium.launch(CHROMIUM);

/** A page in a context of its own. `calm()` at the end of a test says that nothing was amiss. */
export async function open(browser, url, look = DESKTOP, { unanswered = false, context = null } = {}) {
    context ??= await browser.newContext({ ...look, ignoreHTTPSErrors: true });
    const page = await context.newPage();
    const amiss = [];
    page.on("console", (message) => {
        const text = message.text();
        // A browser reports each request that is not answered, or refused, as an error of its own.
        if (unanswered && /^Failed to load resource/.test(text)) return;
        if (["error", "warning"].includes(message.type())) amiss.push(`${message.type()}: ${text}`);
    });
    page.on("pageerror", (error) => amiss.push(error.stack));
    page.on("dialog", (dialog) => {
        if (dialog.type() !== "beforeunload") amiss.push(`a dialog: ${dialog.message()}`);
        dialog.accept();
    });
    page.on("request", (request) => {
        if (!request.url().startsWith(`${new URL(url).origin}/`) && !request.url().startsWith("blob:"))
            amiss.push(`a request to ${request.url()}`);
    });
    await page.goto(url);
    const calm = async () => {
        assert.deepEqual(amiss, []);
        await context.close();
    };
    const shot = async (name) => {
        if (SHOTS) await page.screenshot({ path: join(SHOTS, `${name}.png`) });
    };
    return { page, context, calm, shot };
}

/** Opens an invite link and goes aboard. */
export async function board(page, link) {
    await page.goto(link);
    await page.locator("#join button").click();
    await page.locator("#sending").waitFor();
}

/** Waits until nothing is left to be done, however slow the machine, and answers with what the page says of it. */
export async function outcome(page) {
    await page.locator("#outcome").waitFor({ timeout: 600_000 });
    return page.locator("#outcome").innerText();
}

/** Files of random bytes on a disk, by their paths. `digests` has what must arrive. */
export class Folder {
    path = mkdtempSync(join(tmpdir(), "ferry-page-"));
    digests = new Map();

    add(name, size) {
        const bytes = randomBytes(size);
        const path = join(this.path, name);
        mkdirSync(dirname(path), { recursive: true });
        writeFileSync(path, bytes);
        this.digests.set(name, createHash("sha256").update(bytes).digest("hex"));
        return path;
    }

    remove() {
        rmSync(this.path, { recursive: true });
    }
}

/** Drops files and folders as a hand would, onto the middle of the page. */
export async function drop(page, paths) {
    const client = await page.context().newCDPSession(page);
    const data = { items: [], files: paths, dragOperationsMask: 1 };
    for (const type of ["dragEnter", "dragOver", "drop"]) {
        await client.send("Input.dispatchDragEvent", { type, x: 200, y: 300, data });
    }
    await client.detach();
}

export const digestOf = (bytes) => createHash("sha256").update(bytes).digest("hex");
