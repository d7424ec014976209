/** The image service's HTTP API, as a browser calls it. Paths are relative, so a path prefix makes no difference. */

const TOKEN = `image-service-token:${new URL(document.baseURI).pathname}`;
const MOST_TRIES = 4;
export const LONGEST_WAIT = 20; // seconds; who is told to wait for longer learns of it at once

/** What the service refused, in its own words (RFC 9457), or status 0 if it could not be reached. */
export class Problem extends Error {
  constructor(status, { detail, title, code, errors } = {}, retryAfter = null) {
    super(detail || title || `The service answered with ${status}.`);
    this.status = status;
    this.code = code;
    this.errors = errors ?? [];
    this.retryAfter = retryAfter;
  }

  /** Whether the same request may well succeed a little later. */
  get isPassing() {
    return this.status === 0 || this.status === 429 || this.status >= 502;
  }
}

export const unreachable = () => new Problem(0, { detail: "The service can't be reached. Is the connection up?" });

export const isAbort = (error) => error?.name === "AbortError";

/** Fires "signed" when the token is taken or given up. */
export class Api extends EventTarget {
  #signIn;
  #signingIn = null;
  #limits = null;

  /** `signIn(reason)` asks the user for a token, and resolves when there is one that works. */
  constructor(signIn) {
    super();
    this.#signIn = signIn;
  }

  /** The token is kept for the tab's life. */
  get token() {
    return sessionStorage.getItem(TOKEN);
  }

  set token(value) {
    if (value) sessionStorage.setItem(TOKEN, value);
    else sessionStorage.removeItem(TOKEN);
    this.dispatchEvent(new Event("signed"));
  }

  /** Whether pictures may be changed, as far as the token itself tells. The service decides. */
  get mayWrite() {
    const claims = this.#claims;
    if (!claims) return true;
    const scopes = [claims.scope ?? claims.scp ?? ""].flat().join(" ").split(" ");
    return scopes.includes("images:write") || scopes.includes("images:admin");
  }

  /** Who has signed in, if the token tells. */
  get userId() {
    return this.#claims?.sub ?? null;
  }

  get #claims() {
    try {
      return JSON.parse(atob(this.token.split(".")[1].replaceAll("-", "+").replaceAll("_", "/")));
    } catch {
      return null; // there is none, or it is of a kind that only the service can read
    }
  }

  get authorization() {
    return this.token ? { Authorization: `Bearer ${this.token}` } : {};
  }

  /** Try a token; throw what the service says of it. */
  async trySigningIn(token) {
    if (/[^\x20-\x7e]/.test(token)) throw new Problem(0, { detail: "No token has such characters in it." });
    const headers = { Authorization: `Bearer ${token}` };
    await this.#send("GET", "images", { query: { limit: 1 }, headers });
    this.token = token;
  }

  /** Ask for a token, once for all requests that want one. */
  signIn(problem) {
    this.#signingIn ??= this.#signIn(problem).finally(() => { this.#signingIn = null; });
    return this.#signingIn;
  }

  async limits() {
    this.#limits ??= this.call("GET", "limits").then(({ body }) => body);
    this.#limits.catch(() => { this.#limits = null; });
    return this.#limits;
  }

  /** Return one page of images: `{images, count, last_key}`. */
  async list(query, { signal } = {}) {
    return (await this.call("GET", "images", { query, signal })).body;
  }

  /** Return the image with its `etag`. The query says what its link is to lead to. */
  async image(id, query = {}, { signal } = {}) {
    const { body, headers } = await this.call("GET", `images/${encodeURIComponent(id)}`, { query, signal });
    return { ...body, etag: headers.get("ETag") };
  }

  /** Change an image that is still as `etag` says. */
  async change(id, changes, etag) {
    const path = `images/${encodeURIComponent(id)}`;
    const headers = { "Content-Type": "application/merge-patch+json", ...(etag ? { "If-Match": etag } : {}) };
    const answer = await this.call("PATCH", path, { body: JSON.stringify(changes), headers });
    return { ...answer.body, etag: answer.headers.get("ETag") };
  }

  /** Call the API. What may be repeated is, if the service asks for patience. Throws Problem. */
  async call(method, path, { query, body, headers = {}, signal } = {}) {
    for (let tries = 1; ; tries += 1) {
      try {
        return await this.#send(method, path, { query, body, signal, headers: { ...this.authorization, ...headers } });
      } catch (error) {
        if (error.status === 401 && !headers.Authorization) {
          await this.signIn(error);
        } else if (method === "GET" && error.isPassing && tries < MOST_TRIES && (error.retryAfter ?? 0) <= LONGEST_WAIT) {
          await pause(error.retryAfter ?? 2 ** tries / 4, signal);
        } else {
          throw error;
        }
      }
    }
  }

  async #send(method, path, { query, body, headers, signal }) {
    const url = new URL(path, document.baseURI);
    for (const [name, value] of Object.entries(query ?? {})) url.searchParams.set(name, String(value));
    let answer;
    try {
      answer = await fetch(url, { method, body, headers, signal, cache: "no-store" });
    } catch (error) {
      throw isAbort(error) ? error : unreachable();
    }
    const text = await answer.text();
    if (!answer.ok) throw problemOf(answer.status, text, answer.headers.get("Retry-After"));
    return { body: text ? JSON.parse(text) : null, headers: answer.headers };
  }
}

/** Return the problem that an answer holds; whatever stands between us and the service may have written it. */
export function problemOf(status, text, retryAfter) {
  let problem = {};
  try {
    problem = JSON.parse(text);
  } catch {
    // no JSON: the status says it all
  }
  return new Problem(status, Object(problem), Number(retryAfter) || null);
}

/** Wait. Throws AbortError if the signal is given meanwhile. */
export function pause(seconds, signal) {
  return new Promise((resolve, reject) => {
    const stop = () => {
      clearTimeout(timer);
      reject(new DOMException("broken off", "AbortError"));
    };
    const timer = setTimeout(() => {
      signal?.removeEventListener("abort", stop);
      resolve();
    }, seconds * 1000);
    if (signal?.aborted) stop();
    signal?.addEventListener("abort", stop, { once: true });
  });
}
