/** What is shown, as the address bar has it: so going back, reloading and sharing work. */

import { tagsIn } from "./format.js";

const LISTS = { tags: "tags", exclude: "exclude" };
const TEXTS = ["mode", "user", "from", "to"];

export const NO_FILTERS = Object.freeze({ tags: [], exclude: [], mode: "all", user: "", from: "", to: "" });

/** Fires "filters" when others are to be listed, and "image" when another image is to be viewed, or none. */
export class Address extends EventTarget {
  #filters;
  #imageId;
  #isGoingBack = false;
  #isOwn = false; // whether going back leads to the list that the viewer was opened from

  constructor() {
    super();
    this.#read();
    this.#isOwn = history.state?.isOwn === true;
    addEventListener("popstate", (event) => {
      const filters = JSON.stringify(this.#filters);
      const imageId = this.#imageId;
      this.#isGoingBack = false;
      this.#read();
      this.#isOwn = event.state?.isOwn === true;
      if (JSON.stringify(this.#filters) !== filters) this.dispatchEvent(new Event("filters"));
      if (this.#imageId !== imageId) this.dispatchEvent(new Event("image"));
    });
  }

  get filters() {
    return this.#filters;
  }

  get imageId() {
    return this.#imageId;
  }

  get hasFilters() {
    return this.#queryOf(this.#filters).size > 0;
  }

  /** List others from now on: `changes` to the filters. */
  filter(changes) {
    const before = String(this.#queryOf(this.#filters));
    const filters = { ...this.#filters, ...changes };
    const wasViewing = this.#imageId !== null;
    const isOther = String(this.#queryOf(filters)) !== before;
    if (!isOther && !wasViewing) return;
    this.#filters = filters;
    this.#imageId = null;
    this.#write("pushState", {});
    if (isOther) this.dispatchEvent(new Event("filters"));
    if (wasViewing) this.dispatchEvent(new Event("image"));
  }

  /** View an image; if one is viewed already, the new one takes its place in the history. */
  view(imageId) {
    if (imageId === this.#imageId) return;
    const isNew = this.#imageId === null;
    this.#imageId = imageId;
    if (isNew) this.#isOwn = true;
    this.#write(isNew ? "pushState" : "replaceState", { isOwn: this.#isOwn });
    this.dispatchEvent(new Event("image"));
  }

  /** Go back to the list. */
  close() {
    if (this.#imageId === null || this.#isGoingBack) return;
    if (this.#isOwn) {
      this.#isGoingBack = true; // which takes a moment, in which a second step back would leave the gallery
      history.back();
      return;
    }
    this.#imageId = null;
    this.#write("replaceState", {});
    this.dispatchEvent(new Event("image"));
  }

  /** Return the address of an image in this list. */
  linkTo(imageId) {
    const query = this.#queryOf(this.#filters);
    query.set("image", imageId);
    return `?${query}`;
  }

  #read() {
    const query = new URLSearchParams(location.search);
    const filters = { ...NO_FILTERS };
    for (const [name, key] of Object.entries(LISTS)) filters[key] = tagsIn(query.get(name) ?? "");
    for (const name of TEXTS) filters[name] = query.get(name) ?? NO_FILTERS[name];
    if (filters.mode !== "any") filters.mode = "all";
    this.#filters = filters;
    this.#imageId = query.get("image");
  }

  #queryOf(filters) {
    const query = new URLSearchParams();
    for (const [name, key] of Object.entries(LISTS)) if (filters[key].length) query.set(name, filters[key].join(","));
    for (const name of TEXTS) if (filters[name] !== NO_FILTERS[name]) query.set(name, filters[name]);
    return query;
  }

  #write(how, state) {
    const query = this.#queryOf(this.#filters);
    if (this.#imageId !== null) query.set("image", this.#imageId);
    history[how](state, "", query.size ? `?${query}` : document.baseURI);
  }
}

/** Return the filters as the query of the API; days are those of the person who looks. */
export function asQuery({ tags, exclude, mode, user, from, to }) {
  const query = {};
  if (tags.length) query.tags = tags;
  if (tags.length > 1 && mode === "any") query.tag_mode = "any";
  if (exclude.length) query.exclude_tags = exclude;
  if (user) query.user_id = user;
  if (from) query.created_after = startOf(from, 0);
  if (to) query.created_before = startOf(to, 1);
  return query;
}

/** Return the moment when a day (YYYY-MM-DD), or the one `later` days after it, begins here; what is no day stays. */
function startOf(day, later) {
  const parts = /^(\d{4})-(\d{2})-(\d{2})$/.exec(day)?.slice(1).map(Number);
  if (!parts) return day;
  const [year, month, date] = parts;
  const start = new Date(0);
  start.setFullYear(year, month - 1, date);
  if (start.getMonth() !== month - 1 || start.getDate() !== date) return day; // such as February 31
  start.setDate(date + later);
  start.setHours(0, 0, 0, 0);
  return start.toISOString();
}
