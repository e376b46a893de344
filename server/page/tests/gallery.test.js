// The gallery's arithmetic, order, addresses and words, without a page.

import assert from "node:assert/strict";
import { test } from "node:test";

import { album, clock } from "../album.js";
import { inWords } from "../facts.js";
import { Grid } from "../grid.js";
import { addressOf, pathOf, placeIn } from "../place.js";
import { nameIn } from "../shown.js";
import { speak } from "../words.js";
import { listed } from "./mock.js";

const SQUARES = { head: 40, columns: 4, gap: 10 };
const grid = (...counts) =>
    new Grid(
        430,
        counts.map((count) => ({ ...SQUARES, count })),
    );

test("tiles are square, in rows, below the heading of their section", () => {
    const { sections, height, length } = grid(5, 4);
    assert.deepEqual(
        sections.map(({ top, first, across, height }) => [top, first, across, height]),
        [
            [0, 0, 100, 260],
            [260, 5, 100, 150],
        ],
    );
    assert.deepEqual([height, length], [410, 9]);
    const { section, x, y, width } = grid(5, 4).spot(6);
    assert.deepEqual([section, x, y, width], [1, 110, 40, 100]);
    assert.deepEqual([grid(5, 4).spot(4).section, grid(5, 4).spot(4).y], [0, 150]);
});

test("near a window is what touches it, and nothing else", () => {
    const items = (found) => found.map(({ section, first, end }) => [section, first, end]);
    assert.deepEqual(items(grid(5, 4).near(0, 100)), [[0, 0, 4]]);
    assert.deepEqual(items(grid(5, 4).near(0, 151)), [[0, 0, 5]]);
    assert.deepEqual(
        items(grid(5, 4).near(150, 270)),
        [
            [0, 4, 5],
            [1, 5, 5],
        ],
        "a heading alone is something",
    );
    assert.deepEqual(items(grid(5, 4).near(300, 9_000)), [[1, 5, 9]]);
    assert.deepEqual(items(grid(5, 4).near(-500, -10)), []);
    assert.deepEqual(items(grid(5, 4).near(5_000, 6_000)), []);
    assert.deepEqual(items(grid().near(0, 1_000)), []);
});

test("each item is near wherever one looks for it, and never more than a window holds", () => {
    const many = grid(...Array.from({ length: 300 }, (_, i) => 1 + ((i * 37) % 120)));
    const seen = new Set();
    for (let top = -1_000; top < many.height + 1_000; top += 800) {
        const found = many
            .near(top, top + 800)
            .flatMap(({ first, end }) => Array.from({ length: end - first }, (_, i) => first + i));
        assert.ok(found.length <= 4 * 9, `${found.length} at ${top}`);
        for (const index of found) {
            const { section, y, height } = many.spot(index);
            const at = many.sections[section].top + y;
            assert.ok(
                at < top + 800 && at + height + 10 > top,
                `${index} at ${at} is not between ${top} and ${top + 800}`,
            );
            seen.add(index);
        }
    }
    assert.equal(seen.size, many.length);
});

test("arrows lead to what is beside, above and below, across sections and of other widths", () => {
    const small = grid(5, 4);
    const lead = (index, ...keys) => keys.reduce((at, key) => small.towards(at, `Arrow${key}`), index);
    assert.equal(lead(0, "Right", "Right"), 2);
    assert.equal(lead(0, "Left"), 0);
    assert.equal(lead(8, "Right"), 8);
    assert.equal(lead(2, "Down"), 4, "a short row takes who comes from beyond its end");
    assert.equal(lead(4, "Down"), 5);
    assert.equal(lead(8, "Up"), 4);
    assert.equal(lead(1, "Up"), 1);
    assert.deepEqual([small.towards(3, "Home"), small.towards(3, "End"), small.towards(3, "a")], [0, 8, null]);
    const mixed = new Grid(430, [
        { count: 2, head: 0, columns: 2, gap: 10, tile: 60 },
        { ...SQUARES, count: 8 },
    ]);
    assert.equal(mixed.towards(1, "ArrowDown"), 4, "below the middle of a wide one");
    assert.equal(mixed.towards(4, "ArrowUp"), 1);
    assert.equal(mixed.spot(1).height, 60);
});

test("a page further is a window further, and always a row", () => {
    const many = grid(4_000);
    const next = many.towards(1, "PageDown", 500);
    assert.equal(next, 1 + 4 * 4);
    assert.equal(many.towards(next, "PageUp", 500), 1);
    assert.equal(many.towards(1, "PageDown", 5), 5);
    assert.equal(many.towards(3_998, "PageDown", 500), 3_998);
});

test("photos come newest first, by when they were taken, and months have their own", () => {
    const files = [
        listed("b.jpg", { taken: "2024-05-06T12:13:14" }),
        listed("a.jpg", { taken: "2024-05-06T12:13:14" }),
        listed("old.jpg", { taken: "1999-12-31T23:59:59" }),
        listed("new.jpg", { taken: "2024-06-01T00:00:00" }),
        listed("odd.jpg", { taken: "<img src=x>", modified: 0 }),
    ];
    const made = album({ folders: [{ name: "x", url: "x" }], files });
    assert.deepEqual(
        made.files.map(({ name }) => name),
        ["new.jpg", "b.jpg", "a.jpg", "old.jpg", "odd.jpg"],
    );
    assert.deepEqual(
        made.months.map(({ count }) => count),
        [1, 2, 1, 1],
    );
    assert.equal(
        speak("en").month(made.months[2].month),
        "December 1999",
        "no zone moves what a camera's clock showed",
    );
    assert.equal(clock({ taken: null, modified: NaN }), 0);
    assert.equal(new Set([...made.folders, ...made.files].map(({ key }) => key)).size, 6);
});

test("an unknown kind is a plain file", () => {
    const { files } = album({
        folders: [],
        files: [listed("a", { kind: "__proto__" }), listed("b", { kind: "hologram" })],
    });
    assert.deepEqual(
        files.map(({ kind }) => kind),
        ["other", "other"],
    );
});

test("addresses and folders agree, whatever the name", () => {
    assert.deepEqual(placeIn("#/send"), { view: "send" });
    assert.deepEqual(placeIn("#/photos"), { view: "photos", folder: [], file: null });
    for (const [folder, file] of [
        [[], null],
        [[], "a.jpg"],
        [["2024"], null],
        [["2024", "%23%25%3F"], "%FF%2B.jpg"],
    ]) {
        assert.deepEqual(placeIn(addressOf(folder, file)), { view: "photos", folder, file });
    }
    assert.equal(addressOf(["2024"]), "#/photos/2024/");
    // As a browser, or a hand, writes it.
    assert.deepEqual(placeIn("#/photos/Mia’s (2)/a+b%2e.jpg").folder, ["Mia%E2%80%99s%20%282%29"]);
    assert.equal(placeIn("#/photos/Mia’s (2)/a+b%2e.jpg").file, "a%2Bb..jpg");
    assert.equal(pathOf("thumbs", ["a b"].map(encodeURIComponent), "c.jpg"), "/thumbs/a%20b/c.jpg");
    assert.equal(pathOf("list", []), "/list");
});

test("hostile_02_what_is_no_name_is_no_address", () => {
    for (const address of [
        "#/photos/..",
        "#/photos/a/../b",
        "#/photos/%2e%2e/x",
        "#/photos//x",
        "#/photos/a%2fb",
        "#/photos/%",
        "#/photos/%zz",
        "#/photosx",
        "#photos",
        "#/other",
        "",
    ]) {
        assert.equal(placeIn(address), null, address);
    }
});

test("hostile_05_names_are_escaped_once", () => {
    assert.equal(nameIn({ name: "x\\u{202e}y", url: "x%E2%80%AEy" }), "x\\u{202e}y");
    assert.equal(nameIn({ name: "a\\\\b", url: "a%5Cb" }), "a\\\\b");
    assert.equal(nameIn({ name: "\\xff.jpg", url: "%FF.jpg" }), "\\xff.jpg");
    assert.equal(nameIn({ name: "\u202e\\xff", url: "%FF" }), "\\u{202e}\\xff", "though the server had not");
});

test("facts are told in words, and what is not known is not told", () => {
    const english = speak("en");
    const facts = {
        size: 4_382_911,
        modified: 0,
        digest: "sha256:9f86",
        received: "2026-11-20T19:02:11Z",
        from: "Mia\u202e",
        taken: "2026-11-20T17:58:03",
        offset: "+01:00",
        width: 4032,
        height: 3024,
        make: "NIKON CORPORATION",
        model: "NIKON D750",
        lens: "50 mm\u0007",
        exposure: "1/125",
        f_number: 2.8,
        iso: 400,
        focal_length: 23,
        focal_length_35: 35,
    };
    const told = Object.fromEntries(inWords(facts, english));
    assert.match(told.Taken, /Nov 20, 2026, 5:58\sPM · \+01:00/);
    assert.equal(told.Camera, "NIKON D750");
    assert.equal(told.Lens, "50 mm\\x07");
    assert.equal(told.Exposure, "1/125 s · f/2.8 · ISO 400 · 23 mm (35 mm in full frame)");
    assert.equal(told.Dimensions, "4,032 × 3,024 · 12.2 MP");
    assert.match(told.Received, / · from Mia\\u\{202e\}$/);
    assert.equal(told["SHA-256"], "9f86");
    assert.deepEqual(
        inWords({ size: 5, modified: 0 }, english).map(([label]) => label),
        ["Modified", "Size", "Received"],
    );
    assert.match(Object.fromEntries(inWords({ size: 5, modified: 0 }, english)).Received, /No receipt/);
    assert.equal(
        Object.fromEntries(inWords({ size: 5, modified: 0, make: "FUJIFILM", model: "X-T5" }, english)).Camera,
        "FUJIFILM X-T5",
    );
});
