/** One picture, as large as the screen, with what is known about it. */

import { isAbort } from "./api.js";
import { ask } from "./dialogs.js";
import { h, isTyping, toast, toastError } from "./dom.js";
import { bytes, nameOf, number, tagsIn, time } from "./format.js";

const EDGES = [640, 1024, 1600, 2560, 4096]; // pixels; few, so that few renditions are made
const LIVES = [
  [3_600, "1 hour"],
  [86_400, "1 day"],
  [604_800, "7 days"],
];
const AHEAD = 5; // pictures before the end of what is loaded where more is loaded
const SWIPE = 50; // pixels
const TITLE = document.title;

export class Viewer {
  #api;
  #collection;
  #address;
  #bulk;
  #onClose;
  #image = null;
  #controller = new AbortController();
  #loading = null; // until more than what the list has is known of the image
  #ahead = new Map(); // images that may be next, with their links, as promises
  #low = h("img", { class: "low", alt: "" });
  #full;
  #previous;
  #next;
  #about;
  #close;
  #info = h("aside", { id: "info", "aria-label": "About the picture" });
  #facts = h("div", { class: "facts" });
  #known = null; // what they say
  #editButton;
  #deleteButton;
  #life;
  #link = h("output", { for: "life" });
  #stage;
  #dialog;
  #swipe = null;

  /** `onClose(id)` is called when the viewer closes, with the image that was seen last. */
  constructor(api, collection, address, bulk, { onClose }) {
    this.#api = api;
    this.#collection = collection;
    this.#address = address;
    this.#bulk = bulk;
    this.#onClose = onClose;
    this.#build();
    address.addEventListener("image", () => this.show());
    collection.addEventListener("grown", () => this.#showWays());
    collection.addEventListener("changed", () => this.#showWays());
  }

  /** Show the image that the address names, or close. */
  show() {
    this.#loading = this.#show();
    return this.#loading;
  }

  async #show() {
    const id = this.#address.imageId;
    this.#controller.abort();
    this.#controller = new AbortController();
    if (id === null) {
      this.#dialog.close();
      return;
    }
    const { signal } = this.#controller;
    if (!this.#dialog.open) this.#dialog.showModal();
    this.#take(this.#collection.get(id) ?? { image_id: id });
    this.#clear();
    try {
      const image = await this.#load(id, signal);
      signal.throwIfAborted();
      this.#take(image);
      this.#full.src = image.url;
    } catch (error) {
      if (isAbort(error)) return;
      toastError(error);
      if (error.status === 404) this.#collection.remove([id]);
      this.#address.close();
      return;
    }
    this.#prepareNext();
  }

  #build() {
    this.#full = h("img", { class: "full", onload: () => this.#loaded(), onerror: () => this.#failed() });
    const button = (name, label, text, run, attributes = {}) =>
      h("button", { type: "button", class: name, "aria-label": label, onclick: run, ...attributes }, text);
    this.#previous = button("back", "Previous picture", "‹", () => this.#go(-1));
    this.#next = button("on", "Next picture", "›", () => this.#go(1));
    this.#about = button("about", "About the picture", "i", () => this.#toggleInfo(), {
      "aria-controls": "info",
      "aria-expanded": "true",
    });
    this.#close = button("close", "Close the viewer", "×", () => this.#address.close());
    this.#stage = h(
      "div",
      {
        class: "stage",
        onpointerdown: (event) => { this.#swipe = event.isPrimary ? event.clientX : null; },
        onpointerup: (event) => this.#swiped(event),
      },
      ...[this.#low, this.#full, this.#previous, this.#next, this.#close, this.#about],
    );
    this.#buildInfo(button);
    new ResizeObserver(() => this.#fit()).observe(this.#stage);
    this.#dialog = h(
      "dialog",
      { class: "viewer", "aria-label": "Picture" },
      this.#stage,
      this.#info,
    );
    // The address says whether it is open.
    this.#dialog.addEventListener("cancel", (event) => {
      if (event.target !== this.#dialog) return;
      event.preventDefault();
      this.#address.close();
    });
    this.#dialog.addEventListener("close", () => this.#closed());
    // Wherever the focus is: what had it may be gone.
    addEventListener("keydown", (event) => this.#onKey(event));
    document.body.append(this.#dialog);
  }

  #closed() {
    document.title = TITLE;
    this.#full.removeAttribute("src");
    const id = this.#image?.image_id;
    this.#image = null;
    if (this.#address.imageId === null) this.#onClose(id);
    else this.#address.close(); // the browser did it by itself, as it may
  }

  /** Show what is known of an image. */
  #take(image) {
    this.#image = { ...(this.#collection.get(image.image_id) ?? {}), ...image };
    if (!this.#image.filename) return;
    this.#fit();
    const name = nameOf(this.#image);
    document.title = `${name} · ${TITLE}`;
    this.#dialog.setAttribute("aria-label", name);
    this.#full.alt = name;
    this.#showInfo();
  }

  /** Until the picture is there its thumbnail stands for it. */
  #clear() {
    this.#full.removeAttribute("src");
    this.#full.classList.remove("shown");
    this.#low.hidden = false;
    this.#link.replaceChildren();
    const { thumbnail_url: thumbnail, placeholder } = this.#image;
    const source = thumbnail ?? placeholder;
    if (source) this.#low.src = source;
    else this.#low.removeAttribute("src");
    this.#dialog.classList.add("loading");
    this.#showWays();
  }

  /** Give the picture its place before it is there: as large as it is, or as the screen. */
  #fit() {
    if (!this.#image?.width) return;
    const { width, height } = this.#image;
    const scale = Math.min(1, this.#stage.clientWidth / width, this.#stage.clientHeight / height);
    for (const { style } of [this.#low, this.#full]) {
      style.width = `${width * scale}px`;
      style.height = `${height * scale}px`;
    }
  }

  #loaded() {
    this.#full.classList.add("shown");
    this.#low.hidden = true; // it would be seen through what is transparent
    this.#dialog.classList.remove("loading");
  }

  #failed() {
    if (!this.#full.hasAttribute("src")) return;
    this.#dialog.classList.remove("loading");
    toast("The picture could not be loaded.", { isError: true, action: { label: "Try again", run: () => this.show() } });
  }

  #load(id, signal) {
    const prepared = this.#ahead.get(id);
    this.#ahead.clear();
    return prepared ?? this.#api.image(id, this.#size(), { signal });
  }

  /** Return the size of the picture that is sharp on this screen. */
  #size() {
    const edge = Math.max(this.#stage.clientWidth, this.#stage.clientHeight) * devicePixelRatio;
    const size = EDGES.find((candidate) => candidate >= edge) ?? EDGES.at(-1);
    return { width: size, height: size, fit: "inside" };
  }

  /** Load the picture that is likely to be looked at next. */
  #prepareNext() {
    const index = this.#collection.indexOf(this.#image.image_id);
    if (index < 0) return;
    if (index + AHEAD > this.#collection.items.length) this.#collection.more();
    const next = this.#collection.items[index + 1];
    if (!next) return;
    const prepared = this.#api.image(next.image_id, this.#size());
    this.#ahead.set(next.image_id, prepared);
    prepared.then(
      ({ url }) => { new Image().src = url; },
      () => this.#ahead.delete(next.image_id),
    );
  }

  #neighbour(by) {
    const index = this.#collection.indexOf(this.#image?.image_id);
    return index < 0 ? undefined : this.#collection.items[index + by];
  }

  #showWays() {
    if (!this.#dialog.open) return;
    for (const [button, by] of [[this.#previous, -1], [this.#next, 1]]) {
      const isFocused = document.activeElement === button;
      button.hidden = !this.#neighbour(by);
      if (button.hidden && isFocused) this.#close.focus();
    }
  }

  #go(by) {
    const image = this.#neighbour(by);
    if (image) this.#address.view(image.image_id);
  }

  #swiped(event) {
    const way = this.#swipe === null ? 0 : event.clientX - this.#swipe;
    this.#swipe = null;
    if (event.pointerType !== "mouse" && Math.abs(way) > SWIPE) this.#go(way > 0 ? -1 : 1);
  }

  #onKey(event) {
    if (!this.#dialog.open || document.querySelector(".ask[open]")) return;
    if (isTyping(event.target) || event.ctrlKey || event.metaKey || event.altKey) return;
    const actions = {
      ArrowLeft: () => this.#go(-1),
      ArrowRight: () => this.#go(1),
      e: () => this.#edit(),
      c: () => this.#copy(),
      d: () => this.#download(),
      i: () => this.#toggleInfo(),
      Delete: () => this.#delete(),
    };
    if (!actions[event.key]) return;
    event.preventDefault();
    actions[event.key]();
  }

  #toggleInfo() {
    const isHidden = this.#dialog.classList.toggle("bare");
    this.#about.setAttribute("aria-expanded", String(!isHidden));
  }

  /** What is known is replaced only where it has changed, and buttons never: one that is just being pressed would be lost. */
  #showInfo() {
    const { filename, description, tags, user_id: user, width, height, frames, size, content_type: type, created_at: created, image_id: id } = this.#image;
    const facts = [
      ["File", filename],
      ["Size", `${number(width)} × ${number(height)}, ${bytes(size)}`],
      ["Format", `${type.replace("image/", "").toUpperCase()}${frames > 1 ? `, ${number(frames)} frames` : ""}`],
      ["Uploaded", time(created)],
      ["User", user],
      ["Id", id],
    ];
    for (const button of [this.#editButton, this.#deleteButton]) button.hidden = !this.#api.mayWrite;
    const known = JSON.stringify([description, tags, facts]);
    if (known === this.#known) return;
    this.#known = known;
    const tagged = tags.map((tag) =>
      h("li", {}, h("button", { type: "button", title: `List what is tagged ${tag}`, onclick: () => this.#address.filter({ tags: [tag], exclude: [] }) }, h("span", { class: "tag" }, tag))),
    );
    this.#facts.replaceChildren(
      h("h2", {}, nameOf(this.#image)),
      description && description !== nameOf(this.#image) ? h("p", {}, description) : "",
      tagged.length ? h("ul", { class: "chips", "aria-label": "Tags of the picture" }, ...tagged) : "",
      h("dl", {}, ...facts.flatMap(([name, value]) => [h("dt", {}, name), h("dd", {}, value)])),
    );
  }

  #buildInfo(button) {
    this.#editButton = button("edit", null, "Edit", () => this.#edit());
    this.#deleteButton = button("danger", null, "Delete", () => this.#delete());
    const options = LIVES.map(([seconds, text]) => h("option", { value: seconds }, text));
    this.#life = h("select", { id: "life" }, ...options);
    this.#info.append(
      this.#facts,
      h("div", { class: "actions" }, this.#editButton, button(null, null, "Download", () => this.#download()), this.#deleteButton),
      h(
        "div",
        { class: "share" },
        h("p", { class: "field" }, h("label", { for: "life" }, "A link that works for"), this.#life),
        button(null, null, "Copy link", () => this.#copy()),
        this.#link,
      ),
    );
  }

  /** Copy a link for whoever has no access. It is shown too: browsers let pages copy only where the connection is safe. */
  async #copy() {
    const life = Number(this.#life.value);
    const { image_id: id } = this.#image;
    try {
      const { url, expires_at: end } = await this.#api.image(id, { expires_in: life });
      const isCopied = await copied(url);
      if (this.#image?.image_id !== id) return;
      const link = h("input", { type: "text", readonly: true, value: url, "aria-label": "Link", onfocus: () => link.select() });
      const what = isCopied ? "Copied." : "Copy this.";
      this.#link.replaceChildren(link, h("small", {}, `${what} It works until ${time(end)}.`));
      if (!isCopied) link.focus();
    } catch (error) {
      toastError(error);
    }
  }

  async #download() {
    try {
      const { url } = await this.#api.image(this.#image.image_id, { download: true });
      h("a", { href: url, download: "" }).click();
    } catch (error) {
      toastError(error);
    }
  }

  async #edit() {
    const id = this.#image.image_id;
    if (!this.#api.mayWrite) return;
    // What the list knows may be old, and has no ETag.
    if (!this.#image.etag) await this.#loading;
    if (this.#image?.image_id !== id || !this.#image.etag) return;
    const { filename, description, tags, etag } = this.#image;
    await ask({
      title: "Edit",
      fields: [
        { name: "tags", label: "Tags", value: tags.join(", "), hint: "With commas between them" },
        { name: "description", label: "Description", value: description, rows: 4 },
        { name: "filename", label: "File name", value: filename, required: true },
      ],
      action: "Save",
      submit: async (entered) => {
        const changes = { ...entered, tags: tagsIn(entered.tags) };
        let changed;
        try {
          changed = await this.#api.change(id, changes, etag);
        } catch (error) {
          if (error.status !== 412) throw error;
          throw new Error("Somebody else has changed this picture meanwhile. Close it, look at it again, and edit that.");
        }
        this.#collection.update([changed]);
        if (this.#image?.image_id === id) this.#take({ ...this.#image, ...changed });
      },
    });
  }

  async #delete() {
    if (!this.#api.mayWrite) return;
    const { image_id: id } = this.#image;
    const [next, previous] = [this.#neighbour(1), this.#neighbour(-1)];
    const gone = await this.#bulk.delete([id]);
    if (!gone?.includes(id) || this.#image?.image_id !== id) return;
    const other = next ?? previous;
    if (other) this.#address.view(other.image_id);
    else this.#address.close();
  }
}

async function copied(text) {
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch {
    return false;
  }
}
