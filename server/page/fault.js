// What can go wrong with a file on its way, by what is to be done about it.

/**
 * kind          what to do
 * unreachable   nobody answers, or wants to be asked later: the whole queue waits
 * again         this try came to nothing, the next one may: this file waits
 * over          the session is over: the queue stops until there is another
 * refused       the server says no, and says why
 * unreadable    the file cannot be read, or is no longer the one that was chosen
 * differs       the server's digest is not the page's: the worst that can be said, so said aloud
 * broken        a fault of the page itself
 */
export class Fault extends Error {
    constructor(kind, { code = "", detail = "", after = 0 } = {}) {
        super(detail || code || kind);
        this.name = "Fault";
        this.kind = kind;
        /** The protocol's word, where the server said one. */
        this.code = code;
        /** A sentence for people: text of somebody else. */
        this.detail = detail;
        /** Seconds after which the server wants to be asked again; 0 where it did not say. */
        this.after = after;
    }
}
