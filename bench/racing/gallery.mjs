// What Chromium makes of a large album, as JSON: milliseconds until the first screen stands, and the memory of the page while
// all of it is scrolled through.
//
//   node gallery.mjs LINK ALBUM ROUNDS
import { readFileSync } from "node:fs";

import { board, DESKTOP, launch } from "../../server/page/tests/browser/support.js";

const [link, album, rounds] = process.argv.slice(2);
const browser = await launch();
const context = await browser.newContext({ ...DESKTOP, ignoreHTTPSErrors: true });
const page = await context.newPage();
const client = await context.newCDPSession(page);
const whole = await browser.newBrowserCDPSession();

/** Every picture that the window shows is there. */
const stands = () =>
    page.waitForFunction(() => {
        const seen = [...document.querySelectorAll("#tiles a")].filter((link) => {
            const { top, bottom } = link.getBoundingClientRect();
            return bottom > 0 && top < innerHeight;
        });
        return seen.length > 0 && seen.every((link) => link.querySelector("img.there"));
    });

async function memory() {
    for (let i = 0; i < 3; i++) await client.send("HeapProfiler.collectGarbage");
    const { metrics } = await client.send("Performance.getMetrics");
    const { processInfo } = await whole.send("SystemInfo.getProcessInfo");
    const resident = processInfo
        .filter(({ type }) => type === "renderer")
        .map(({ id }) => Number(/VmRSS:\s+(\d+)/.exec(readFileSync(`/proc/${id}/status`, "utf8"))[1]) * 1024);
    return {
        heap: metrics.find(({ name }) => name === "JSHeapUsedSize").value,
        // The page's own; others wait for a page to come.
        resident: Math.max(...resident),
    };
}

await board(page, link);
await client.send("Network.enable");
await client.send("Performance.enable");
const first = [];
// The first one finds what no browser has been asked for yet, and does not count.
for (let round = 0; round <= Number(rounds); round++) {
    await page.goto("about:blank");
    await client.send("Network.clearBrowserCache");
    await page.goto(`${new URL(link).origin}/#/photos/${album}`);
    await stands();
    if (round > 0) first.push(await page.evaluate(() => performance.now()));
}
const tiles = await page.locator("#tiles a").count();

const height = await page.evaluate(() => document.documentElement.scrollHeight);
const stops = Math.floor(height / DESKTOP.viewport.height);
const weighed = [];
// Down and up again, a window at a time, as slowly as the pictures come.
for (let stop = 0; stop <= 2 * stops; stop++) {
    const top = DESKTOP.viewport.height * (stop <= stops ? stop : 2 * stops - stop);
    await page.evaluate((top) => scrollTo(0, top), top);
    await stands();
    if (stop % Math.ceil(stops / 5) === 0) weighed.push(await memory());
}
console.log(JSON.stringify({ first, tiles, screens: stops + 1, weighed }));
await browser.close();
