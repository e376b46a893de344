// What an address says: which view is open, and of the gallery which folder or file.
//
//     #/send          #/photos          #/photos/FOLDER/          #/photos/FOLDER/NAME
//
// A folder ends in a slash, so that nobody has to ask which of them a name is. Names stand there as in `docs/http.md`: the
// bytes of each percent-encoded on their own.

const HOME = "#/photos";

/** `{ view: "send" }`, `{ view: "photos", folder: [names], file: name or null }`, or null for what is no address of a view. */
export function placeIn(fragment) {
    if (fragment === "#/send") return { view: "send" };
    if (fragment === HOME) return { view: "photos", folder: [], file: null };
    if (!fragment.startsWith(`${HOME}/`)) return null;
    const names = fragment.slice(HOME.length + 1).split("/");
    const file = names.pop();
    const told = [...names, ...(file ? [file] : [])].map(canonical);
    if (told.includes(null)) return null;
    return { view: "photos", folder: told.slice(0, names.length), file: file ? told.at(-1) : null };
}

export function addressOf(folder, file = null) {
    if (folder.length === 0 && file === null) return HOME;
    return [HOME, ...folder, file ?? ""].join("/");
}

/** The path of a request: `/list`, `/thumbs/a/b.jpg`. */
export const pathOf = (what, folder, file = null) =>
    [`/${what}`, ...folder, ...(file === null ? [] : [file])].join("/");

/** A name as the server writes it, whatever a browser or a hand has made of it; null for what is no name. */
function canonical(encoded) {
    if (/%(?![0-9a-f]{2})/i.test(encoded)) return null;
    const plain = (text) => Array.from(new TextEncoder().encode(text), hex).join("");
    const name = encoded.replace(/(%[0-9a-f]{2})|([^\w.~%-]+)/gi, (_, byte, text) =>
        byte ? hex(parseInt(byte.slice(1), 16)) : plain(text),
    );
    return name === "" || name === "." || name === ".." || name.includes("%2F") ? null : name;
}

const hex = (byte) => {
    const char = String.fromCharCode(byte);
    return /[\w.~-]/.test(char) ? char : `%${byte.toString(16).toUpperCase().padStart(2, "0")}`;
};
