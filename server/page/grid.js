// Where everything is in a page that is too long to be there: sections one below the other, each with a heading and rows of
// equal tiles. Arithmetic alone, in pixels; `tiles.js` draws what is near the window.

export class Grid {
    sections;
    height;
    length;

    /** Sections are `{ title, count, head, inset, columns, gap, tile: null or a height }`; tiles without a height are square. */
    constructor(width, sections) {
        let top = 0;
        let first = 0;
        this.sections = sections.map((section) => {
            const { count, head, inset = 0, columns, gap } = section;
            const across = (width - 2 * inset - gap * (columns - 1)) / columns;
            const down = section.tile ?? across;
            const rows = Math.ceil(count / columns);
            const placed = {
                ...section,
                top,
                first,
                across,
                down,
                step: down + gap,
                height: head + rows * (down + gap),
            };
            top += placed.height;
            first += count;
            return placed;
        });
        this.height = top;
        this.length = first;
    }

    /** Which items have something between these heights: `[{ section: its number, first, end }]`. */
    near(top, bottom) {
        const found = [];
        if (this.length === 0 || bottom <= top) return found;
        const from = this.#last((section) => section.top <= Math.max(0, top));
        for (let number = from; number < this.sections.length && this.sections[number].top < bottom; number++) {
            const section = this.sections[number];
            const row = (y) => (y - section.top - section.head) / section.step;
            const begin = Math.max(0, Math.floor(row(top))) * section.columns;
            const end = Math.max(0, Math.ceil(row(bottom))) * section.columns;
            if (top < section.top + section.height) {
                found.push({
                    section: number,
                    first: section.first + Math.min(begin, section.count),
                    end: section.first + Math.min(end, section.count),
                });
            }
        }
        return found;
    }

    /** Where an item is: the number of its section, and its place from that section's top. */
    spot(index) {
        const number = this.#last((section) => section.first <= index);
        const section = this.sections[number];
        const at = index - section.first;
        const [row, column] = [Math.floor(at / section.columns), at % section.columns];
        return {
            section: number,
            x: (section.inset ?? 0) + column * (section.across + section.gap),
            y: section.head + row * section.step,
            width: section.across,
            height: section.down,
        };
    }

    /** Which item a key leads to, or null for a key that leads nowhere. */
    towards(index, key, page = 1) {
        const last = this.length - 1;
        switch (key) {
            case "ArrowLeft":
                return Math.max(0, index - 1);
            case "ArrowRight":
                return Math.min(last, index + 1);
            case "ArrowUp":
                return this.#row(index, -1);
            case "ArrowDown":
                return this.#row(index, 1);
            case "PageUp":
                return this.#rows(index, -1, page);
            case "PageDown":
                return this.#rows(index, 1, page);
            case "Home":
                return 0;
            case "End":
                return last;
            default:
                return null;
        }
    }

    #rows(index, step, height) {
        const from = this.#y(index);
        for (let at = index; ;) {
            const next = this.#row(at, step);
            if (next === at || Math.abs(this.#y(next) - from) > height) return at === index ? next : at;
            at = next;
        }
    }

    #y(index) {
        const spot = this.spot(index);
        return this.sections[spot.section].top + spot.y;
    }

    /** The item above or below, across sections; the same one where there is none. */
    #row(index, step) {
        const spot = this.spot(index);
        const section = this.sections[spot.section];
        const row = Math.floor((index - section.first) / section.columns) + step;
        const rows = Math.ceil(section.count / section.columns);
        if (row >= 0 && row < rows) return Math.min(index + step * section.columns, section.first + section.count - 1);
        const other = this.sections[spot.section + step];
        if (!other) return index;
        // What is straight above or below, though its tiles may be of another width.
        const column = Math.min(
            other.columns - 1,
            Math.max(0, Math.floor((spot.x + spot.width / 2 - (other.inset ?? 0)) / (other.across + other.gap))),
        );
        const start = step > 0 ? 0 : Math.floor((other.count - 1) / other.columns) * other.columns;
        return other.first + Math.min(start + column, other.count - 1);
    }

    /** The number of the last section of which this is true; it is true of none after one of which it is not. */
    #last(holds) {
        let [low, high] = [0, this.sections.length - 1];
        while (low < high) {
            const middle = Math.ceil((low + high) / 2);
            if (holds(this.sections[middle])) low = middle;
            else high = middle - 1;
        }
        return low;
    }
}
