// Elements, made in one line, and texts of those that are there. Whatever text they get is put in as text.

export function make(tag, properties = {}, ...children) {
    const element = Object.assign(document.createElement(tag), properties);
    element.append(...children);
    return element;
}

/** One of the symbols in index.html. */
export function icon(mark) {
    const SVG = "http://www.w3.org/2000/svg";
    const svg = document.createElementNS(SVG, "svg");
    svg.setAttribute("class", "icon");
    svg.setAttribute("aria-hidden", "true");
    const use = document.createElementNS(SVG, "use");
    use.setAttribute("href", `#icon-${mark}`);
    svg.append(use);
    return svg;
}

/** The symbols of kinds of files. */
export const MARKS = {
    picture: "photo",
    image: "photo",
    video: "film",
    audio: "sound",
    other: "paper",
    folder: "folder",
};

/** Puts a text into an element, which is hidden while there is none. What is there already is not told aloud again. */
export function put(id, text) {
    const element = document.getElementById(id);
    if (element.textContent !== text) element.textContent = text;
    element.hidden = text === "";
}
