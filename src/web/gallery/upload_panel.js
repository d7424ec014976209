/** What has become of the files that were given. */

import { byId, h } from "./dom.js";
import { bytes, pictures } from "./format.js";
import { CANCELLED, CHECKING, DONE, FAILED, PAUSED, SENDING, WAITING } from "./uploads.js";

const MOST_LINES = 100;
// What people look for first.
const ORDER = [FAILED, PAUSED, SENDING, CHECKING, WAITING, CANCELLED, DONE];
const WORDS = { [WAITING]: "waiting", [CHECKING]: "is being checked", [DONE]: "done", [CANCELLED]: "cancelled" };

export class UploadPanel {
  #panel;
  #uploads;
  #lines = new Map();
  #title = h("h2", { id: "uploads-title" });
  #progress = h("progress", { "aria-labelledby": "uploads-title" });
  #list = h("ul", { "aria-label": "Files", tabindex: "0" });
  #rest = h("p", { class: "quiet" });
  #cancel;
  #retry;
  #tag;
  #isAwaitingFrame = false;

  /** `tag(ids)` is what is done when the new pictures are to be tagged. */
  constructor(panel, uploads, { tag }) {
    this.#panel = panel;
    this.#uploads = uploads;
    this.#cancel = h("button", { type: "button", onclick: () => uploads.cancelAll() }, "Cancel all");
    this.#retry = h("button", { type: "button", onclick: () => uploads.retryAll() }, "Retry");
    this.#tag = h("button", { type: "button", onclick: () => tag(this.#done()) }, "Tag them");
    const close = h("button", { type: "button", class: "close", "aria-label": "Close the uploads", onclick: () => this.#close() }, "×");
    panel.append(
      h("div", { class: "head" }, this.#title, this.#cancel, this.#retry, this.#tag, close),
      this.#progress,
      this.#list,
      this.#rest,
    );
    uploads.addEventListener("change", () => this.#renderSoon());
    addEventListener("beforeunload", (event) => {
      if (uploads.isBusy) event.preventDefault();
    });
  }

  #done() {
    return this.#uploads.items.filter(({ state }) => state === DONE).map(({ image }) => image.image_id);
  }

  #close() {
    this.#uploads.clear();
    this.#render();
    if (this.#panel.hidden) byId("upload").focus();
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
    const { items, isBusy } = this.#uploads;
    const focused = this.#panel.contains(document.activeElement) ? document.activeElement : null;
    this.#panel.hidden = !items.length;
    const counted = items.filter(({ state }) => state !== CANCELLED);
    const count = (state) => items.filter((item) => item.state === state).length;
    const [done, failed] = [count(DONE), count(FAILED)];
    this.#title.setAttribute("aria-live", isBusy ? "off" : "polite"); // the end is told, not each step
    this.#setText(
      this.#title,
      isBusy
        ? `Uploading: ${done} of ${pictures(counted.length)}`
        : `${pictures(done)} uploaded${failed ? `, ${failed} not` : ""}`,
    );
    // Empty files count as well.
    this.#progress.max = counted.reduce((sum, { size }) => sum + size + 1, 0) || 1;
    this.#progress.value = counted.reduce((sum, item) => sum + item.sent + (item.state === DONE ? 1 : 0), 0);
    this.#progress.style.visibility = isBusy ? "visible" : "hidden"; // it keeps its place
    this.#cancel.hidden = !isBusy;
    this.#retry.hidden = !failed;
    this.#tag.hidden = isBusy || !done;
    const shown = [...items].sort((a, b) => ORDER.indexOf(a.state) - ORDER.indexOf(b.state)).slice(0, MOST_LINES);
    this.#show(shown);
    this.#setText(this.#rest, items.length > shown.length ? `and ${items.length - shown.length} more` : "");
    if (focused) this.#keepFocus(focused);
  }

  /** Lines move and buttons vanish: whoever had the focus keeps it, or finds it nearby. */
  #keepFocus(focused) {
    const near = [focused, ...(focused.closest("li")?.querySelectorAll("button") ?? []), this.#list];
    const target = near.find((element) => element.isConnected && element.checkVisibility());
    if (target !== document.activeElement) target?.focus({ preventScroll: true });
  }

  /** Keep the lines that there are, each in its new place. */
  #show(items) {
    const lines = new Map(items.map((item) => [item, this.#lines.get(item) ?? new Line(item, this.#uploads)]));
    for (const [item, line] of this.#lines) if (!lines.has(item)) line.element.remove();
    this.#lines = lines;
    let before = null;
    for (const line of lines.values()) {
      line.update();
      const next = before ? before.nextSibling : this.#list.firstChild;
      if (next !== line.element) this.#list.insertBefore(line.element, next);
      before = line.element;
    }
  }

  #setText(element, text) {
    if (element.textContent !== text) element.textContent = text;
  }
}

class Line {
  #item;
  #progress;
  #state = h("span", { class: "state" });
  #cancel;
  #retry;

  constructor(item, uploads) {
    this.#item = item;
    const { name } = item.file;
    this.#progress = h("progress", { max: "1", "aria-label": `Progress of ${name}` });
    this.#cancel = h("button", { type: "button", "aria-label": `Cancel ${name}`, onclick: () => uploads.cancel(item) }, "Cancel");
    this.#retry = h("button", { type: "button", "aria-label": `Retry ${name}`, onclick: () => uploads.retry(item) }, "Retry");
    this.element = h("li", {}, h("span", { class: "name", title: name }, name), this.#state, this.#cancel, this.#retry, this.#progress);
  }

  update() {
    const { state, sent, size, error } = this.#item;
    const again = state === PAUSED ? " It is tried again." : "";
    const text = WORDS[state] ?? (error ? `${error.message}${again}` : `${bytes(sent)} of ${bytes(size)}`);
    if (this.element.dataset.state === state && this.#state.textContent === text) return;
    this.element.dataset.state = state;
    this.#state.textContent = text;
    this.#progress.hidden = state !== SENDING;
    this.#progress.value = size ? sent / size : 0;
    this.#cancel.hidden = ![WAITING, SENDING, PAUSED].includes(state);
    this.#retry.hidden = ![FAILED, CANCELLED].includes(state);
  }
}
