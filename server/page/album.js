// What a folder holds, as `GET /list` tells it, made ready to be looked at: names that can be read, newest first, by month.

import { nameIn } from "./shown.js";

const KINDS = new Set(["picture", "image", "video", "audio"]);

/** `{ folders, files, months }`; a month is `{ month: any time in it, count }`, in the order of the files. */
export function album({ folders, files }) {
    const held = files.map((file) => {
        const kind = KINDS.has(file.kind) ? file.kind : "other";
        return { ...file, kind, name: nameIn(file), key: `${file.url} ${file.version} ${kind}`, when: clock(file) };
    });
    // Those that are of one time stay as the server has them: by name.
    held.sort((a, b) => b.when - a.when);
    const months = [];
    let last = null;
    for (const { when } of held) {
        const date = new Date(when);
        const month = date.getUTCFullYear() * 12 + date.getUTCMonth();
        if (month === last) months.at(-1).count++;
        else months.push({ month: when, count: 1 });
        last = month;
    }
    return {
        folders: folders.map((folder) => ({ ...folder, kind: "folder", name: nameIn(folder), key: `${folder.url}/` })),
        files: held,
        months,
    };
}

/** What a clock on the wall showed: the camera's own where it is known, else this browser's; in milliseconds, as if that were UTC. */
export function clock({ taken, modified }) {
    const told = taken ? Date.parse(`${taken}Z`) : NaN;
    if (!Number.isNaN(told)) return told;
    const date = new Date(modified);
    return Number.isNaN(date.getTime()) ? 0 : modified - date.getTimezoneOffset() * 60_000;
}
