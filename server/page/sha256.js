// SHA-256 (FIPS 180-4) of bytes that come piece by piece. `crypto.subtle` wants all of them at once, which no phone has
// room for where the file is a film.
//
// A state is eight words, a block that is not full yet, and the count of bytes. Words are 32 bits; in JavaScript `| 0`
// keeps a sum to them, and what stays in `Int32Array`s and integers is compiled to machine words.

const BLOCK = 64;

/** The first 64 primes; the constants of SHA-256 are the fractions of their roots. */
const PRIMES = (() => {
    const primes = [];
    for (let n = 2; primes.length < 64; n++) {
        if (primes.every((prime) => n % prime !== 0)) primes.push(n);
    }
    return primes;
})();

/** The first 32 bits of the fraction of `root`: a double has 53 bits, and no root here needs more than 5 before the point. */
const fraction = (root) => ((root - Math.floor(root)) * 0x1_0000_0000) | 0;

const START = Int32Array.from(PRIMES.slice(0, 8), (prime) => fraction(Math.sqrt(prime)));
const ROUND = Int32Array.from(PRIMES, (prime) => fraction(Math.cbrt(prime)));

export class Sha256 {
    #words = Int32Array.from(START);
    #schedule = new Int32Array(64);
    /** What has not filled a block yet: its first `#held` bytes count. */
    #block = new Uint8Array(BLOCK);
    #held = 0;
    /** All bytes so far. Exact up to 2^53, which is more than any file has. */
    #length = 0;

    /** Takes the next bytes, a `Uint8Array`. */
    update(bytes) {
        this.#length += bytes.length;
        let from = 0;
        if (this.#held > 0) {
            from = Math.min(BLOCK - this.#held, bytes.length);
            this.#block.set(bytes.subarray(0, from), this.#held);
            this.#held += from;
            if (this.#held < BLOCK) return this;
            this.#compress(this.#block, 0, BLOCK);
            this.#held = 0;
        }
        const whole = bytes.length - ((bytes.length - from) % BLOCK);
        this.#compress(bytes, from, whole);
        this.#block.set(bytes.subarray(whole));
        this.#held = bytes.length - whole;
        return this;
    }

    /** The digest as 64 hex digits. Nothing can be added after it. */
    digest() {
        const length = this.#length;
        // A one bit, zeros, and the length in bits as 64 bits fill the last block or the last two.
        const end = new Uint8Array(this.#held < BLOCK - 8 ? BLOCK : 2 * BLOCK);
        end.set(this.#block.subarray(0, this.#held));
        end[this.#held] = 0x80;
        const view = new DataView(end.buffer);
        view.setUint32(end.length - 8, Math.floor(length / 0x2000_0000));
        view.setUint32(end.length - 4, (length * 8) % 0x1_0000_0000);
        this.#compress(end, 0, end.length);
        return Array.from(this.#words, (word) => (word >>> 0).toString(16).padStart(8, "0")).join("");
    }

    /** Mixes the whole blocks in `bytes` between `from` and `to` into the state. */
    #compress(bytes, from, to) {
        const words = this.#words;
        const w = this.#schedule;
        // A local name: V8 asks of a module's at every use whether it is set yet, which halves the rate.
        const round = ROUND;
        for (; from < to; from += BLOCK) {
            for (let i = 0, at = from; i < 16; i++, at += 4) {
                w[i] = (bytes[at] << 24) | (bytes[at + 1] << 16) | (bytes[at + 2] << 8) | bytes[at + 3];
            }
            for (let i = 16; i < 64; i++) {
                const x = w[i - 15];
                const y = w[i - 2];
                const s0 = ((x >>> 7) | (x << 25)) ^ ((x >>> 18) | (x << 14)) ^ (x >>> 3);
                const s1 = ((y >>> 17) | (y << 15)) ^ ((y >>> 19) | (y << 13)) ^ (y >>> 10);
                w[i] = (w[i - 16] + s0 + w[i - 7] + s1) | 0;
            }

            let a = words[0];
            let b = words[1];
            let c = words[2];
            let d = words[3];
            let e = words[4];
            let f = words[5];
            let g = words[6];
            let h = words[7];
            for (let i = 0; i < 64; i++) {
                const s1 = ((e >>> 6) | (e << 26)) ^ ((e >>> 11) | (e << 21)) ^ ((e >>> 25) | (e << 7));
                const choice = g ^ (e & (f ^ g));
                const one = (h + s1 + choice + round[i] + w[i]) | 0;
                const s0 = ((a >>> 2) | (a << 30)) ^ ((a >>> 13) | (a << 19)) ^ ((a >>> 22) | (a << 10));
                const majority = (a & b) | (c & (a | b));
                h = g;
                g = f;
                f = e;
                e = (d + one) | 0;
                d = c;
                c = b;
                b = a;
                a = (one + s0 + majority) | 0;
            }
            words[0] += a;
            words[1] += b;
            words[2] += c;
            words[3] += d;
            words[4] += e;
            words[5] += f;
            words[6] += g;
            words[7] += h;
        }
    }
}
