// The page as files: all of them are in the binary, and none needs anything from elsewhere, or more than its policy allows.

import assert from "node:assert/strict";
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";

const PAGE = join(import.meta.dirname, "..");
const parts = readdirSync(PAGE, { withFileTypes: true })
    .filter((entry) => entry.isFile())
    .map(({ name }) => name);
const read = (name) => readFileSync(join(PAGE, name), "utf8");

test("every part is in the binary", () => {
    const list = readFileSync(join(PAGE, "../src/http/page.rs"), "utf8");
    const served = Array.from(list.matchAll(/^ {4}"([\w.-]+)": "[\w/+]+/gm), ([, name]) => name);
    assert.deepEqual(served.sort(), parts.sort());
});

test("whatever a part names is there", () => {
    for (const name of parts) {
        const named = name.endsWith(".js") ? /(?:from|URL\() ?"\.\/([^"]+)"/g : /(?:href|src)="\/page\/([^"]+)"/g;
        for (const [, other] of read(name).matchAll(named)) assert.ok(parts.includes(other), `${name} wants ${other}`);
    }
    const markup = read("index.html");
    const ids = Array.from(markup.matchAll(/ id="([^"]+)"/g), ([, id]) => id);
    assert.equal(new Set(ids).size, ids.length, "two elements have one id");
    for (const [, id] of read("view.js").matchAll(/\$\("([^"]+)"\)/g)) assert.ok(ids.includes(id), `no #${id}`);
    for (const [, id] of markup.matchAll(/href="#(icon-[^"]+)"/g)) assert.ok(ids.includes(id), `no #${id}`);
});

test("every module is asked for at once", () => {
    const wanted = new Set();
    const follow = (name) => {
        for (const [, other] of read(name).matchAll(/from "\.\/([^"]+)"/g)) {
            if (!wanted.has(other)) follow(other, wanted.add(other));
        }
    };
    follow("page.js");
    const preloaded = Array.from(
        read("index.html").matchAll(/"modulepreload" href="\/page\/([^"]+)"/g),
        ([, name]) => name,
    );
    assert.deepEqual(preloaded, [...wanted].sort());
});

test("nothing is made of text but text, and nothing comes from elsewhere", () => {
    for (const name of parts) {
        const text = read(name);
        assert.doesNotMatch(
            text,
            /innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\b|new Function|srcdoc/,
            name,
        );
        const hosts = Array.from(text.matchAll(/https?:\/\/([\w.]+)/g), ([, host]) => host).filter(
            (host) => host !== "www.w3.org",
        );
        assert.deepEqual(hosts, [], name);
    }
    const markup = read("index.html");
    assert.doesNotMatch(markup, /<style|\sstyle=|\son\w+=|<script(?![^>]* src=)/, "the policy forbids it");
});
