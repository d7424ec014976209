/** What is done with several images at once: tagging and deleting. */

import { ask } from "./dialogs.js";
import { byId, h, toast, toastError } from "./dom.js";
import { pictures, tagsIn } from "./format.js";

const AT_ONCE = 4; // changes under way
const DELETIONS = 100; // that one request may name
const RACES = 3; // how often an image is looked at again that somebody else changes at the same time

export class Bulk {
  #api;
  #collection;

  constructor(api, collection) {
    this.#api = api;
    this.#collection = collection;
  }

  /** Ask which tags to add and take away, and do it. Resolves to the ids of those that are tagged, or null. */
  async tag(ids) {
    const values = await ask({
      title: `Tag ${pictures(ids.length)}`,
      fields: [
        { name: "add", label: "Add", hint: "Tags, with commas between them" },
        { name: "remove", label: "Take away" },
      ],
      action: "Tag",
    });
    const [added, removed] = values ? [tagsIn(values.add), tagsIn(values.remove)] : [[], []];
    if (!added.length && !removed.length) return null;
    return this.#each(ids, "Tagged", (id) => this.#retag(id, added, removed));
  }

  /** Ask whether they are to be deleted, and do it. Resolves to the ids of those that are gone, or null. */
  async delete(ids) {
    const answer = await ask({
      title: `Delete ${pictures(ids.length)}?`,
      text: "They are gone for good, and so are all links to them.",
      action: "Delete",
      isDangerous: true,
    });
    if (!answer) return null;
    const gone = [];
    let failed = 0;
    try {
      for (let start = 0; start < ids.length; start += DELETIONS) {
        const body = JSON.stringify({ image_ids: ids.slice(start, start + DELETIONS) });
        const headers = { "Content-Type": "application/json" };
        const { results } = (await this.#api.call("POST", "images/delete", { body, headers })).body;
        for (const { image_id: id, status } of results) {
          if (status === "failed") failed += 1;
          else gone.push(id);
        }
      }
    } catch (error) {
      toastError(error);
    }
    this.#collection.remove(gone);
    if (gone.length) toast(`${pictures(gone.length)} deleted.`);
    if (failed) toast(`${pictures(failed)} could not be deleted. Try again.`, { isError: true });
    return gone;
  }

  async #retag(id, added, removed) {
    for (let race = 1; ; race += 1) {
      const { tags, etag } = await this.#api.image(id);
      const changed = [...new Set([...tags, ...added])].filter((tag) => !removed.includes(tag));
      try {
        return await this.#api.change(id, { tags: changed }, etag);
      } catch (error) {
        if (error.status !== 412 || race === RACES) throw error;
      }
    }
  }

  /** Do something with each, some at a time; tell and return which it was done with, and tell the first reason why not. */
  async #each(ids, done, change) {
    const waiting = [...ids];
    const changed = [];
    const errors = [];
    const work = async () => {
      while (waiting.length) {
        try {
          changed.push(await change(waiting.shift()));
        } catch (error) {
          errors.push(error);
          if (error.status === 0) waiting.length = 0; // the others would each be tried in vain
        }
      }
    };
    await Promise.all(Array.from({ length: AT_ONCE }, work));
    this.#collection.update(changed);
    if (changed.length) toast(`${done} ${pictures(changed.length)}.`);
    const failed = ids.length - changed.length;
    if (failed) toast(`${pictures(failed)} not: ${errors[0].message}`, { isError: true });
    return changed.map(({ image_id: id }) => id);
  }
}

/** The bar that says what is selected, and what can be done with it. */
export class SelectionBar {
  #bar = byId("selection");
  #count = h("span", { role: "status" });
  #grid;
  #bulk;
  #mayWrite;

  constructor(grid, bulk, mayWrite) {
    const button = (text, run, attributes = {}) => h("button", { type: "button", onclick: run, ...attributes }, text);
    const tag = button("Tag", () => this.tag(), { id: "tag-selected" });
    const remove = button("Delete", () => this.delete(), { id: "delete-selected", class: "danger" });
    this.#bar.append(
      this.#count,
      tag,
      remove,
      button("Select all", () => grid.selectAll()),
      button("Clear", () => grid.clearSelection()),
    );
    this.#grid = grid;
    this.#bulk = bulk;
    this.#mayWrite = mayWrite;
    grid.addEventListener("select", () => {
      const hadFocus = this.#bar.contains(document.activeElement);
      this.#bar.hidden = !grid.selected.size;
      if (this.#bar.hidden && hadFocus) grid.refocus();
      // Screen readers tell what changes in a place that they have seen before.
      if (this.#bar.hidden) this.#count.textContent = "";
      else requestAnimationFrame(() => { this.#count.textContent = `${pictures(grid.selected.size)} selected`; });
      tag.hidden = remove.hidden = !mayWrite();
    });
  }

  async tag() {
    const ids = [...this.#grid.selected];
    if (ids.length && this.#mayWrite()) this.#unselect(await this.#bulk.tag(ids));
  }

  async delete() {
    const ids = [...this.#grid.selected];
    if (ids.length && this.#mayWrite()) this.#unselect(await this.#bulk.delete(ids));
  }

  /** What it went wrong with stays selected, and so does what was selected meanwhile. */
  #unselect(done) {
    if (done) this.#grid.select(this.#grid.selected.difference(new Set(done)));
  }
}
