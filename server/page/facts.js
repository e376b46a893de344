// What is known of a file, as `GET /facts` tells it, in words. What a camera wrote is text of somebody else.

import { clock } from "./album.js";
import { shown } from "./shown.js";

/** `[[label, text]]`, and nothing of what is not known. */
export function inWords(facts, words) {
    const { size, modified, digest, received, from, taken, offset, width, height } = facts;
    const seen = (text) => (text ? shown(String(text)) : null);
    const told = [
        [words.takenAt, taken ? [words.moment(clock(facts)), seen(offset)] : null],
        [words.modifiedAt, taken ? null : [words.moment(clock({ modified }))]],
        [words.camera, [seen(camera(facts))]],
        [words.lens, [seen(facts.lens)]],
        [words.exposure, [exposure(facts, words)]],
        [
            words.dimensions,
            width && height
                ? [`${words.number(width)} × ${words.number(height)}`, megapixels(width, height, words)]
                : null,
        ],
        [words.fileSize, [words.size(size)]],
        [
            words.receivedAt,
            [received ? words.date(received) : words.noReceipt, from ? words.fromClient(shown(from)) : null],
        ],
        [words.digest, [digest ? shown(digest.replace(/^sha256:/, "")) : null]],
    ];
    return told
        .map(([label, parts]) => [label, (parts ?? []).filter(Boolean).join(" · ")])
        .filter(([, text]) => text !== "");
}

/** Most makers write their name before the model, too. */
function camera({ make, model }) {
    if (!make || !model) return model || make;
    return model.toLowerCase().startsWith(make.split(" ")[0].toLowerCase()) ? model : `${make} ${model}`;
}

function exposure({ exposure, f_number, iso, focal_length, focal_length_35 }, words) {
    const length = focal_length ? `${words.decimal(focal_length)} mm` : null;
    return [
        exposure ? `${shown(String(exposure))} s` : null,
        f_number ? `f/${words.decimal(f_number)}` : null,
        iso ? `ISO ${iso}` : null,
        length && focal_length_35 && focal_length_35 !== focal_length
            ? `${length} (${words.fullFrame(focal_length_35)})`
            : length,
    ]
        .filter(Boolean)
        .join(" · ");
}

function megapixels(width, height, words) {
    const millions = (width * height) / 1e6;
    return millions >= 0.1 ? `${words.decimal(millions)} MP` : null;
}
