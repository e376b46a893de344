// What is sent when: a server that goes away and comes back, files that fail, and a clock that only the test moves.

import assert from "node:assert/strict";
import { test } from "node:test";

import { Fault } from "../fault.js";
import { Queue } from "../queue.js";

/** A clock that stands still until it is told to go on. */
class Clock {
    time = 1_000_000;
    #alarms = new Set();

    now = () => this.time;

    at = (time, call) => {
        const alarm = { time, call };
        this.#alarms.add(alarm);
        return () => this.#alarms.delete(alarm);
    };

    async pass(milliseconds) {
        const end = this.time + milliseconds;
        for (;;) {
            await settled();
            const due = [...this.#alarms].filter(({ time }) => time <= end).sort((a, b) => a.time - b.time)[0];
            if (!due) break;
            this.#alarms.delete(due);
            this.time = Math.max(this.time, due.time);
            due.call();
        }
        this.time = end;
        await settled();
    }
}

const settled = () => new Promise((done) => setImmediate(done));

/** A queue whose files the test answers for: `sending` has those that are under way, by name. */
function rig() {
    const clock = new Clock();
    const sending = new Map();
    const started = [];
    const cancelled = [];
    const send = (item, report, signal) =>
        new Promise((done, fail) => {
            started.push(item.name);
            const end = (settle) => (value) => {
                sending.delete(item.name);
                settle(value);
            };
            signal.addEventListener("abort", () => end(fail)(signal.reason));
            const sent = (held = false) => end(done)({ digest: "", held, name: item.name });
            sending.set(item.name, { item, report, sent, fails: (kind, told) => end(fail)(new Fault(kind, told)) });
        });
    const queue = new Queue({ send, cancel: async (item) => cancelled.push(item.name), clock, random: () => 0.5 });
    return { clock, queue, sending, started, cancelled };
}

const file = (name, size = 100, lastModified = 1) => ({ name, file: { size, lastModified } });
const files = (count, size) => Array.from({ length: count }, (_, i) => file(`${i}.jpg`, size));
const states = (queue) => queue.items.map(({ state }) => state);

test("three at once, in the order in which they were chosen", async () => {
    const { queue, sending, started } = rig();
    queue.add(files(5));
    assert.deepEqual(started, ["0.jpg", "1.jpg", "2.jpg"]);
    sending.get("1.jpg").sent();
    await settled();
    assert.deepEqual(started, ["0.jpg", "1.jpg", "2.jpg", "3.jpg"]);
    assert.deepEqual(states(queue), ["working", "sent", "working", "working", "waiting"]);
});

test("what is chosen twice is sent once, and what has failed is tried again when it is chosen again", async () => {
    const { queue, sending } = rig();
    assert.equal(queue.add([file("a"), file("a"), file("a", 101), file("a", 100, 2)]), 3);
    sending.get("a").fails("refused", { detail: "no" });
    await settled();
    const failed = queue.items.find(({ state }) => state === "failed");
    assert.equal(queue.add([{ name: failed.name, file: failed.file }]), 1);
    assert.equal(queue.items.length, 3);
    assert.equal(queue.totals().failed, 0);
});

test("a file that was changed takes its own place when it is chosen again", async () => {
    const { queue, sending } = rig();
    queue.add([file("a"), file("b")]);
    sending.get("a").fails("unreadable");
    await settled();
    assert.equal(queue.add([file("a", 200, 2)]), 1);
    assert.deepEqual(
        queue.items.map(({ name, state, file }) => [name, state, file.size]),
        [
            ["a", "working", 200],
            ["b", "working", 100],
        ],
    );
    // One that was refused is still to be sent, and another of its name is another.
    sending.get("b").fails("refused");
    await settled();
    queue.add([file("b", 200, 2)]);
    assert.equal(queue.items.length, 3);
});

test("a refusal is told and not repeated, and the others go on", async () => {
    const { clock, queue, sending, started } = rig();
    queue.add(files(4));
    sending.get("0.jpg").fails("refused", { code: "quota-exceeded", detail: "the quota is reached" });
    for (const name of ["1.jpg", "2.jpg"]) sending.get(name).sent();
    await settled();
    sending.get("3.jpg").sent(true);
    await clock.pass(600_000);
    assert.deepEqual(states(queue), ["failed", "sent", "sent", "held"]);
    assert.equal(queue.items[0].fault.detail, "the quota is reached");
    assert.equal(started.length, 4);
    queue.retryAll();
    sending.get("0.jpg").sent();
    await settled();
    assert.equal(queue.totals().sent, 3);
});

test("a try that came to nothing is repeated twice, each time later", async () => {
    const { clock, queue, sending, started } = rig();
    queue.add([file("a")]);
    for (const wait of [1_000, 2_000]) {
        sending.get("a").fails("again");
        await clock.pass(wait - 1);
        assert.equal(sending.size, 0, "too early");
        await clock.pass(1);
        assert.equal(sending.size, 1, "too late");
    }
    sending.get("a").fails("again", { detail: "no luck" });
    await clock.pass(600_000);
    assert.deepEqual(states(queue), ["failed"]);
    assert.equal(started.length, 3);
});

test("tries are counted since the server last had more of a file, not since bytes left", async () => {
    const { clock, queue, sending } = rig();
    queue.add([file("a", 1_000)]);
    for (let kept = 100; kept <= 600; kept += 100) {
        sending.get("a").report({ step: "sending", done: kept, kept });
        sending.get("a").fails("again");
        await clock.pass(60_000);
    }
    assert.deepEqual(states(queue), ["working"]);
    // From here on it has no more than it had before, however much leaves.
    for (let round = 0; round < 2; round++) {
        sending.get("a").report({ step: "sending", done: 0 });
        sending.get("a").report({ step: "sending", done: 1_000, kept: 500 });
        sending.get("a").fails("again");
        await clock.pass(60_000);
    }
    assert.deepEqual(states(queue), ["failed"]);
});

test("while nobody answers, one file at a time asks, ever more rarely, for as long as it takes", async () => {
    const { clock, queue, sending, started } = rig();
    queue.add(files(5_000));
    for (const { fails } of [...sending.values()]) fails("unreachable");
    await settled();
    assert.equal(queue.outage.times, 1, "three connections that break are one outage");
    const waits = [];
    for (let round = 0; round < 12; round++) {
        waits.push(queue.outage.until - clock.now());
        const before = started.length;
        await clock.pass(waits.at(-1));
        assert.equal(started.length, before + 1);
        [...sending.values()][0].fails("unreachable");
        await settled();
    }
    assert.deepEqual(waits.slice(0, 7), [1_000, 2_000, 4_000, 8_000, 16_000, 30_000, 30_000]);
    assert.equal(queue.totals().failed, 0);
    assert.equal(queue.totals().waiting, 5_000);

    // The network says that it is there again.
    queue.wake();
    assert.equal(sending.size, 1);
    [...sending.values()][0].sent();
    await settled();
    assert.equal(queue.outage, null);
    assert.equal(sending.size, 3);
});

test("a server that is busy is left alone for as long as it says", async () => {
    const { clock, queue, sending } = rig();
    queue.add([file("a")]);
    sending.get("a").fails("unreachable", { after: 120 });
    await clock.pass(119_000);
    assert.equal(sending.size, 0);
    await clock.pass(1_000);
    assert.equal(sending.size, 1);
});

test("a file that breaks every connection does not stand in the way of the others", async () => {
    const { clock, queue, sending } = rig();
    queue.add(files(6));
    for (const { fails } of [...sending.values()]) fails("unreachable");
    await clock.pass(2_000);
    for (let round = 0; round < 100 && queue.totals().sent < 5; round++) {
        for (const { item, sent, fails } of [...sending.values()])
            item.name === "2.jpg" ? fails("unreachable") : sent();
        await clock.pass(40_000);
    }
    assert.equal(queue.totals().sent, 5);
});

test("a pause stops what is under way and begins nothing; afterwards it goes on where it was", async () => {
    const { clock, queue, sending, started } = rig();
    queue.add(files(5));
    queue.pause();
    await clock.pass(600_000);
    assert.equal(sending.size, 0);
    assert.deepEqual(new Set(states(queue)), new Set(["waiting"]));
    queue.resume();
    assert.deepEqual(new Set(started.slice(3)), new Set(["0.jpg", "1.jpg", "2.jpg"]));
    assert.equal(queue.items[0].tries, 0, "a pause is no failed try");
});

test("when the session is over all stop, and nothing fails; with a new one they go on", async () => {
    const { clock, queue, sending } = rig();
    queue.add(files(5));
    for (const { fails } of [...sending.values()]) fails("over");
    await clock.pass(600_000);
    assert.equal(sending.size, 0);
    assert.equal(queue.totals().waiting, 5);
    queue.wake();
    assert.equal(sending.size, 3);
});

test("what is removed is stopped and taken back; what has arrived is only taken off the list", async () => {
    const { queue, sending, cancelled } = rig();
    queue.add(files(4));
    sending.get("0.jpg").sent();
    await settled();
    queue.remove(queue.items[1]);
    await settled();
    queue.tidy();
    await settled();
    assert.deepEqual(
        queue.items.map(({ name }) => name),
        ["2.jpg", "3.jpg"],
    );
    assert.deepEqual(cancelled, ["1.jpg"]);
    assert.equal(queue.add([file("1.jpg")]), 1);
});

test("rate and time left count what is sent, not what was there", async () => {
    const { clock, queue, sending } = rig();
    queue.add([file("a", 10_000), file("b", 50_000)]);
    sending.get("b").sent(true);
    // An earlier visit brought the first half.
    sending.get("a").report({ step: "sending", done: 5_000 });
    for (let done = 5_100; done <= 7_000; done += 100) {
        await clock.pass(100);
        sending.get("a").report({ step: "sending", done });
    }
    const { rate, left, done } = queue.totals();
    assert.equal(done, 57_000);
    assert.ok(rate > 900 && rate < 1_150, `${rate} bytes a second`);
    assert.ok(left > 2.5 && left < 3.5, `${left} s left`);
    await clock.pass(20_000);
    assert.equal(queue.totals().rate, 0, "a stall is seen");
});

test("a fault of the page fails one file, by name", async () => {
    const { queue, sending } = rig();
    queue.add(files(4));
    const { item } = sending.get("0.jpg");
    sending.get("0.jpg").fails("broken", { detail: "x is not a function" });
    await settled();
    assert.equal(item.state, "failed");
    assert.equal(sending.size, 3);
});

test("ten thousand files cost no more than their number", { timeout: 20_000 }, async () => {
    const { queue, sending } = rig();
    queue.add(files(10_000));
    while (sending.size > 0) {
        for (const { sent } of [...sending.values()]) sent();
        await settled();
    }
    assert.equal(queue.totals().sent, 10_000);
    assert.equal(queue.totals().unfinished, 0);
});

test("the time of it all is that of every choice, without the pauses between them", async () => {
    const { clock, queue, sending } = rig();
    const takes = async (name, milliseconds) => {
        await clock.pass(milliseconds);
        sending.get(name).report({ done: 0 });
        sending.get(name).report({ done: 100 });
        sending.get(name).sent();
        await settled();
    };
    queue.add([file("a"), file("b")]);
    await takes("a", 2_000);
    sending.get("b").fails("refused");
    await clock.pass(60_000);
    queue.add([file("c")]);
    await takes("c", 3_000);
    await clock.pass(60_000);
    queue.retryAll();
    await takes("b", 4_000);
    await clock.pass(60_000);
    assert.deepEqual([queue.totals().sent, queue.totals().seconds, queue.moved], [3, 9, 300]);
    queue.tidy();
    assert.deepEqual([queue.totals().seconds, queue.moved], [0, 0]);
});
