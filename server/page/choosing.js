// What was chosen or dropped, as files with names below the grant's folder. Folders are walked here.

/** As people count: IMG_9 before IMG_10. */
const ORDER = new Intl.Collator(undefined, { numeric: true });

/** Entries of a folder that are opened at a time. */
const AT_ONCE = 250;

/** From an `<input type=file>`, with the folders' names where a folder was chosen. */
export function fromInput(list) {
    return Array.from(list, (file) => ({ name: file.webkitRelativePath || file.name, file }));
}

/**
 * From a drop or a paste. `found(files)` is called again and again, so that sending begins while a large folder is still
 * walked; `unreadable(name)` for what cannot be looked into.
 */
export async function fromTransfer(transfer, found, unreadable) {
    // They are gone once this call gives up its turn.
    const entries = Array.from(transfer.items ?? [], (item) =>
        item.kind === "file" ? (item.webkitGetAsEntry?.() ?? item.getAsFile()) : null,
    );
    const plain = [];
    const folders = [];
    for (const entry of entries) {
        if (!entry) continue;
        if (entry instanceof File) plain.push({ name: entry.name, file: entry });
        else folders.push(entry);
    }
    if (plain.length > 0) found(plain);
    while (folders.length > 0) {
        const entry = folders.shift();
        try {
            if (entry.isFile) found([await named(entry)]);
            else folders.unshift(...(await walk(entry, found, unreadable)));
        } catch {
            unreadable(nameOf(entry));
        }
    }
}

/** Hands over a folder's files in the order of their names, some at a time, and answers with the folders in it. */
async function walk(folder, found, unreadable) {
    const reader = folder.createReader();
    const entries = [];
    for (;;) {
        // Chromium gives a hundred at a time; nothing is the end.
        const some = await new Promise((done, fail) => reader.readEntries(done, fail));
        if (some.length === 0) break;
        entries.push(...some);
    }
    entries.sort((a, b) => ORDER.compare(a.name, b.name));
    const files = entries.filter((entry) => entry.isFile);
    for (let at = 0; at < files.length; at += AT_ONCE) {
        const some = files.slice(at, at + AT_ONCE).map((entry) =>
            named(entry).catch(() => {
                unreadable(nameOf(entry));
                return null;
            }),
        );
        found((await Promise.all(some)).filter((file) => file !== null));
    }
    return entries.filter((entry) => entry.isDirectory);
}

async function named(entry) {
    const file = await new Promise((done, fail) => entry.file(done, fail));
    return { name: nameOf(entry), file };
}

const nameOf = (entry) => entry.fullPath.replace(/^\//, "");

/** Puts chosen files into a folder below the grant's, `""` for none. */
export function into(folder, files) {
    const path = folder
        .split("/")
        .map((part) => part.trim())
        .filter((part) => part !== "" && part !== "." && part !== "..")
        .join("/");
    return path === "" ? files : files.map(({ name, file }) => ({ name: `${path}/${name}`, file }));
}
