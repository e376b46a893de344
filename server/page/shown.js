// Text that somebody else wrote, made fit to be read: control characters, and those that reorder or hide text, are shown
// as `\n`, `\x1b` or `\u{202e}`, as the programs do it. It goes to the page as text only, never as HTML.

// Controls, direction marks and overrides, zero-width characters, line and paragraph separators, tags; and halves of
// characters, which file systems allow.
const ODD =
    /[\u0000-\u001f\u007f-\u009f\u061c\u180e\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb\u{e0000}-\u{e007f}\\]|\p{Surrogate}/gu;

const SHORT = { "\n": "\\n", "\r": "\\r", "\t": "\\t", "\\": "\\\\" };

export function shown(text) {
    return text.replace(ODD, (c) => {
        const code = c.codePointAt(0);
        if (SHORT[c]) return SHORT[c];
        return code < 0x80 ? `\\x${code.toString(16).padStart(2, "0")}` : `\\u{${code.toString(16)}}`;
    });
}

/** The name of what `GET /list` tells of. Where it is not UTF-8 it comes escaped, and its backslashes are the server's. */
export function nameIn({ name, url }) {
    try {
        return shown(decodeURIComponent(url));
    } catch {
        return name.split("\\").map(shown).join("\\");
    }
}
