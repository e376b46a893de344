// Names: as they are shown, and as they are put together.

import assert from "node:assert/strict";
import { test } from "node:test";

import { fromInput, into } from "../choosing.js";
import { shown } from "../shown.js";

test("hostile_05_what_acts_on_its_neighbours_is_shown_as_in_the_programs", () => {
    const pairs = [
        ["plain é 照片 🛳️.jpg", "plain é 照片 🛳️.jpg"],
        ["a\nb\r\t\x1b[31m\x7f", "a\\nb\\r\\t\\x1b[31m\\x7f"],
        ["\u202egpj.exe\u2069\u200b\ufeff\u061c", "\\u{202e}gpj.exe\\u{2069}\\u{200b}\\u{feff}\\u{61c}"],
        ["\u0085\u009b", "\\u{85}\\u{9b}"],
        ["a\u{e0041}", "a\\u{e0041}"],
        ["back\\slash", "back\\\\slash"],
        ["half \ud83d of one", "half \\u{d83d} of one"],
        ["<b>&amp;", "<b>&amp;"],
    ];
    for (const [raw, text] of pairs) assert.equal(shown(raw), text);
});

test("a folder that is typed in cannot lead elsewhere", () => {
    const files = [{ name: "b/c.jpg", file: null }];
    const names = (folder) => into(folder, files).map(({ name }) => name);
    assert.deepEqual(names(""), ["b/c.jpg"]);
    assert.deepEqual(names(" / "), ["b/c.jpg"]);
    assert.deepEqual(names("Holiday 2026"), ["Holiday 2026/b/c.jpg"]);
    assert.deepEqual(names("/a//../. / d /"), ["a/d/b/c.jpg"]);
});

test("a chosen folder keeps its files' places", () => {
    const list = [
        { name: "a.jpg", webkitRelativePath: "trip/day 1/a.jpg" },
        { name: "b.jpg", webkitRelativePath: "" },
    ];
    assert.deepEqual(
        fromInput(list).map(({ name }) => name),
        ["trip/day 1/a.jpg", "b.jpg"],
    );
});
