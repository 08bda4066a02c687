// A worker's calls as promises.

export class Link {
  #worker;
  #waiting = new Map();
  #next = 0;

  constructor() {
    this.#start();
  }

  #start() {
    this.#worker = new Worker(new URL('./worker.js', import.meta.url), { type: 'module' });
    this.#worker.onmessage = ({ data: { id, value, error, progress, broken } }) => {
      if (broken) return this.#fail(broken);
      const call = this.#waiting.get(id);
      if (progress !== undefined) return call?.progress?.(progress);
      this.#waiting.delete(id);
      if (error === undefined) call?.resolve(value);
      else call?.reject(new Error(error));
    };
    // What it could not say by itself.
    this.#worker.onerror = (event) => {
      event.preventDefault();
      this.#fail(event.message || 'The worker cannot be loaded.');
    };
  }

  // Another worker takes the place of one that is of no use any more.
  #fail(message) {
    this.#worker.terminate();
    for (const call of this.#waiting.values()) call.reject(new Error(message));
    this.#waiting.clear();
    this.#start();
  }

  // The value of a call; `progress` hears of what comes before.
  call(name, argument, progress) {
    return new Promise((resolve, reject) => {
      const id = this.#next++;
      this.#waiting.set(id, { resolve, reject, progress });
      this.#worker.postMessage({ id, name, argument });
    });
  }
}
