/** Justified rows: pictures of one height beside each other that fill the width exactly. */

const NARROWEST = 0.4; // width by height: what is beyond these is cut, so that no tile is a thread
const WIDEST = 2.4;

/** Return the width of a tile of height 1. */
export const aspectOf = ({ width, height }) => Math.min(Math.max(width / height, NARROWEST), WIDEST);

/** The rows of a list that grows at its end. */
export class Rows {
  #list = [];
  #settings = { width: 1, height: 1, gap: 0 };

  get length() {
    return this.#list.length;
  }

  /** Where the last row ends, in pixels. */
  get end() {
    const last = this.#list.at(-1);
    return last ? last.top + last.height : 0;
  }

  /** Lay everything out anew, in rows of about this `height`. */
  reset(items, settings) {
    this.#settings = settings;
    this.#list = [];
    this.extend(items);
  }

  /** Lay out what has come since: a last row that was not full is filled. */
  extend(items) {
    if (this.#list.at(-1)?.isOpen) this.#list.pop();
    const { width, height, gap } = this.#settings;
    let start = this.#list.at(-1)?.end ?? 0;
    let aspects = 0;
    for (let end = start + 1; end <= items.length; end += 1) {
      aspects += aspectOf(items[end - 1]);
      const gaps = (end - start - 1) * gap;
      const isFull = aspects * height + gaps >= width;
      if (!isFull && end < items.length) continue;
      const top = this.#list.length ? this.end + gap : 0;
      const rowHeight = isFull ? (width - gaps) / aspects : height;
      this.#list.push({ start, end, top, height: rowHeight, isOpen: !isFull });
      start = end;
      aspects = 0;
    }
  }

  /** Return the rows that lie between two heights, as a range of their numbers. */
  between(top, bottom) {
    let first = this.#search((row) => row.top + row.height > top);
    let last = this.#search((row) => row.top >= bottom);
    first = Math.min(first, last);
    return [first, last];
  }

  /** Return the number of the row with this item. */
  rowOf(index) {
    return this.#search((row) => row.end > index);
  }

  at(number) {
    return this.#list[number];
  }

  /** Return where the tiles of a row are: `[index, left, width]` of each. */
  *tilesOf(number, items) {
    const { start, end, height, isOpen } = this.#list[number];
    const { width, gap } = this.#settings;
    let left = 0;
    for (let index = start; index < end; index += 1) {
      const isLast = index === end - 1 && !isOpen;
      const tile = isLast ? width - left : Math.round(aspectOf(items[index]) * height);
      yield [index, left, tile];
      left += tile + gap;
    }
  }

  /** Return the number of the first row of which it is true, given that it is of all behind that one. */
  #search(isTrue) {
    let low = 0;
    let high = this.#list.length;
    while (low < high) {
      const middle = (low + high) >> 1;
      if (isTrue(this.#list[middle])) high = middle;
      else low = middle + 1;
    }
    return low;
  }
}
