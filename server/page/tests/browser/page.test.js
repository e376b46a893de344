// The page in Chromium, with a server that can be told to misbehave.

import assert from "node:assert/strict";
import { join } from "node:path";
import { after, before, beforeEach, afterEach, test } from "node:test";

import { Mock } from "../mock.js";
import { accessible, board, DESKTOP, drop, Folder, launch, open, outcome, PHONE } from "./support.js";

let browser, mock, url, folder;
before(async () => (browser = await launch()));
after(() => browser.close());
beforeEach(async () => {
    mock = new Mock();
    url = await mock.start();
    folder = new Folder();
});
afterEach(() => {
    mock.stop();
    folder.remove();
});

const link = () => `${url}/#invite=welcome`;

/** Lets nothing more come of a film that has so many bytes, until the function that it gives back is called. */
function holdAfter(bytes) {
    let release;
    const held = new Promise((done) => (release = done));
    mock.hold = ({ headers }) => (Number(headers["upload-offset"]) > bytes ? held : null);
    return release;
}

function assertArrived(digests) {
    assert.deepEqual(
        Object.fromEntries([...mock.files].map(([name, { digest }]) => [name, digest])),
        Object.fromEntries(digests),
    );
}

test("without an invite it says what this is and how to get in, and nothing more", async () => {
    const { page, calm, shot } = await open(browser, url);
    assert.match(await page.locator("main").innerText(), /ferryd invite --web --qr/);
    assert.equal(await page.locator("#sending").isVisible(), false);
    assert.equal(await page.locator("html").getAttribute("lang"), "en");
    await shot("gate");
    await calm();
});

test("an invite becomes a session, and is forgotten", async () => {
    const { page, calm, shot } = await open(browser, link(), PHONE);
    await page.locator("#join").waitFor();
    assert.equal(mock.sessions.size, 0, "nothing is used up before somebody agrees");
    assert.equal(await page.locator("html").getAttribute("lang"), "zh-Hans");
    await shot("join-phone");
    await page.locator("#device").fill("Mia’s phone");
    await page.locator("#join button").tap();
    await page.locator("#sending").waitFor();
    await shot("empty-phone");
    assert.equal(new URL(page.url()).hash, "#/send");
    assert.equal(mock.session.client, "Mia’s phone");
    assert.deepEqual(await page.evaluate(() => [sessionStorage.length, document.cookie]), [0, ""]);
    assert.equal(await page.evaluate(() => JSON.stringify({ ...localStorage }).includes("welcome")), false);
    await page.goBack().catch(() => {});
    assert.equal(page.url().includes("invite"), false, "going back does not bring it back");
    await calm();
});

test("an invite that names the device asks nobody for a name", async () => {
    mock.invites.add("theirs");
    mock.names.set("theirs", "anna-phone");
    const { page, calm, shot } = await open(browser, `${url}/#invite=theirs`);
    await page.locator("#join").waitFor();
    assert.equal(mock.sessions.size, 0, "asking uses nothing up");
    assert.match(await page.locator("#join").innerText(), /called anna-phone there/);
    for (const field of ["#device", "#device-label"]) assert.equal(await page.locator(field).isVisible(), false);
    await accessible(page, "join by a name");
    await shot("join-named");
    // Another link in the same tab, which names nobody, asks again.
    await page.goto(link());
    await page.locator("#device").waitFor();
    assert.equal(await page.locator("#join-as").isVisible(), false);
    assert.match(await page.locator("#device").inputValue(), /^Linux PC$/);
    await page.goto(`${url}/#invite=theirs`);
    await page.locator("#join-as").waitFor();
    await page.locator("#join button").click();
    await page.locator("#sending").waitFor();
    assert.equal(mock.session.client, "anna-phone");
    await calm();
});

test("an answer that was lost is asked for again with the same nonce", async () => {
    const { page, calm } = await open(browser, link(), DESKTOP, { unanswered: true });
    const nonces = [];
    let lost = false;
    await page.route("**/session", async (route) => {
        if (route.request().method() === "POST") {
            nonces.push(route.request().postDataJSON().nonce);
            if (!lost) {
                lost = true;
                return route.abort();
            }
        }
        await route.continue();
    });
    await page.locator("#join button").click();
    await page.locator("#join-notice").waitFor();
    await page.reload();
    await page.locator("#join button").click();
    await page.locator("#sending").waitFor();
    assert.equal(nonces.length, 2);
    assert.equal(nonces[0], nonces[1]);
    await calm();
});

test("an invite that cannot be used says so", async () => {
    const { page, calm } = await open(browser, `${url}/#invite=used`, DESKTOP, { unanswered: true });
    await page.locator("#join button").click();
    await page.locator("#gate-notice").waitFor();
    assert.match(await page.locator("#gate-notice").innerText(), /used already/);
    assert.equal(await page.locator("#join").isVisible(), false, "what cannot be used is not offered again");
    await calm();
});

test("a link never changes a session by itself", async () => {
    const { page, calm, shot } = await open(browser, url);
    await board(page, link());
    mock.invites.add("theirs");
    for (const how of ["in the same tab", "in a new one"]) {
        if (how === "in a new one") await page.goto("about:blank");
        await page.goto(`${url}/#invite=theirs`);
        await page.locator("#switch").waitFor();
        assert.equal(mock.sessions.size, 1, how);
        await shot("switch");
        await page.keyboard.press("Enter");
        await page.locator("#sending").waitFor();
        assert.equal(mock.sessions.size, 1, `${how}: staying is what comes first`);
        assert.equal(new URL(page.url()).hash, "#/send");
    }
    await page.goto(`${url}/#invite=theirs`);
    await page.locator("#switch-use").click();
    await page.locator("#join button").click();
    await page.locator("#sending").waitFor();
    assert.equal(mock.sessions.size, 2);
    await calm();
});

test("who may not send is told so", async () => {
    mock.session.may = { put: false, get: true, list: true, overwrite: false };
    const { page, calm } = await open(browser, link());
    await page.locator("#join button").click();
    // What it may is what it comes to.
    await page.locator("#photos").waitFor();
    assert.equal(new URL(page.url()).hash, "#/photos");
    await page.locator("#views a[href='#/send']").click();
    await page.locator("#may-not").waitFor();
    assert.equal(await page.locator("#sending").isVisible(), false);
    await calm();
});

test("photos and a folder that are dropped arrive, and their digests agree", async () => {
    for (let i = 0; i < 20; i++) folder.add(`IMG_${i}.jpg`, 50_000 + i);
    // More than the browser lists at a time.
    for (let i = 0; i < 230; i++) folder.add(`trip/day ${i % 3}/${i}.jpg`, 100 + i);
    folder.add("trip/empty.txt", 0);
    const { page, calm, shot } = await open(browser, url);
    await board(page, link());
    const tops = [...Array(20).keys()].map((i) => join(folder.path, `IMG_${i}.jpg`));
    await drop(page, [...tops, join(folder.path, "trip")]);
    await page.waitForFunction(() => document.querySelector("#count").textContent.includes("251"));
    assert.match(await outcome(page), /Everything has arrived[^]*251 sent/);
    assertArrived(folder.digests);
    const begun = mock.asked.filter((line) => line === "POST /uploads").length;
    assert.equal(begun, 251, "a photo is one request");
    await shot("done");
    assert.equal(await page.title(), "ferry");

    // And a second time nothing is sent.
    const before = mock.received;
    await page.locator("#tidy").click();
    await drop(page, tops);
    await page.waitForFunction(() => document.querySelector("#told").textContent.includes("20 already there"));
    assert.equal(mock.received, before);
    await calm();
});

test("a folder that is typed in is where they go", async () => {
    const { page, calm } = await open(browser, url);
    await board(page, link());
    await page.locator("#folder").fill(" Holiday 2026 / ../beach/");
    await page.locator("#files-input").setInputFiles([folder.add("a.jpg", 10)]);
    await outcome(page);
    assert.deepEqual([...mock.files.keys()], ["Holiday 2026/beach/a.jpg"]);
    await calm();
});

test("a server that is killed in the middle, and loses what it had not kept, gets everything", async () => {
    const paths = [...Array(30).keys()].map((i) => folder.add(`IMG_${i}.jpg`, 200_000));
    paths.push(folder.add("film.mp4", 30_000_000));
    const { page, calm, shot } = await open(browser, url, DESKTOP, { unanswered: true });
    await board(page, link());
    mock.delay = 30;
    mock.interfere.piece = () => {
        if (mock.received < 12_000_000) return false;
        mock.interfere.piece = undefined;
        mock.down = true;
        mock.restart();
        return true;
    };
    await page.locator("#files-input").setInputFiles(paths);
    await page.locator("#state.bad").waitFor();
    await shot("outage");
    assert.match(await page.locator("#state").innerText(), /Nothing is lost/);
    mock.down = false;
    mock.delay = 0;
    assert.match(await outcome(page), /Everything has arrived/);
    assertArrived(folder.digests);
    await calm();
});

test("after a reload the same file goes on", async () => {
    const film = folder.add("film.mp4", 40_000_000);
    const { page, calm } = await open(browser, url, DESKTOP, { unanswered: true });
    await board(page, link());
    const release = holdAfter(16_000_000);
    const dialogs = [];
    page.on("dialog", (dialog) => dialogs.push(dialog.type()));
    await page.locator("#files-input").setInputFiles([film]);
    await page.waitForFunction(() => document.querySelector("#all").value > 0.4);
    await page.reload();
    assert.deepEqual(dialogs, ["beforeunload"], "it asks before it goes");
    await page.locator("#sending").waitFor();
    release();
    await page.locator("#interrupted").waitFor();
    assert.match(await page.locator("#interrupted").innerText(), /^An upload was interrupted: \S.*\. Choose the same file again/);
    const before = mock.received;
    await page.locator("#files-input").setInputFiles([film]);
    await outcome(page);
    assert.equal(await page.locator("#interrupted").isVisible(), false, "it has gone on");
    assertArrived(folder.digests);
    assert.ok(before > 8_000_000, `${before} bytes had arrived`);
    assert.equal(mock.received, 40_000_000, "no byte came twice");
    await page.reload();
    assert.equal(dialogs.length, 1, "it does not when everything has arrived");
    await calm();
});

test("what another tab is sending is not interrupted before that is closed, and may be forgotten", async () => {
    const film = folder.add("film.mp4", 40_000_000);
    const { page, context } = await open(browser, url, DESKTOP, { unanswered: true });
    await board(page, link());
    const release = holdAfter(16_000_000);
    await page.locator("#files-input").setInputFiles([film]);
    await page.waitForFunction(() => document.querySelector("#all").value > 0.4);
    const { page: second, calm } = await open(browser, url, DESKTOP, { unanswered: true, context });
    await second.locator("#sending").waitFor();
    const waits = () => second.evaluate(async () => (await navigator.locks.query()).pending.length);
    assert.equal(await waits(), 1, "it waits until it is alone");
    assert.equal(await second.locator("#interrupted").isVisible(), false);
    await page.close();
    await second.locator("#interrupted").waitFor();
    await accessible(second, "interrupted");
    release();
    const removed = second.waitForResponse((answer) => answer.request().method() === "DELETE");
    await second.locator("#interrupted-forget").click();
    await second.locator("#interrupted").waitFor({ state: "hidden" });
    assert.equal(await second.evaluate(() => localStorage.getItem("ferry.uploads")), "[]");
    await removed;
    assert.equal(mock.uploads.size, 0, "the server need not keep it, either");
    await calm();
});

test("a pause stops, and goes on", async () => {
    const film = folder.add("film.mp4", 40_000_000);
    const { page, calm } = await open(browser, url, DESKTOP, { unanswered: true });
    await board(page, link());
    const release = holdAfter(16_000_000);
    await page.locator("#files-input").setInputFiles([film]);
    await page.waitForFunction(() => document.querySelector("#all").value > 0.4);
    await page.locator("#pause").click();
    await page.waitForFunction(() => document.querySelector("#state").textContent === "Paused");
    release();
    await page.locator("#pause").click();
    assert.match(await outcome(page), /1 sent/);
    assertArrived(folder.digests);
    await calm();
});

test("when the Wi-Fi is gone nothing is lost, and when it is back it goes on at once", async () => {
    const paths = [...Array(10).keys()].map((i) => folder.add(`IMG_${i}.jpg`, 100_000));
    paths.push(folder.add("film.mp4", 30_000_000));
    const { page, context, calm } = await open(browser, url, DESKTOP, { unanswered: true });
    await board(page, link());
    mock.delay = 500;
    await page.locator("#files-input").setInputFiles(paths);
    await page.waitForFunction(() => document.querySelector("#all").value > 0);
    await context.setOffline(true);
    await page.locator("#state.bad").waitFor();
    mock.delay = 0;
    await context.setOffline(false);
    assert.match(await outcome(page), /11 sent/);
    assertArrived(folder.digests);
    await calm();
});

test("whoever cannot be signed out is told so, and what was chosen before is not for the next", async () => {
    const { page, context, calm } = await open(browser, url, DESKTOP, { unanswered: true });
    await board(page, link());
    mock.delay = 1_000;
    await page.locator("#files-input").setInputFiles([folder.add("a.jpg", 1_000), folder.add("b.jpg", 1_000)]);
    await page.locator("#who").click();
    await context.setOffline(true);
    await page.locator("#sign-out").click();
    await page.locator("#gate").waitFor();
    assert.match(await page.locator("#gate-notice").innerText(), /Not signed out/);
    await context.setOffline(false);
    await page.reload();
    await page.locator("#sending").waitFor();

    await page.locator("#files-input").setInputFiles([folder.add("c.jpg", 1_000), folder.add("d.jpg", 1_000)]);
    await page.locator("#who").click();
    await page.locator("#sign-out").click();
    await page.locator("#gate").waitFor();
    assert.match(await page.locator("#gate-notice").innerText(), /Signed out/);
    mock.delay = 0;
    await board(page, link());
    assert.equal(await page.locator("#list > li").count(), 0);
    await calm();
});

test("a file that is changed while it is sent is a failure by name, and choosing it again sends the new one", async () => {
    const film = folder.add("film.mp4", 30_000_000);
    const photo = folder.add("a.jpg", 1_000);
    const { page, calm } = await open(browser, url, DESKTOP, { unanswered: true });
    await board(page, link());
    mock.interfere = (request) => {
        // At the second of four slices; the third may have been read ahead.
        if (Number(request.headers["upload-offset"]) > 0) {
            mock.interfere = () => false;
            folder.add("film.mp4", 29_000_000);
        }
        return false;
    };
    await page.locator("#files-input").setInputFiles([film, photo]);
    assert.match(await outcome(page), /1 file has not arrived[^]*1 sent/);
    assert.match(
        await page.locator("#list").innerText(),
        /film\.mp4\s+Failed: The file cannot be read\. It was changed/,
    );
    assert.deepEqual([...mock.files.keys()], ["a.jpg"]);
    await page.locator("#files-input").setInputFiles([film]);
    await page.getByText("Everything has arrived", { exact: true }).waitFor();
    assertArrived(folder.digests);
    await calm();
});

test("a session that ends stops everything, and a new invite in the same tab goes on", async () => {
    const paths = [...Array(20).keys()].map((i) => folder.add(`IMG_${i}.jpg`, 20_000));
    const { page, calm, shot } = await open(browser, url, DESKTOP, { unanswered: true });
    await board(page, link());
    mock.delay = 50;
    await page.locator("#files-input").setInputFiles(paths);
    await page.waitForFunction(() => document.querySelector("#all").value > 0.2);
    mock.sessions.clear();
    await page.waitForFunction(() => document.querySelector("#state").textContent.includes("session is over"));
    await shot("over");
    await page.goto(link());
    await page.locator("#join button").click();
    assert.match(await outcome(page), /Everything has arrived/);
    assertArrived(folder.digests);
    await calm();
});

test("a refusal and a lie are failures by name, with the server's words and a way to try again", async () => {
    const paths = ["a.jpg", "full.jpg", "lie.jpg", "lost.jpg"].map((name) => folder.add(name, 5_000));
    const { page, calm, shot } = await open(browser, url, DESKTOP, { unanswered: true });
    await board(page, link());
    mock.interfere = (request, response, { name }) => {
        if (name !== "full.jpg") return false;
        request.resume();
        response.writeHead(507, { "Content-Type": "application/problem+json" }).end(
            JSON.stringify({
                status: 507,
                code: "quota-exceeded",
                title: "quota",
                detail: "the quota of 1 GB is reached",
            }),
        );
        return true;
    };
    mock.tell = (digest, { name }) => (name === "lie.jpg" ? digest.replace(/./g, "0") : digest);
    await page.locator("#files-input").setInputFiles(paths);
    assert.match(await outcome(page), /2 files have not arrived/);
    const text = await page.locator("#list").innerText();
    assert.match(text, /full\.jpg\s+Failed: the quota of 1 GB is reached/);
    assert.match(text, /lie\.jpg\s+Failed: The server has other bytes than this file\. Do not delete it here\./);
    assert.match(
        await page.locator("#reasons").innerText(),
        /^the quota of 1 GB is reached\nThe server has other bytes [^]*≠ [0-9a-f]{64}\)$/,
    );
    assert.equal((await page.locator("#percent").innerText()) === "100%", false);
    await shot("failed");
    mock.interfere = () => false;
    mock.tell = (digest) => digest;
    await page.locator("#retry-all").click();
    await page.getByText("Everything has arrived", { exact: true }).waitFor();
    await calm();
});

test("what is too large is refused before it is announced", async () => {
    mock.session.max_file = 1_000;
    const { page, calm } = await open(browser, url);
    await board(page, link());
    await page.locator("#files-input").setInputFiles([folder.add("big.mp4", 1_001)]);
    await outcome(page);
    assert.match(await page.locator("#list").innerText(), /Larger than the 1 kB/);
    assert.equal(
        mock.asked.some((line) => line.includes("/uploads")),
        false,
    );
    await calm();
});

test("hostile_05_names_and_words_of_the_server_are_text", async () => {
    const names = [
        "<img src=x onerror=alert(1)>.jpg",
        "\u202egpj.exe",
        "a\nb\x1b[31m.txt",
        '"><script>alert(1)</script>',
        "javascript:alert(1)",
    ];
    Object.assign(mock.session, { server: "<b>nas</b>\u202e", folder: "<i>x</i>" });
    const { page, calm, shot } = await open(browser, url, DESKTOP, { unanswered: true });
    await board(page, link());
    mock.interfere = (request, response) => {
        request.resume();
        response
            .writeHead(403, { "Content-Type": "application/problem+json" })
            .end(JSON.stringify({ status: 403, code: "not-allowed", detail: "<img src=x onerror=alert(2)>\u202e" }));
        return true;
    };
    await page.evaluate((names) => {
        const transfer = new DataTransfer();
        for (const name of names) transfer.items.add(new File(["x"], name));
        document.body.dispatchEvent(new DragEvent("drop", { dataTransfer: transfer, bubbles: true, cancelable: true }));
    }, names);
    await outcome(page);
    await shot("hostile");
    assert.deepEqual(
        await page.evaluate(() => document.querySelectorAll("main img[src='x'], main script, main b, main i").length),
        0,
    );
    const text = await page.locator("body").innerText();
    assert.match(text, /\\u\{202e\}gpj\.exe/);
    assert.match(text, /<b>nas<\/b>\\u\{202e\}/);
    assert.match(text, /Failed: <img src=x onerror=alert\(2\)>\\u\{202e\}/);
    assert.doesNotMatch(text, /\u202e|\x1b/);
    await calm();
});

test("five thousand photos do not freeze it", async () => {
    const { page, calm, shot } = await open(browser, url);
    await board(page, link());
    await page.evaluate(() => {
        const transfer = new DataTransfer();
        for (let i = 0; i < 5_000; i++)
            transfer.items.add(new File([`photo ${i}`], `IMG_${i}.jpg`, { lastModified: 1 }));
        window.longest = 0;
        window.began = performance.now();
        new PerformanceObserver((list) => {
            // Making up the files is the test's own work.
            for (const { startTime, duration } of list.getEntries())
                if (startTime > window.began) window.longest = Math.max(window.longest, duration);
        }).observe({ type: "longtask" });
        document.body.dispatchEvent(new DragEvent("drop", { dataTransfer: transfer, bubbles: true, cancelable: true }));
    });
    await page.waitForFunction(() => document.querySelector("#count").textContent.includes("5,000"));
    await page.mouse.wheel(0, 150_000);
    await page.waitForFunction(() => scrollY > 100_000 && document.querySelector("#list").childElementCount > 5);
    assert.ok((await page.locator("#list > li").count()) < 60, "only what is in sight is on the page");
    await shot("many");
    assert.match(await outcome(page), /5,000 sent|5000 sent/);
    assert.equal(mock.files.size, 5_000);
    const [longest, took] = await page.evaluate(() => [window.longest, performance.now() - window.began]);
    console.log(
        `5,000 files in ${(took / 1000).toFixed(1)} s; the page was busy for ${Math.round(longest)} ms at most`,
    );
    await calm();
});

test("it can be used with the keyboard alone", async () => {
    const { page, calm } = await open(browser, url);
    await board(page, link());
    const reached = async (id) => {
        for (let i = 0; i < 30; i++) {
            await page.keyboard.press("Tab");
            if (await page.evaluate((id) => document.activeElement.id === id, id)) return true;
        }
        return false;
    };
    // The browser has to be told beforehand, which takes it a moment.
    const chooser = page.waitForEvent("filechooser");
    assert.equal(await page.evaluate(() => document.activeElement.id), "main", "nobody is sent back to the top");
    await page.keyboard.press("Tab");
    assert.equal(await page.evaluate(() => document.activeElement.id), "choose-files");
    await page.keyboard.press("Enter");
    await (await chooser).setFiles([folder.add("a.jpg", 10)]);
    await outcome(page);
    assert.ok(await reached("tidy"));
    await page.keyboard.press("Enter");
    await page.locator("#summary").waitFor({ state: "hidden" });
    await calm();
});

test("nothing is cut off at 320 px, which is 640 px at twice the size, and a thumb meets every button", async () => {
    const look = { viewport: { width: 320, height: 640 }, isMobile: true, hasTouch: true, locale: "en-US" };
    const { page, calm, shot } = await open(browser, url, look, { unanswered: true });
    const check = async (scene) => {
        assert.ok(
            await page.evaluate(() => document.documentElement.scrollWidth <= innerWidth),
            `${scene} is wider than the screen`,
        );
        const small = await page.evaluate(() =>
            Array.from(document.querySelectorAll("button, a, summary, input"), (element) => [
                element.id || element.className,
                element.getBoundingClientRect(),
            ])
                .filter(([, { width, height }]) => width > 0 && (width < 44 || height < 44))
                .map(([name]) => name),
        );
        assert.deepEqual(small, [], scene);
        await shot(`narrow-${scene}`);
    };
    await check("gate");
    await page.goto(link());
    await page.locator("#join").waitFor();
    await check("join");
    mock.session.max_file = 5;
    await page.locator("#join button").tap();
    await page.locator("#sending").waitFor();
    await check("empty");
    await page
        .locator("#files-input")
        .setInputFiles([
            folder.add("a name that is much longer than a narrow screen is wide.jpeg", 40_000),
            folder.add("b.jpg", 5),
        ]);
    await outcome(page);
    await check("done");
    await page.locator("#who").tap();
    await check("who");
    await calm();
});

test("axe finds no fault in any scene, light or dark", async () => {
    for (const look of [DESKTOP, PHONE]) {
        const { page, calm } = await open(browser, url, look, { unanswered: true });
        const check = (scene) => accessible(page, scene);
        await check("gate");
        await page.goto(link());
        await page.locator("#join").waitFor();
        await check("join");
        await page.locator("#join button").click();
        await page.locator("#sending").waitFor();
        await check("empty");
        await page.locator("#who").click();
        await check("who");
        await page.keyboard.press("Escape");
        mock.delay = 300;
        const paths = [...Array(12).keys()].map((i) => folder.add(`${look.locale}${i}.jpg`, 9_000));
        await page.locator("#files-input").setInputFiles([...paths, folder.add("x.mp4", 20_000_000)]);
        await page.waitForFunction(() => document.querySelectorAll(".working progress").length > 0);
        await check("busy");
        mock.tell = (digest) => digest.replace(/./g, "0");
        mock.delay = 0;
        await outcome(page);
        await check("failed");
        mock.tell = (digest) => digest;
        await page.goto(`${url}/#invite=welcome`);
        await page.locator("#switch").waitFor();
        await check("switch");
        await calm();
    }
});

test("how fast a worker digests is told", async () => {
    const { page, calm } = await open(browser, url);
    const rate = await page.evaluate(async () => {
        const worker = new Worker("/page/hasher.js", { type: "module" });
        const ask = (message, given) =>
            new Promise((done) => {
                worker.onmessage = ({ data }) => done(data);
                worker.postMessage({ id: 1, ...message }, given);
            });
        const update = () => {
            const { buffer } = new Uint8Array(8 << 20).fill(7);
            return ask({ ask: "update", bytes: buffer }, [buffer]);
        };
        for (let i = 0; i < 4; i++) await update();
        const began = performance.now();
        for (let i = 0; i < 32; i++) await update();
        return (32 * (8 << 20)) / (performance.now() - began) / 1_000;
    });
    console.log(`SHA-256 in a worker: ${rate.toFixed(0)} MB/s`);
    await calm();
});
