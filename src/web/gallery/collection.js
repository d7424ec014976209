/** The images that the filters select, as far as they are loaded, newest first. */

import { asQuery } from "./address.js";
import { isAbort } from "./api.js";

const FIRST_PAGE = 40; // soon there, and more than a screen holds
const PAGE = 100;
const MARGIN = 30_000; // milliseconds: links that end sooner are not used any more

/** Fires "reset" when it begins anew, "loading" when it asks for more, "grown" when images came at the end, "changed" for whatever else. */
export class Collection extends EventTarget {
  items = [];
  isComplete = false;
  error = null;
  #api;
  #byId = new Map();
  #next = null;
  #filters = null;
  #thumbnailSize;
  #controller = new AbortController();
  #loading = null;
  #newer = Promise.resolve();

  constructor(api, thumbnailSize) {
    super();
    this.#api = api;
    this.#thumbnailSize = thumbnailSize;
  }

  get(id) {
    return this.#byId.get(id);
  }

  indexOf(id) {
    return this.items.indexOf(this.#byId.get(id));
  }

  get isLoading() {
    return this.#loading !== null;
  }

  /** List what these filters select, from the start. */
  reset(filters) {
    this.#controller.abort();
    this.#controller = new AbortController();
    this.#filters = filters;
    this.items = [];
    this.#byId.clear();
    this.#next = null;
    this.isComplete = false;
    this.error = null;
    this.#loading = null;
    this.dispatchEvent(new Event("reset"));
    return this.more();
  }

  /** Load the next page. Its failure is in `error` until it is tried again. */
  async more() {
    if (this.isComplete) return;
    if (!this.#loading) {
      this.#loading = this.#loadPage();
      this.dispatchEvent(new Event("loading"));
    }
    await this.#loading;
  }

  async #loadPage() {
    const { signal } = this.#controller;
    this.error = null;
    try {
      do {
        // A page may have nothing in it before the list is over.
        const page = await this.#page(this.#next, this.#next ? PAGE : FIRST_PAGE, signal);
        this.items.push(...this.#take(page.images));
        this.#next = page.last_key;
      } while (this.#next && !this.items.length);
      this.isComplete = this.#next === null;
    } catch (error) {
      if (isAbort(error)) return;
      this.error = error;
    }
    this.#loading = null;
    this.dispatchEvent(new Event("grown"));
  }

  /** Put in front what was uploaded since. */
  newer() {
    // After one that is under way, which may have begun too early.
    this.#newer = this.#newer.catch(() => {}).then(() => this.#loadNewer());
    return this.#newer;
  }

  async #loadNewer() {
    while (this.#loading && !this.items.length) await this.#loading; // else there is no telling where the new ones end
    if (!this.isComplete && !this.items.length) return; // the first page will have them
    const { signal } = this.#controller;
    const found = [];
    let key = null;
    do {
      const page = await this.#page(key, PAGE, signal);
      const images = page.images.filter(({ image_id: id }) => !this.#byId.has(id));
      found.push(...images);
      key = images.length === page.images.length ? page.last_key : null;
    } while (key !== null);
    const images = this.#take(found);
    if (!images.length) return;
    this.items.unshift(...images);
    // In the order of the API: one that was begun before another may be there after it.
    this.items.sort((a, b) => (a.image_id < b.image_id ? 1 : -1));
    this.dispatchEvent(new Event("changed"));
  }

  /** Return the URL of an image's thumbnail. The links of a list end; `isStale` says that this one does not work. */
  async thumbnail(image, isStale = false) {
    if (isStale || Date.parse(image.expires_at) - Date.now() < MARGIN) {
      const size = this.#thumbnailSize;
      const query = { width: size, height: size, fit: "inside" };
      const { url, expires_at } = await this.#api.image(image.image_id, query, { signal: this.#controller.signal });
      Object.assign(image, { thumbnail_url: url, expires_at });
    }
    return image.thumbnail_url;
  }

  /** Take over what images have become. */
  update(images) {
    for (const { image_id: id, tags, description, filename, updated_at, version } of images) {
      const known = this.#byId.get(id);
      if (known) Object.assign(known, { tags, description, filename, updated_at, version });
    }
    this.dispatchEvent(new Event("changed"));
  }

  remove(ids) {
    const gone = new Set(ids);
    this.items = this.items.filter(({ image_id: id }) => !gone.has(id));
    for (const id of gone) this.#byId.delete(id);
    this.dispatchEvent(new Event("changed"));
  }

  /** Return those images that are not there yet. */
  #take(images) {
    const fresh = images.filter(({ image_id: id }) => !this.#byId.has(id));
    for (const image of fresh) this.#byId.set(image.image_id, image);
    return fresh;
  }

  async #page(key, limit, signal) {
    const query = { ...asQuery(this.#filters), include: "urls", limit, thumbnail_size: this.#thumbnailSize };
    if (key !== null) query.last_key = JSON.stringify(key);
    const page = await this.#api.list(query, { signal });
    signal.throwIfAborted(); // by other filters, when the answer was there already
    return page;
  }
}
