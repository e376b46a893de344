// Bytes, written as they are told to people and to the server: two hexadecimal digits each.

export const hex = (bytes) => Array.from(new Uint8Array(bytes), (byte) => byte.toString(16).padStart(2, "0")).join("");
