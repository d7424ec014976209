/** The wall of pictures: rows far from the screen are not in the document. */

import { isAbort } from "./api.js";
import { h, isTyping } from "./dom.js";
import { nameOf } from "./format.js";
import { Rows } from "./rows.js";

const GAP = 6; // pixels
const TALL = 220; // of a row, on a desk
const LOW = 130; // on a phone
const PHONE = 600; // at most this wide
const AROUND = 600; // pixels above and below the screen that are in the document too
const AHEAD = 2_000; // pixels before the end where more is loaded
const AT_ONCE = 8; // thumbnails that are asked for: who scrolls fast must not have the service make all that pass by
const RETRIES = [1_000, 4_000, 15_000]; // milliseconds until a thumbnail that failed is tried again

export const rowHeight = (width) => (width <= PHONE ? LOW : TALL);

/** Return the edge of thumbnails that are sharp on this screen, of few, so that few are made. */
export const thumbnailSize = () => (rowHeight(innerWidth) * 1.5 * devicePixelRatio > 400 ? 640 : 320);

/** Fires "select" when others are selected. */
export class Grid extends EventTarget {
  selected = new Set();
  #element;
  #collection;
  #address;
  #rows = new Rows();
  #tiles = new Map(); // by the image's id: those that are in the document
  #loader = new Loader();
  #width = 0;
  #current = null; // the tile that had the focus last
  #anchor = null; // where a range of selected ones begins
  #held = { tile: null, scrollY: -1 }; // what was kept in its place, and where the page was scrolled to then
  #isAwaitingFrame = false;

  constructor(element, collection, address) {
    super();
    this.#element = element;
    this.#collection = collection;
    this.#address = address;
    collection.addEventListener("reset", () => this.#reset());
    collection.addEventListener("grown", () => this.#grow());
    collection.addEventListener("changed", () => this.#change());
    addEventListener("scroll", () => this.#renderSoon(), { passive: true });
    new ResizeObserver(() => this.#resize()).observe(element);
    element.addEventListener("click", (event) => this.#onClick(event));
    element.addEventListener("keydown", (event) => this.#onKey(event));
    element.addEventListener("focusin", ({ target }) => {
      this.#current = this.#tiles.get(target.closest(".tile")?.dataset.id) ?? null;
    });
  }

  clearSelection() {
    this.select([]);
  }

  selectAll() {
    this.select(this.#collection.items.map(({ image_id: id }) => id));
  }

  select(ids) {
    this.selected = new Set(ids);
    if (!this.selected.size) this.#anchor = null;
    for (const [id, tile] of this.#tiles) tile.mark(this.selected.has(id));
    this.#element.classList.toggle("selecting", this.selected.size > 0);
    this.dispatchEvent(new Event("select"));
  }

  /** Bring an image onto the screen, and give it the focus. */
  focus(id) {
    const index = this.#collection.indexOf(id);
    if (index < 0) return;
    const row = this.#rows.at(this.#rows.rowOf(index));
    const top = this.#offset() + row.top;
    const bar = this.#barHeight();
    if (top < scrollY + bar) scrollTo({ top: top - bar - GAP });
    else if (top + row.height > scrollY + innerHeight) scrollTo({ top: top + row.height - innerHeight + GAP });
    this.#render();
    this.#tiles.get(id)?.link.focus({ preventScroll: true });
  }

  /** Give the focus back to the wall, when what had it is gone: to the same image, or to the one in its place. */
  refocus() {
    if (!this.#current) return;
    const { image, index } = this.#current;
    const { items } = this.#collection;
    const target = this.#collection.get(image.image_id) ?? items[Math.min(index, items.length - 1)];
    if (target) this.focus(target.image_id);
  }

  #reset() {
    this.clearSelection(); // what is not seen any more must not be deleted
    scrollTo({ top: 0 });
    this.#layOut();
  }

  #grow() {
    this.#rows.extend(this.#collection.items);
    this.#place();
  }

  #change() {
    const hadFocus = this.#element.contains(document.activeElement);
    this.#layOut();
    if (hadFocus && !this.#element.contains(document.activeElement)) this.refocus();
    const left = [...this.selected].filter((id) => this.#collection.get(id));
    if (left.length < this.selected.size) this.select(left);
  }

  #resize() {
    const width = this.#element.clientWidth;
    if (width === this.#width) return;
    this.#width = width;
    this.#layOut();
  }

  /** Lay all out anew, and leave what is looked at where it is. */
  #layOut() {
    const seen = this.#firstInSight();
    const before = seen ? this.#rows.at(this.#rows.rowOf(seen.index)).top : 0;
    this.#rows.reset(this.#collection.items, { width: this.#width, height: rowHeight(innerWidth), gap: GAP });
    this.#place();
    if (seen) {
      const index = this.#collection.indexOf(seen.image.image_id);
      scrollBy({ top: this.#rows.at(this.#rows.rowOf(index)).top - before, behavior: "instant" });
    }
    this.#held = { tile: seen, scrollY };
    this.#render();
  }

  /** Return the first tile in sight that is still to be there, unless the wall is looked at from its top. */
  #firstInSight() {
    const isThere = (tile) => tile !== null && this.#tiles.has(tile.image.image_id) && this.#collection.get(tile.image.image_id);
    // Who has not scrolled since looks at the same one, though others may stand before it in its row by now.
    if (this.#held.scrollY === scrollY && isThere(this.#held.tile)) return this.#held.tile;
    const top = scrollY - this.#offset();
    const row = top > 0 ? this.#rows.at(this.#rows.between(top, Infinity)[0]) : null;
    const candidates = row ? [...this.#tiles.values()].filter((tile) => tile.index >= row.start && isThere(tile)) : [];
    return candidates.reduce((best, tile) => (best && best.index < tile.index ? best : tile), null);
  }

  #place() {
    this.#element.style.height = `${this.#rows.end}px`;
    this.#render();
  }

  #renderSoon() {
    if (this.#isAwaitingFrame) return;
    this.#isAwaitingFrame = true;
    requestAnimationFrame(() => {
      this.#isAwaitingFrame = false;
      this.#render();
    });
  }

  #render() {
    const top = scrollY - this.#offset();
    const [first, last] = this.#rows.between(top - AROUND, top + innerHeight + AROUND);
    const rows = new Set(Array.from({ length: last - first }, (_, number) => first + number));
    // Whoever has the focus keeps it, however far away.
    const focused = this.#collection.indexOf(document.activeElement?.closest?.(".tile")?.dataset.id);
    if (focused >= 0) rows.add(this.#rows.rowOf(focused));
    const wanted = new Set();
    let before = null;
    for (const number of [...rows].sort((a, b) => a - b)) {
      const { top: y, height } = this.#rows.at(number);
      for (const [index, x, width] of this.#rows.tilesOf(number, this.#collection.items)) {
        const image = this.#collection.items[index];
        wanted.add(image.image_id);
        const tile = this.#tiles.get(image.image_id) ?? this.#add(image);
        tile.place(index, this.#collection, x, y, width, height);
        // In the order of the list, which is that of the Tab key.
        const next = before ? before.nextSibling : this.#element.firstChild;
        if (next !== tile.element) this.#element.insertBefore(tile.element, next);
        before = tile.element;
      }
    }
    for (const [id, tile] of this.#tiles) {
      if (wanted.has(id)) continue;
      tile.release();
      this.#tiles.delete(id);
    }
    if (top + innerHeight > this.#rows.end - AHEAD && !this.#collection.error && !this.#collection.isLoading) {
      this.#collection.more();
    }
  }

  #add(image) {
    const tile = new Tile(image, this.#collection, this.#loader, this.#address.linkTo(image.image_id));
    tile.mark(this.selected.has(image.image_id));
    this.#tiles.set(image.image_id, tile);
    return tile;
  }

  #onClick(event) {
    const tile = event.target.closest(".tile");
    if (!tile) return;
    const { id } = tile.dataset;
    if (event.target.matches("input")) {
      this.#toggle(id, event.shiftKey);
    } else if (!event.ctrlKey && !event.metaKey && !event.altKey) {
      event.preventDefault();
      if (event.shiftKey || this.selected.size) this.#toggle(id, event.shiftKey);
      else this.#address.view(id);
    }
  }

  /** Select or unselect an image; with `isRange` all from the one that was selected last up to this one. */
  #toggle(id, isRange) {
    const selected = new Set(this.selected);
    const [from, to] = [this.#collection.indexOf(this.#anchor), this.#collection.indexOf(id)];
    if (isRange && from >= 0) {
      const range = this.#collection.items.slice(Math.min(from, to), Math.max(from, to) + 1);
      for (const image of range) selected.add(image.image_id);
    } else if (!selected.delete(id)) {
      selected.add(id);
    }
    this.#anchor = id;
    this.select(selected);
  }

  #onKey(event) {
    const tile = event.target.closest(".tile");
    if (!tile || isTyping(event.target) || event.ctrlKey || event.metaKey || event.altKey) return;
    if (event.key === " " || event.key === "x") {
      if (event.target.matches("input")) return; // it does so by itself
      event.preventDefault();
      this.#toggle(tile.dataset.id, event.shiftKey);
      return;
    }
    const index = this.#collection.indexOf(tile.dataset.id);
    const target = this.#neighbour(index, event.key);
    if (target === null) return;
    event.preventDefault();
    const image = this.#collection.items[Math.min(Math.max(target, 0), this.#collection.items.length - 1)];
    this.focus(image.image_id);
  }

  #neighbour(index, key) {
    switch (key) {
      case "ArrowLeft": return index - 1;
      case "ArrowRight": return index + 1;
      case "ArrowUp": return this.#across(index, -1);
      case "ArrowDown": return this.#across(index, 1);
      case "Home": return 0;
      case "End": return this.#collection.items.length - 1;
      default: return null;
    }
  }

  /** Return the image above or below, the one that is nearest to the middle of this one. */
  #across(index, by) {
    const number = this.#rows.rowOf(index);
    if (!this.#rows.at(number + by)) return index;
    const middles = (row) => [...this.#rows.tilesOf(row, this.#collection.items)].map(([i, x, w]) => [i, x + w / 2]);
    const [, middle] = middles(number).find(([other]) => other === index);
    const distance = ([, other]) => Math.abs(other - middle);
    return middles(number + by).reduce((best, other) => (distance(other) < distance(best) ? other : best))[0];
  }

  #offset() {
    return this.#element.getBoundingClientRect().top + scrollY;
  }

  #barHeight() {
    return document.querySelector(".bar").getBoundingClientRect().height;
  }
}

/** One picture on the wall. Until its thumbnail is there it shows its placeholder, or at least its colour. */
class Tile {
  #thumbnail;
  #collection;
  #loader;
  #tries = 0;
  #timer;
  #loaded = () => {};

  constructor(image, collection, loader, href) {
    this.image = image;
    this.index = -1;
    this.#collection = collection;
    this.#loader = loader;
    this.#thumbnail = h("img", { alt: "", decoding: "async", draggable: "false", onload: () => this.#shown(), onerror: () => this.#failed() });
    this.link = h("a", { href }, this.#thumbnail);
    this.checkbox = h("input", { type: "checkbox", tabindex: "-1" });
    this.element = h("li", { class: "tile", "data-id": image.image_id }, this.link, this.checkbox);
    this.element.style.backgroundColor = image.color;
    if (image.placeholder) this.element.style.backgroundImage = `url("${image.placeholder}")`;
    loader.add(this);
  }

  place(index, collection, x, y, width, height) {
    this.index = index;
    const { style } = this.element;
    style.transform = `translate(${x}px, ${y}px)`;
    style.width = `${width}px`;
    style.height = `${height}px`;
    this.element.setAttribute("aria-posinset", index + 1);
    this.element.setAttribute("aria-setsize", collection.isComplete ? collection.items.length : -1);
    const name = nameOf(this.image);
    if (this.link.getAttribute("aria-label") === name) return;
    this.link.setAttribute("aria-label", name);
    this.link.title = name;
    this.checkbox.setAttribute("aria-label", `Select ${name}`);
  }

  mark(isSelected) {
    this.element.classList.toggle("selected", isSelected);
    this.checkbox.checked = isSelected;
  }

  /** Leave the document. A thumbnail that is on its way goes on: the service is at it anyhow. */
  release() {
    clearTimeout(this.#timer);
    this.#loader.remove(this);
    this.element.remove();
  }

  /** Get the thumbnail; resolves when it is there, or failed. */
  async load() {
    try {
      const url = await this.#collection.thumbnail(this.image, this.#tries > 1);
      await new Promise((resolve) => {
        this.#loaded = resolve;
        this.#thumbnail.src = url;
      });
    } catch (error) {
      if (!isAbort(error)) this.#failed();
    }
  }

  #shown() {
    this.#loaded();
    this.element.classList.add("shown");
    this.element.classList.remove("broken");
  }

  #failed() {
    this.#loaded();
    if (!this.element.isConnected) return;
    this.element.classList.add("broken");
    if (this.#tries < RETRIES.length) this.#timer = setTimeout(() => this.#loader.add(this), RETRIES[this.#tries]);
    this.#tries += 1;
  }
}

/** Loads the thumbnails of tiles, some at a time: first those on the screen, from its top, then what is nearest to it. */
class Loader {
  #waiting = new Set();
  #underWay = 0;

  add(tile) {
    this.#waiting.add(tile);
    queueMicrotask(() => this.#next()); // when all that come together have their places
  }

  remove(tile) {
    this.#waiting.delete(tile);
  }

  async #next() {
    if (this.#underWay === AT_ONCE || !this.#waiting.size) return;
    const tile = this.#nearest();
    this.#waiting.delete(tile);
    this.#underWay += 1;
    await tile.load();
    this.#underWay -= 1;
    this.#next();
  }

  #nearest() {
    let [nearest, least] = [null, Infinity];
    for (const tile of this.#waiting) {
      const { top, bottom } = tile.element.getBoundingClientRect();
      const distance = Math.max(0, top - innerHeight, -bottom);
      const isNearer = distance < least || (distance === least && tile.index < nearest.index);
      if (isNearer) [nearest, least] = [tile, distance];
    }
    return nearest;
  }
}
