/** Uploads: some at a time, small ones through the API and large ones straight to the storage. */

import { isAbort, LONGEST_WAIT, pause, Problem, problemOf, unreachable } from "./api.js";

const AT_ONCE = 3;
const DIRECT = 5_000_000; // bytes from which a file goes straight to the storage
const FORM = 65_536; // bytes that a form may have besides its file
const TRIES = 4;
// What files begin with, a character for each byte.
const STARTS = {
  "image/jpeg": /^\xff\xd8\xff/,
  "image/png": /^\x89PNG/,
  "image/webp": /^RIFF.{4}WEBP/s,
  "image/gif": /^GIF8/,
  "image/avif": /^.{4}ftypavi[fs]/s,
  "image/tiff": /^(II[*+]\0|MM\0[*+])/,
};

export const WAITING = "waiting";
export const SENDING = "sending";
export const CHECKING = "checking"; // all is sent: the service looks at it
export const PAUSED = "paused"; // it went wrong, and is tried again in a moment
export const DONE = "done";
export const FAILED = "failed";
export const CANCELLED = "cancelled";

const BUSY = [WAITING, SENDING, CHECKING, PAUSED];

/** Fires "change" when an upload has come further, and "done", with the image as `detail`, when one is there. */
export class Uploads extends EventTarget {
  items = [];
  #api;
  #userId;

  /** `userId()` is for whom to upload; none is for oneself. */
  constructor(api, userId) {
    super();
    this.#api = api;
    this.#userId = userId;
  }

  get isBusy() {
    return this.items.some(({ state }) => BUSY.includes(state));
  }

  add(files) {
    const userId = this.#userId();
    this.items.push(...Array.from(files, (file) => new Upload(file, userId)));
    this.#next();
  }

  /** Break an upload off. What is sent entirely is not stopped any more. */
  cancel(item) {
    if (item.state === WAITING) item.state = CANCELLED;
    else if (item.state === SENDING || item.state === PAUSED) item.controller.abort();
    this.#changed();
  }

  cancelAll() {
    for (const item of this.items) this.cancel(item);
  }

  retry(item) {
    if (item.state !== FAILED && item.state !== CANCELLED) return;
    item.restart();
    this.#next();
  }

  retryAll() {
    for (const item of this.items.filter(({ state }) => state === FAILED)) this.retry(item);
  }

  /** Forget what has come to an end. */
  clear() {
    this.items = this.items.filter(({ state }) => BUSY.includes(state));
    this.#changed();
  }

  #changed() {
    this.dispatchEvent(new Event("change"));
  }

  #next() {
    const underWay = this.items.filter(({ state }) => BUSY.includes(state) && state !== WAITING).length;
    const waiting = this.items.filter(({ state }) => state === WAITING);
    for (const item of waiting.slice(0, Math.max(0, AT_ONCE - underWay))) this.#run(item);
    this.#changed();
  }

  async #run(item) {
    item.state = SENDING;
    try {
      const type = await typeOf(item.file);
      const { max_body_size: most } = await this.#api.limits();
      const isDirect = item.size >= Math.min(DIRECT, most - FORM);
      item.image = await (isDirect ? this.#direct(item, type) : this.#simple(item));
      item.state = DONE;
      item.sent = item.size;
    } catch (error) {
      item.state = isAbort(error) ? CANCELLED : FAILED;
      item.error = isAbort(error) ? null : error;
    }
    this.#next();
    if (item.state === DONE) this.dispatchEvent(new CustomEvent("done", { detail: item.image }));
  }

  /** Send a file through the API. */
  async #simple(item) {
    const form = new FormData();
    if (item.userId) form.append("user_id", item.userId);
    if (item.file.name) form.append("filename", item.file.name); // that of the part itself is escaped by the browser
    form.append("file", item.file, item.file.name);
    return this.#insist(item, async () => {
      const headers = { ...this.#api.authorization, "Idempotency-Key": item.key };
      return JSON.parse(await this.#send(item, new URL("images", document.baseURI), form, headers));
    });
  }

  /** Declare a file, send it to the storage, and have it made an image. */
  async #direct(item, type) {
    const { signal } = item.controller;
    const declaration = {
      content_type: type,
      size: item.size,
      filename: item.file.name,
      ...(item.userId ? { user_id: item.userId } : {}),
    };
    const { body: upload } = await this.#insist(item, () =>
      this.#api.call("POST", "uploads", {
        body: JSON.stringify(declaration),
        headers: { "Content-Type": "application/json", "Idempotency-Key": item.key },
        signal,
      }),
    );
    try {
      const form = new FormData();
      for (const [name, value] of Object.entries(upload.upload.fields)) form.append(name, value);
      form.append("file", item.file, item.file.name);
      await this.#insist(item, () => this.#send(item, upload.upload.url, form, {}, true));
    } catch (error) {
      item.renew(); // whatever is wrong with this form, the next one may be better
      this.#api.call("DELETE", `uploads/${upload.image_id}`).catch(() => {}); // else it vanishes in a day
      throw error;
    }
    item.state = CHECKING;
    this.#changed();
    return (await this.#insist(item, () => this.#api.call("POST", `uploads/${upload.image_id}/complete`))).body;
  }

  /** Do it again where that may help. It can't do harm: the service knows the key that it comes with. */
  async #insist(item, attempt) {
    for (let tries = 1; ; tries += 1) {
      try {
        return await attempt();
      } catch (error) {
        if (error.status === 401) {
          await this.#api.signIn(error);
          continue;
        }
        const isUnderWay = error.status === 409 && error.retryAfter; // the first attempt, whose answer was lost
        const wait = error.retryAfter ?? tries;
        if (tries >= TRIES || wait > LONGEST_WAIT || !(error.isPassing || isUnderWay)) throw error;
        const { state } = item;
        [item.state, item.error] = [PAUSED, error];
        this.#changed();
        await pause(wait, item.controller.signal);
        [item.state, item.error] = [state, null];
        this.#changed();
      }
    }
  }

  /** Post a form, and tell how far it is, which fetch() can't. Resolves to the answer's text. */
  #send(item, url, form, headers, isStorage = false) {
    return new Promise((resolve, reject) => {
      const request = new XMLHttpRequest();
      const { signal } = item.controller;
      const stop = () => request.abort();
      signal.throwIfAborted();
      signal.addEventListener("abort", stop);
      item.state = SENDING;
      request.open("POST", url);
      for (const [name, value] of Object.entries(headers)) request.setRequestHeader(name, value);
      request.upload.addEventListener("progress", ({ loaded, total }) => {
        item.sent = total ? (loaded / total) * item.size : 0;
        this.#changed();
      });
      request.upload.addEventListener("load", () => {
        item.state = CHECKING;
        this.#changed();
      });
      request.addEventListener("load", () => {
        const { status, responseText: text } = request;
        if (status >= 200 && status < 300) resolve(text);
        else reject(refusal(status, text, request.getResponseHeader("Retry-After")));
      });
      request.addEventListener("error", () => reject(isStorage ? storageUnreachable() : unreachable()));
      request.addEventListener("abort", () => reject(new DOMException("cancelled", "AbortError")));
      request.addEventListener("loadend", () => signal.removeEventListener("abort", stop));
      request.send(form);
    });
  }
}

class Upload {
  state = WAITING;
  sent = 0; // bytes
  error = null;
  image = null;

  constructor(file, userId) {
    this.file = file;
    this.userId = userId;
    this.size = file.size;
    this.renew();
    this.restart();
  }

  restart() {
    if (this.state === CANCELLED) this.renew();
    this.state = WAITING;
    this.sent = 0;
    this.error = null;
    this.controller = new AbortController();
  }

  /** Make it another upload to the service, not the same one again. */
  renew() {
    const random = crypto.getRandomValues(new Uint8Array(16)); // randomUUID() wants HTTPS
    this.key = Array.from(random, (byte) => byte.toString(16).padStart(2, "0")).join("");
  }
}

/** A page does not learn which of the two it is. */
function storageUnreachable() {
  const reasons = "The connection may be down, or the storage's CORS rules don't name this page's address.";
  return new Problem(0, { detail: `The storage for large files can't be reached from this page. ${reasons}` });
}

/** Return what is wrong, be it said in JSON, or by S3 in XML. */
function refusal(status, text, retryAfter) {
  const said = /<Message>([^<]*)<\/Message>/.exec(text);
  if (said) return new Problem(status, { detail: `The storage: ${said[1]}` }, Number(retryAfter) || null);
  return problemOf(status, text, retryAfter);
}

/** Return the type that a file begins like, as names may be wrong about it. Throws if it can't be read. */
async function typeOf(file) {
  const start = String.fromCharCode(...new Uint8Array(await file.slice(0, 16).arrayBuffer()));
  const found = Object.entries(STARTS).find(([, pattern]) => pattern.test(start));
  return found?.[0] || file.type || "application/octet-stream";
}
