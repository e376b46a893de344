// Both languages say all that there is to say, and figures are written as people read them.

import assert from "node:assert/strict";
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";

import { choose, languages, speak } from "../words.js";

const PAGE = join(import.meta.dirname, "..");

test("both languages have the same words, and none is empty", () => {
    const [english, chinese] = [languages.en, languages["zh-Hans"]];
    assert.deepEqual(Object.keys(chinese).sort(), Object.keys(english).sort());
    for (const [word, text] of Object.entries(english)) {
        assert.equal(typeof chinese[word], typeof text, word);
        assert.notEqual(text, "", word);
        assert.notEqual(chinese[word], "", word);
    }
});

test("each word is used, and each that is used is there", () => {
    const markup = readFileSync(join(PAGE, "index.html"), "utf8");
    const used = new Set(Array.from(markup.matchAll(/data-(?:word|label|placeholder)="(\w+)"/g), ([, word]) => word));
    for (const file of readdirSync(PAGE).filter((name) => name.endsWith(".js") && name !== "words.js")) {
        const code = readFileSync(join(PAGE, file), "utf8");
        for (const [, word] of code.matchAll(/\bwords\.(\w+)/g)) used.add(word);
    }
    const figures = ["language", "number", "percent", "size", "time", "date", "js"];
    assert.deepEqual([...used].filter((word) => !figures.includes(word)).sort(), Object.keys(languages.en).sort());
});

test("the first language that is spoken here is chosen", () => {
    assert.equal(choose(["de-DE", "zh-TW", "en"]), "zh-Hans");
    assert.equal(choose(["fr", "en-GB", "zh"]), "en");
    assert.equal(choose(["zh-Hans-CN"]), "zh-Hans");
    assert.equal(choose(["zhx", "fr"]), "en");
    assert.equal(choose([]), "en");
});

test("sizes are in powers of 1000, with as many digits as somebody reads", () => {
    const { size } = speak("en");
    const written = [0, 999, 1_000, 1_049, 99_949, 99_951, 999_949, 999_950, 12_345_678, 4_200_000_000, 7e15].map(size);
    assert.deepEqual(written, [
        "0 B",
        "999 B",
        "1 kB",
        "1 kB",
        "99.9 kB",
        "100 kB",
        "1 MB",
        "1 MB",
        "12.3 MB",
        "4.2 GB",
        "7,000 TB",
    ]);
});

test("times have two figures at most", () => {
    const { time } = speak("en");
    assert.deepEqual([0, 59.4, 59.6, 75, 600, 3_599, 3_600, 5_400].map(time), [
        "0 sec",
        "59 sec",
        "1 min",
        "1 min 15 sec",
        "10 min",
        "1 hr",
        "1 hr",
        "1 hr 30 min",
    ]);
    assert.equal(speak("zh-Hans").time(75), "1分钟 15秒");
});

test("a hundred percent is all", () => {
    const { percent } = speak("en");
    assert.deepEqual([0, 0.5, 0.998, 1].map(percent), ["0%", "50%", "99%", "100%"]);
});
