// While something is unfinished: the screen stays on, the tab asks before it is closed, and whatever may mean that the
// server can be reached again makes the queue try at once.

export function watchOver(queue) {
    let lock = null;
    let asking = false;
    let busy = false;

    const ask = (event) => {
        event.preventDefault();
        // What browsers went by before they went by the line above.
        event.returnValue = true;
    };

    async function stayAwake() {
        // Phones take the lock away with the screen; without one, they only sleep earlier.
        if (!busy || lock || asking || document.visibilityState !== "visible" || !navigator.wakeLock) return;
        asking = true;
        try {
            lock = await navigator.wakeLock.request("screen");
            lock.addEventListener("release", () => (lock = null));
            if (!busy) lock.release();
        } catch {
            lock = null;
        }
        asking = false;
    }

    addEventListener("online", () => queue.wake());
    document.addEventListener("visibilitychange", () => {
        if (document.visibilityState !== "visible") return;
        if (queue.outage) queue.wake();
        stayAwake();
    });

    return {
        /** Something has changed. */
        look() {
            const unfinished = queue.waiting().length + queue.working().size > 0;
            const now = unfinished && !queue.paused;
            if (unfinished) addEventListener("beforeunload", ask);
            else removeEventListener("beforeunload", ask);
            if (now === busy) return;
            busy = now;
            if (busy) stayAwake();
            else lock?.release();
        },
    };
}
