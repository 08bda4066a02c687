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
    this.#worker.onmessage = ({ data: { id, value, error, progress } }) => {
      const call = this.#waiting.get(id);
      if (progress !== undefined) return call?.progress?.(progress);
      this.#waiting.delete(id);
      if (error === undefined) call?.resolve(value);
      else call?.reject(new Error(error));
    };
    // What broke outside of a call's own promise: a mistake in the program, or memory that the page is not given.
    this.#worker.onerror = (event) => {
      event.preventDefault();
      this.#fail(event.message || 'The worker cannot be loaded.');
    };
  }

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
