// The worker in which files are digested, so that the page stays at hand. It keeps one state for each file that it has
// been given bytes of, by a number that the page makes up.

import { Sha256 } from "./sha256.js";

const hashes = new Map();

onmessage = ({ data: { id, ask, bytes } }) => {
    switch (ask) {
        case "update":
            if (!hashes.has(id)) hashes.set(id, new Sha256());
            hashes.get(id).update(new Uint8Array(bytes));
            postMessage({ id });
            break;
        case "digest":
            postMessage({ id, digest: (hashes.get(id) ?? new Sha256()).digest() });
            hashes.delete(id);
            break;
        case "forget":
            hashes.delete(id);
            break;
    }
};
