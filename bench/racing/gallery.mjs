// What Chromium makes of a large album, as JSON: milliseconds until the first screen stands, and the memory of the page while
// all of it is scrolled through.
//
//   node gallery.mjs LINK ALBUM ROUNDS
//
// Without the libraries that drive browsers for tests: they watch the network, and for that every picture that has come stays
// in the page's memory.
import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

const [link, album, rounds] = process.argv.slice(2);
const SIZE = { width: 1280, height: 900 };

const profile = mkdtempSync(join(tmpdir(), "ferry-gallery-"));
const chromium = spawn(
    process.env.CHROMIUM ?? "chromium",
    [
        ...["--headless=new", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"],
        ...["--disable-background-networking", "--disable-component-update", "--disable-sync"],
        ...["--ignore-certificate-errors", "--remote-debugging-pipe", `--user-data-dir=${profile}`],
        `--window-size=${SIZE.width},${SIZE.height}`,
        "about:blank",
    ],
    { stdio: ["ignore", "ignore", "ignore", "pipe", "pipe"] },
);

// The DevTools protocol: objects that end in a zero byte.
const asked = new Map();
let said = "";
chromium.stdio[4].setEncoding("utf8").on("data", (data) => {
    const messages = (said + data).split("\0");
    said = messages.pop();
    for (const message of messages.map((text) => JSON.parse(text))) {
        const answer = asked.get(message.id);
        asked.delete(message.id);
        if (message.error) answer?.reject(new Error(message.error.message));
        else answer?.resolve(message.result);
    }
});
let number = 0;
function send(method, params = {}, sessionId = undefined) {
    const id = ++number;
    chromium.stdio[3].write(`${JSON.stringify({ id, method, params, sessionId })}\0`);
    return new Promise((resolve, reject) => asked.set(id, { resolve, reject }));
}

const { targetInfos } = await send("Target.getTargets");
const { targetId } = targetInfos.find(({ type }) => type === "page");
const { sessionId } = await send("Target.attachToTarget", { targetId, flatten: true });
const ask = (method, params) => send(method, params, sessionId);

/** What a script comes to in the page. */
async function evaluate(expression) {
    const { result, exceptionDetails } = await ask("Runtime.evaluate", {
        expression,
        awaitPromise: true,
        returnByValue: true,
    });
    if (exceptionDetails) throw new Error(exceptionDetails.exception?.description ?? exceptionDetails.text);
    return result.value;
}

/** Waits until this is true of the page. It may be another page by then. */
async function until(expression) {
    const watch = `new Promise((done) => {
        const look = () => (${expression}) ? done(true) : requestAnimationFrame(look);
        look();
    })`;
    while (!(await evaluate(watch).catch(() => false)));
}

/** Every picture that the window shows is there. */
const STANDS = `(() => {
    const seen = [...document.querySelectorAll("#tiles a")].filter((link) => {
        const { top, bottom } = link.getBoundingClientRect();
        return bottom > 0 && top < innerHeight;
    });
    return seen.length > 0 && seen.every((link) => link.querySelector("img.there"));
})()`;

/** In bytes: what scripts hold; what else the page's process holds; what it shares with others, as decoded pictures are. */
async function memory() {
    for (let i = 0; i < 3; i++) await ask("HeapProfiler.collectGarbage");
    const { metrics } = await ask("Performance.getMetrics");
    const { processInfo } = await send("SystemInfo.getProcessInfo");
    const held = processInfo
        .filter(({ type }) => type === "renderer")
        .map(({ id }) => {
            const status = readFileSync(`/proc/${id}/status`, "utf8");
            const of = (what) => Number(new RegExp(`${what}:\\s+(\\d+)`).exec(status)[1]) * 1024;
            return { own: of("RssAnon"), shared: of("RssShmem") };
        })
        // Others wait for a page to come.
        .sort((one, other) => other.own + other.shared - one.own - one.shared);
    return { heap: metrics.find(({ name }) => name === "JSHeapUsedSize").value, ...held[0] };
}

try {
    await ask("Performance.enable");
    await ask("Page.navigate", { url: link });
    await until(`document.querySelector("#join button")?.offsetParent`);
    await evaluate(`document.querySelector("#join button").click()`);
    await until(`document.querySelector("#sending")?.offsetParent`);
    const first = [];
    // The first one finds what no browser has been asked for yet, and does not count.
    for (let round = 0; round <= Number(rounds); round++) {
        await ask("Page.navigate", { url: "about:blank" });
        await until(`location.href === "about:blank"`);
        await ask("Network.clearBrowserCache");
        await ask("Page.navigate", { url: `${new URL(link).origin}/#/photos/${album}` });
        await until(STANDS);
        if (round > 0) first.push(await evaluate("performance.now()"));
    }
    const tiles = await evaluate(`document.querySelectorAll("#tiles a").length`);
    const screens = await evaluate("Math.ceil(document.documentElement.scrollHeight / innerHeight)");
    const weighed = [];
    // Down and up again, a window at a time, as slowly as the pictures come.
    for (let stop = 0; stop <= 2 * screens; stop++) {
        await evaluate(`scrollTo(0, innerHeight * ${stop <= screens ? stop : 2 * screens - stop})`);
        await until(STANDS);
        if (stop % Math.ceil(screens / 5) === 0) weighed.push(await memory());
    }
    // As when the machine has no memory left: then a browser lets go of what it can have again.
    await send("Memory.simulatePressureNotification", { level: "critical" }).catch(() =>
        ask("Memory.simulatePressureNotification", { level: "critical" }),
    );
    await new Promise((later) => setTimeout(later, 2_000));
    const pressed = await memory();
    console.log(JSON.stringify({ first, tiles, screens, weighed, pressed }));
} finally {
    const ended = once(chromium, "exit");
    chromium.kill();
    await ended;
    rmSync(profile, { recursive: true, force: true });
}
