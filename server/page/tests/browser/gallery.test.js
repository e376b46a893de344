// The gallery in Chromium, with a server that can be told to misbehave.

import assert from "node:assert/strict";
import { after, afterEach, before, beforeEach, test } from "node:test";

import { listed, Mock } from "../mock.js";
import { accessible, board, DESKTOP, launch, open, PHONE } from "./support.js";

let browser, mock, url, jpeg;
before(async () => {
    browser = await launch();
    const page = await browser.newPage();
    const made = await page.evaluate(() => {
        const canvas = Object.assign(document.createElement("canvas"), { width: 200, height: 150 });
        const pen = canvas.getContext("2d");
        const sky = pen.createLinearGradient(0, 0, 0, 150);
        sky.addColorStop(0, "#2a5f8f");
        sky.addColorStop(1, "#f2b48c");
        pen.fillStyle = sky;
        pen.fillRect(0, 0, 200, 150);
        return canvas.toDataURL("image/jpeg", 0.8).split(",")[1];
    });
    jpeg = Buffer.from(made, "base64");
    await page.close();
});
after(() => browser.close());
beforeEach(async () => {
    mock = new Mock();
    mock.picture = async () => jpeg;
    url = await mock.start();
});
afterEach(() => mock.stop());

const HOUR = 3_600_000;

/** So many photos, of which each was taken some hours before the other. */
const photos = (count, hours = 5) =>
    Array.from({ length: count }, (_, i) => {
        const taken = new Date(Date.UTC(2026, 10, 20, 18) - i * hours * HOUR).toISOString().slice(0, 19);
        return listed(`IMG_${String(i).padStart(5, "0")}.jpg`, { taken, version: i.toString(16).padStart(16, "0") });
    });

const holds = (path, { files = [], folders = [], looking = false, more = false }) =>
    mock.listings.set(path, { files, folders, looking, more });

/** The gallery, as somebody with an invite comes to it. */
async function visit(look = DESKTOP, options = {}) {
    const opened = await open(browser, url, look, options);
    await board(opened.page, `${url}/#invite=welcome`);
    await opened.page.locator("#views a[href='#/photos']").click();
    return opened;
}

const tile = (page, name) => page.locator(`#tiles a[title="${name}"]`);
const focused = (page) => page.evaluate(() => document.activeElement.title);
const hash = (page) => new URL(page.url()).hash;
/** Waits for this to become true; there is nothing else to wait for. */
const until = (page, what, given) => page.waitForFunction(what, given);
const fullView = (page, name) =>
    until(page, (name) => document.querySelector("#full[open] #full-name")?.textContent === name, name);
const noFullView = (page) => until(page, () => !document.querySelector("#full").open);
/** All pictures that the window shows have come. */
const shown = (page) =>
    until(page, () => {
        const seen = [...document.querySelectorAll("#tiles a")].filter((link) => {
            const { top, bottom } = link.getBoundingClientRect();
            return bottom > 0 && top < innerHeight;
        });
        return seen.length > 0 && seen.every((link) => link.querySelector("img.there") || link.matches(".plain"));
    });

test("folders are albums: they open, go back, and a reload stays where it was", async () => {
    holds("", { files: photos(300), folders: [{ name: "Été (2)", url: "%C3%89t%C3%A9%20%282%29" }] });
    holds("%C3%89t%C3%A9%20%282%29", { files: photos(400), folders: [{ name: "day 1", url: "day%201" }] });
    holds("%C3%89t%C3%A9%20%282%29/day%201", { files: photos(3) });
    const { page, calm } = await visit();
    const title = (text) => until(page, (text) => document.querySelector("#photos-title").textContent === text, text);
    await tile(page, "Été (2)").click();
    await title("Été (2)");
    await tile(page, "IMG_00005.jpg").waitFor();
    await page.evaluate(() => scrollTo(0, 3_000));
    await until(page, () => scrollY === 3_000);
    await shown(page);
    const sight = () =>
        page.evaluate(() => document.elementFromPoint(innerWidth / 2, innerHeight / 2).closest("a").title);
    const seen = await sight();
    await page.reload();
    await tile(page, seen).waitFor();
    assert.equal(await page.evaluate(() => scrollY), 3_000);
    assert.equal(await sight(), seen);
    await page.goto(`${url}/#/photos/%C3%89t%C3%A9%20%282%29/day%201/`);
    await title("day 1");
    assert.deepEqual(await page.locator("#photos-steps a").allInnerTexts(), ["Photos", "Été (2)"]);
    await page.goBack();
    await tile(page, seen).waitFor();
    assert.equal(await page.evaluate(() => scrollY), 3_000, "Back leads to where it was");
    await page.goBack();
    await title("Photos");
    await page.goForward();
    await title("Été (2)");
    await page.locator("#photos-steps a").click();
    await title("Photos");
    assert.equal(hash(page), "#/photos");
    // And another view between.
    await page.evaluate(() => scrollTo(0, 2_000));
    await page.evaluate(() => (location.hash = "#/send"));
    await page.locator("#sending").waitFor();
    await page.goBack();
    await until(page, () => scrollY === 2_000);
    await calm();
});

test(
    "ten thousand photos: only those near the window are there, and nothing heaps up",
    { timeout: 240_000 },
    async () => {
        holds("", { files: photos(10_000) });
        const { page, context, calm } = await visit();
        await shown(page);
        await page.goto("about:blank");
        await page.goto(`${url}/#/photos`);
        await shown(page);
        console.log(`first screen of 10,000 photos: ${Math.round(await page.evaluate(() => performance.now()))} ms`);

        const client = await context.newCDPSession(page);
        await client.send("Performance.enable");
        const heap = async () => {
            for (let i = 0; i < 3; i++) await client.send("HeapProfiler.collectGarbage");
            const { metrics } = await client.send("Performance.getMetrics");
            const of = (name) => metrics.find((each) => each.name === name).value;
            return { bytes: of("JSHeapUsedSize"), nodes: of("Nodes") };
        };
        /** All the way down and up again, by so many windows at a time; gives the most tiles that were there at once. */
        const wander = (windows) =>
            page.evaluate(async (windows) => {
                let most = 0;
                const end = document.documentElement.scrollHeight;
                const tops = Array.from(
                    { length: Math.ceil(end / (innerHeight * windows)) },
                    (_, i) => i * innerHeight * windows,
                );
                for (const top of [...tops, end, ...tops.reverse()]) {
                    scrollTo(0, top);
                    await new Promise((drawn) => requestAnimationFrame(() => requestAnimationFrame(drawn)));
                    most = Math.max(most, document.querySelectorAll("#tiles li").length);
                }
                return most;
            }, windows);
        // Whatever is made once is made now.
        await wander(8);
        const before = await heap();
        const most = Math.max(await wander(1), await wander(8), await wander(8));
        await shown(page);
        const later = await heap();
        console.log(
            `tiles: ${most} at the most; heap: ${before.bytes} bytes, then ${later.bytes}; nodes: ${before.nodes}, then ${later.nodes}`,
        );
        // 7 beside each other, in two and a half windows and a row at each end.
        assert.ok(most > 0 && most <= 7 * 18, `${most} tiles`);
        assert.ok(later.bytes < before.bytes * 1.3, `${later.bytes} bytes after ${before.bytes}`);
        assert.ok(later.nodes < before.nodes * 1.3, `${later.nodes} nodes after ${before.nodes}`);
        assert.equal(await page.locator("#tiles h2").count(), 1);
        // The last of them is as near as the first.
        await tile(page, "IMG_00000.jpg").focus();
        await page.keyboard.press("End");
        assert.equal(await focused(page), "IMG_09999.jpg");
        await shown(page);
        assert.equal(await tile(page, "IMG_00000.jpg").count(), 0);
        await calm();
    },
);

test("who scrolls on does not wait for what is far away by then", async () => {
    holds("", { files: photos(2_000) });
    let release;
    const held = new Promise((done) => (release = done));
    const asked = [];
    mock.picture = async (path) => {
        asked.push(path);
        if (asked.length <= 6) await held;
        return jpeg;
    };
    const { page, calm } = await visit();
    // As many as a browser asks for at a time.
    await until(page, () => document.querySelectorAll("#tiles img").length > 20);
    while (asked.length < 6) await page.waitForTimeout(10);
    await page.evaluate(() => scrollTo(0, 30_000));
    await shown(page);
    assert.equal(mock.abandoned, 6, "the server need not make them");
    const first = photos(2_000)
        .slice(0, 300)
        .map(({ name }) => name);
    assert.ok(
        asked.slice(6).every((name) => !first.includes(name)),
        "nor was anything asked for on the way",
    );
    release();
    // And once more when one comes back to them.
    await page.evaluate(() => scrollTo(0, 0));
    await shown(page);
    assert.equal(asked.filter((name) => name === "IMG_00000.jpg").length, 2);
    await calm();
});

test("the newest come first, under their months", async () => {
    const files = [
        listed("may.jpg", { taken: "2024-05-06T12:13:14" }),
        listed("film.mp4", { kind: "video", modified: Date.UTC(2024, 5, 15) }),
        listed("first.jpg", { taken: "2024-06-01T00:00:00" }),
        listed("last.jpg", { taken: "2024-05-31T23:59:59" }),
    ];
    holds("", { files });
    const { page, calm } = await visit({ ...DESKTOP, timezoneId: "Pacific/Auckland" });
    await shown(page);
    assert.deepEqual(await page.locator("#tiles h2").allInnerTexts(), ["June 2024", "May 2024"]);
    const names = await page.locator("#tiles a").evaluateAll((links) => links.map(({ title }) => title));
    assert.deepEqual(names, ["film.mp4", "first.jpg", "last.jpg", "may.jpg"]);
    assert.equal(await tile(page, "last.jpg").getAttribute("aria-label"), "last.jpg, May 31, 2024, 11:59 PM");
    await calm();
});

test("full view by mouse and keys, and back to the tile", async () => {
    holds("", { files: photos(200) });
    const { page, calm } = await visit();
    await tile(page, "IMG_00003.jpg").click();
    await fullView(page, "IMG_00003.jpg");
    await page.locator(".sheet.there").waitFor();
    assert.equal(hash(page), "#/photos/IMG_00003.jpg");
    assert.equal(
        await page.locator(".large").evaluate((image) => getComputedStyle(image).imageOrientation),
        "from-image",
    );
    await page.keyboard.press("ArrowRight");
    await fullView(page, "IMG_00004.jpg");
    for (let i = 0; i < 90; i++) await page.keyboard.press("ArrowRight");
    await fullView(page, "IMG_00094.jpg");
    assert.equal(await page.locator("#stage img").count(), 2, "the small one and the large one");
    await page.keyboard.press("Escape");
    await noFullView(page);
    assert.equal(hash(page), "#/photos");
    await until(page, () => document.activeElement.title === "IMG_00094.jpg");
    await page.keyboard.press("ArrowLeft");
    await page.keyboard.press("Enter");
    await fullView(page, "IMG_00093.jpg");
    await page.goBack();
    await noFullView(page);
    await until(page, () => document.activeElement.title === "IMG_00093.jpg");
    await page.goForward();
    await fullView(page, "IMG_00093.jpg");
    await page.reload();
    await fullView(page, "IMG_00093.jpg");
    await page.locator("#full-close").click();
    await noFullView(page);
    assert.equal(hash(page), "#/photos");
    await page.goBack();
    await page.locator("#sending").waitFor();
    assert.equal(hash(page), "#/send", "full view left nothing behind in the history");
    await calm();
});

test("the ends of the album are told, and the keys go on there", async () => {
    holds("", { files: photos(3) });
    // By its address, as a bookmark.
    const { page, calm } = await visit(DESKTOP, { unanswered: true });
    await page.goto(`${url}/#/photos/IMG_00001.jpg`);
    await fullView(page, "IMG_00001.jpg");
    await page.locator("#full-next").click();
    await fullView(page, "IMG_00002.jpg");
    assert.equal(await page.locator("#full-next").isDisabled(), true);
    assert.equal(await page.locator("#full-count").innerText(), "3 of 3");
    await page.keyboard.press("ArrowRight");
    await page.keyboard.press("ArrowLeft");
    await fullView(page, "IMG_00001.jpg");
    await page.keyboard.press("Escape");
    await noFullView(page);
    assert.equal(hash(page), "#/photos");
    await page.goto(`${url}/#/photos/nowhere.jpg`);
    await until(page, () => document.querySelector("#photos-notice").textContent.startsWith("This file is not there"));
    await page.goto(`${url}/#/photos/nowhere/`);
    await until(page, () =>
        document.querySelector("#photos-notice").textContent.startsWith("This folder is not there"),
    );
    await page.goto(`${url}/#/photos/../x`);
    await page.locator("#sending").waitFor();
    await calm();
});

test("a finger leafs through full view, and puts it away", async () => {
    holds("", { files: photos(9) });
    const { page, context, calm } = await visit({ ...PHONE, locale: "en-US" });
    await tile(page, "IMG_00001.jpg").tap();
    await fullView(page, "IMG_00001.jpg");
    const client = await context.newCDPSession(page);
    const swipe = async (across, down) => {
        const [x, y] = [200, 400];
        const touch = (type, part) =>
            client.send("Input.dispatchTouchEvent", {
                type,
                touchPoints: type === "touchEnd" ? [] : [{ x: x + across * part, y: y + down * part }],
            });
        await touch("touchStart", 0);
        for (const part of [0.25, 0.5, 0.75, 1]) await touch("touchMove", part);
        await touch("touchEnd", 1);
    };
    await swipe(-150, 10);
    await fullView(page, "IMG_00002.jpg");
    await swipe(30, 0);
    await swipe(150, -10);
    await fullView(page, "IMG_00001.jpg");
    await swipe(150, 0);
    await fullView(page, "IMG_00000.jpg");
    await swipe(150, 0);
    assert.equal(await page.locator("#full-name").innerText(), "IMG_00000.jpg");
    await swipe(0, 250);
    await noFullView(page);
    await until(page, () => document.activeElement.title === "IMG_00000.jpg");
    await calm();
});

const FACTS = {
    size: 4_382_911,
    modified: 1_715_000_000_000,
    digest: "sha256:9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
    received: "2026-11-20T19:02:11Z",
    from: "Mia’s phone",
    taken: "2026-11-20T17:58:03",
    offset: "+01:00",
    width: 4032,
    height: 3024,
    make: "FUJIFILM",
    model: "X-T5",
    lens: "XF 23mm F1.4",
    exposure: "1/125",
    f_number: 2.8,
    iso: 400,
    focal_length: 23,
    focal_length_35: 35,
};

test("what is known of a photo, its receipt, and itself to be had", async () => {
    holds("", { files: photos(5) });
    mock.facts = (path) => ({ ...FACTS, iso: 100 + Number(/(\d+)\.jpg/.exec(path)[1]) });
    const { page, calm } = await visit({ ...DESKTOP, timezoneId: "Europe/Berlin" });
    await tile(page, "IMG_00002.jpg").click();
    await fullView(page, "IMG_00002.jpg");
    assert.equal(mock.asked.filter((each) => each.startsWith("GET /facts/")).length, 0, "nobody wanted to know");
    await page.keyboard.press("i");
    await page.locator("#facts dl").waitFor();
    const told = await page.locator("#facts").innerText();
    for (const text of [
        /FUJIFILM X-T5/,
        /1\/125 s · f\/2\.8 · ISO 102/,
        /Nov 20, 2026, 5:58\sPM · \+01:00/,
        /4,032 × 3,024/,
    ])
        assert.match(told, text);
    assert.match(told, /Received\s+Nov 20, 2026, 8:02\sPM · from Mia’s phone/, "in the time of whoever reads it");
    assert.match(told, /SHA-256\s+9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08/);
    await page.keyboard.press("ArrowRight");
    await until(page, () => document.querySelector("#facts").textContent.includes("ISO 103"));
    const download = page.waitForEvent("download");
    await page.locator("#full-download").click();
    assert.equal((await download).suggestedFilename(), "IMG_00003.jpg");
    assert.equal(mock.asked.at(-1), "GET /files/IMG_00003.jpg?download");
    await page.locator("#full-facts").click();
    assert.equal(await page.locator("#facts-side").isVisible(), false);
    await calm();
});

test("what has no picture has a tile all the same, and can be had", async () => {
    const kinds = { "a.heic": "image", "b.mp4": "video", "c.flac": "audio", "d.pdf": "other", "e.jpg": "picture" };
    holds("", { files: Object.entries(kinds).map(([name, kind]) => listed(name, { kind })) });
    mock.picture = async () => null;
    const { page, calm } = await visit(DESKTOP, { unanswered: true });
    await until(page, () => document.querySelectorAll("#tiles a.plain").length === 5);
    for (const [name, kind] of Object.entries(kinds)) {
        const mark = { image: "photo", picture: "photo", video: "film", audio: "sound", other: "paper" }[kind];
        assert.equal(await tile(page, name).locator("use").getAttribute("href"), `#icon-${mark}`);
        assert.equal(await tile(page, name).innerText(), name);
        await tile(page, name).click();
        await fullView(page, name);
        await until(page, () => document.querySelector("#stage").textContent.includes("It can be downloaded"));
        assert.equal(await page.locator("#full-download").getAttribute("href"), `/files/${name}?download`);
        await page.keyboard.press("Escape");
        await noFullView(page);
    }
    const thumbs = mock.asked.filter((each) => each.startsWith("GET /thumbs"));
    assert.ok(thumbs.length > 0 && thumbs.every((each) => each.includes("e.jpg")));
    await calm();
});

test("while the server looks into photos what is looked at stays where it is", async () => {
    const known = photos(400);
    // Half of them seem to be of today until they have been looked into.
    const guessed = known.map((file, i) =>
        i % 2 ? file : { ...file, taken: null, modified: Date.UTC(2026, 10, 21) - i },
    );
    holds("", { files: guessed, looking: true });
    const { page, calm } = await visit();
    await shown(page);
    await page.evaluate(() => scrollTo(0, 2_500));
    await shown(page);
    const seen = () =>
        page.evaluate(() => {
            const link = document.elementFromPoint(40, 120).closest("#tiles a");
            return { name: link.title, top: link.getBoundingClientRect().top };
        });
    await tile(page, (await seen()).name).focus();
    const before = await seen();
    assert.match(await page.locator("#photos-asking").innerText(), /Looking into/);
    holds("", { files: known });
    await until(page, () => document.querySelector("#photos-asking").hidden);
    const { name, top } = before;
    const now = await tile(page, name).evaluate((link) => link.getBoundingClientRect().top);
    assert.ok(Math.abs(now - top) <= 1, `${name} was at ${top} and is at ${now}`);
    assert.equal(await focused(page), name);
    assert.equal(await page.locator("#photos-count").innerText(), "400 items");
    const lists = mock.asked.filter((each) => each === "GET /list").length;
    assert.ok(lists >= 2);
    await calm();
});

test("what a page cannot hold is told", async () => {
    holds("", { files: photos(5), more: true });
    holds("empty", {});
    const { page, calm } = await visit();
    await page.getByText("There is more in this folder").waitFor();
    await page.goto(`${url}/#/photos/empty/`);
    await page.getByText("Nothing is here yet").waitFor();
    assert.equal(await page.locator("#photos-more").isVisible(), false);
    await calm();
});

test("hostile_05_names_and_what_cameras_write_are_text", async () => {
    const names = [
        "<img src=x onerror=alert(1)>.jpg",
        "\u202egpj.exe",
        "a\nb.jpg",
        "\u0007",
        "%2e%2e%2fx",
        "?#&=+ é 照片.jpg",
        "a\\b",
    ];
    const markup = '"><img src=x onerror=alert(1)>\u202e';
    holds("", { files: names.map((name) => listed(name)), folders: [{ name: "<b>x", url: "%3Cb%3Ex" }] });
    holds("%3Cb%3Ex", { files: photos(1) });
    mock.facts = () => ({
        ...FACTS,
        make: markup,
        model: markup,
        lens: markup,
        from: markup,
        exposure: markup,
        offset: markup,
    });
    const { page, calm, shot } = await visit();
    await shown(page);
    const inert = names.map((name) =>
        name.replace("\u202e", "\\u{202e}").replace("a\\b", "a\\\\b").replace("\n", "\\n").replace("\u0007", "\\x07"),
    );
    const titles = await page.locator("#tiles a.picture").evaluateAll((links) => links.map(({ title }) => title));
    assert.deepEqual(titles, inert);
    for (const [at, name] of inert.entries()) {
        await page.locator("#tiles a.picture").nth(at).click();
        await fullView(page, name);
        if (at === 0) await page.keyboard.press("i");
        await page.locator("#facts dl").waitFor();
        const facts = await page.locator("#facts").textContent();
        assert.match(facts, /"><img src=x onerror=alert\(1\)>\\u\{202e\}/);
        assert.equal(facts.includes("\u202e"), false);
        await page.locator(".sheet.there").waitFor();
        if (at === 0) await shot("gallery-names");
        await page.keyboard.press("Escape");
        await noFullView(page);
    }
    for (const name of names) {
        const path = `GET /files/${listed(name).url}`;
        assert.ok(mock.asked.includes(path), path);
    }
    await page.locator("#tiles a.folder").click();
    await until(page, () => document.querySelector("#photos-title").textContent === "<b>x");
    assert.equal(await page.locator("main img[src='x'], dialog img[src='x'], main b").count(), 0);
    await calm();
});

test("who may not read is told so, and who may not even look", async () => {
    holds("", { files: photos(5) });
    mock.session.may = { put: true, get: false, list: true, overwrite: false };
    const { page, calm } = await visit(DESKTOP, { unanswered: true });
    await until(page, () => document.querySelectorAll("#tiles a.plain").length === 5);
    await tile(page, "IMG_00000.jpg").click();
    await page.getByText("may see what is there, and not read it").first().waitFor();
    assert.equal(await page.locator("#full-download").isVisible(), false);
    await page.keyboard.press("Escape");
    await noFullView(page);
    assert.equal(
        mock.asked.some((each) => /^GET \/(thumbs|files|facts)\//.test(each)),
        false,
    );
    // The grant was changed meanwhile.
    mock.deny = () => [403, "not-allowed", "this client may not list files here"];
    await page.locator("#views a[href='#/send']").click();
    await page.locator("#sending").waitFor();
    await page.goBack();
    await page.getByText("this client may not list files here").waitFor();
    mock.session.may = { put: true, get: false, list: false, overwrite: false };
    await page.reload();
    await page.locator("#sending").waitFor();
    assert.equal(await page.locator("#views").isVisible(), false);
    await calm();
});

test("when the session is over it is said, whatever finds it out", async () => {
    for (const found of ["a list", "a picture", "facts"]) {
        holds("", { files: photos(200), looking: found === "a list" });
        mock.picture = async () => jpeg;
        const { page, context } = await visit(DESKTOP, { unanswered: true });
        await shown(page);
        if (found === "facts") {
            await tile(page, "IMG_00000.jpg").click();
            await page.locator(".sheet.there").waitFor();
        }
        mock.sessions.clear();
        mock.picture = async () => null;
        if (found === "a picture") await page.evaluate(() => scrollTo(0, 3_000));
        if (found === "facts") await page.keyboard.press("i");
        await page.locator("#gate").waitFor();
        assert.match(await page.locator("#gate-notice").innerText(), /The session is over/, found);
        assert.equal(await page.locator("#full").isVisible(), false);
        assert.equal(await page.locator("#tiles li").count(), 0);
        await context.close();
    }
});

test("a lost network is told, and gone on from", async () => {
    holds("", { files: photos(600) });
    const { page, calm, shot } = await visit(DESKTOP, { unanswered: true });
    await shown(page);
    mock.down = true;
    mock.cut();
    await page.evaluate(() => scrollTo(0, 4_000));
    await page.locator("#photos-trouble").waitFor();
    assert.match(await page.locator("#photos-notice").innerText(), /does not answer/);
    await until(page, () => document.querySelectorAll("#tiles a.plain").length > 10);
    const { top, bottom } = await page
        .locator("#photos-trouble")
        .evaluate((box) => box.getBoundingClientRect().toJSON());
    assert.ok(top >= 0 && bottom <= 900, "whoever has scrolled sees it, too");
    await shot("gallery-lost");
    await page.locator("#tiles a.plain").nth(3).click();
    await until(page, () => document.querySelector("#stage").textContent.includes("does not answer"));
    mock.down = false;
    await page.locator(".sheet.there").waitFor();
    await page.keyboard.press("Escape");
    await page.locator("#photos-trouble").waitFor({ state: "hidden" });
    await until(page, () => document.querySelectorAll("#tiles a.plain").length === 0);
    // And from the very beginning.
    mock.down = true;
    await page.evaluate(() => (location.hash = "#/send"));
    await page.evaluate(() => (location.hash = "#/photos"));
    await page.locator("#photos-again").waitFor();
    mock.down = false;
    await page.locator("#photos-again").click();
    await page.locator("#photos-trouble").waitFor({ state: "hidden" });
    await calm();
});

test("axe finds no fault in the gallery, light or dark, and everything in it speaks Chinese", async () => {
    const files = photos(120);
    files.splice(3, 0, listed("film.mp4", { kind: "video", modified: Date.parse(`${files[2].taken}Z`) }));
    mock.facts = () => FACTS;
    for (const look of [DESKTOP, { ...DESKTOP, colorScheme: "dark" }, { ...PHONE, colorScheme: "light" }, PHONE]) {
        holds("", {
            files,
            folders: [
                { name: "2024", url: "2024" },
                { name: "Holiday", url: "Holiday" },
            ],
        });
        holds("2024", { looking: true, more: true, files: photos(2) });
        holds("Holiday", {});
        const { page, calm, shot } = await visit(look, { unanswered: true });
        const name = `${look.locale}-${look.colorScheme ?? "light"}`;
        const scene = async (what) => {
            await accessible(page, `${name} ${what}`);
            await shot(`gallery-${name}-${what}`);
        };
        await shown(page);
        await scene("album");
        if (look.locale === "zh-CN")
            assert.match(await page.locator("main").innerText(), /照片[^]*121 项[^]*2026年11月/);
        await page.evaluate(() => scrollTo(0, 700));
        await shown(page);
        await scene("scrolled");
        await page.evaluate(() => scrollTo(0, 0));
        await tile(page, "IMG_00001.jpg").click();
        await page.locator(".sheet.there").waitFor();
        await scene("full");
        await page.locator("#full-facts").click();
        await page.locator("#facts dl").waitFor();
        await scene("facts");
        await page.keyboard.press("Escape");
        await noFullView(page);
        await tile(page, "2024").click();
        await page.locator("#photos-asking").waitFor();
        await shown(page);
        await scene("looking");
        await page.goto(`${url}/#/photos/Holiday/`);
        await page.locator("#photos-empty").waitFor();
        await scene("empty");
        await page.goto(`${url}/#/photos/gone/`);
        await page.locator("#photos-trouble").waitFor();
        await scene("gone");
        await calm();
    }
});
