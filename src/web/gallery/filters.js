/** What is listed: by tags, user and day. */

import { NO_FILTERS } from "./address.js";
import { h, toastError } from "./dom.js";
import { number } from "./format.js";

const MOST_CHIPS = 40;
const MOST_PAGES = 10; // of tags that are looked through for the most frequent ones
const PAUSE = 200; // milliseconds without typing after which tags are looked up
const DAY_PAUSE = 500; // milliseconds after which a day is taken for what is meant

export class Filters {
  #api;
  #address;
  #toggle;
  #panel;
  #active;
  #search;
  #chips = h("ul", { class: "chips", "aria-label": "Tags" });
  #mode;
  #from;
  #to;
  #user;
  #userField;
  #users = h("datalist", { id: "users" });
  #tags = null; // until they are looked up
  #shown = ""; // what the chips say
  #timer;
  #lookUps = 0;
  #isSeveral = false;

  constructor(api, address, { toggle, panel, active }) {
    this.#api = api;
    this.#address = address;
    this.#toggle = toggle;
    this.#panel = panel;
    this.#active = active;
    this.#build();
    toggle.addEventListener("click", () => this.toggle());
    address.addEventListener("filters", () => this.#show());
    this.#show();
  }

  toggle() {
    this.#panel.hidden = !this.#panel.hidden;
    this.#toggle.setAttribute("aria-expanded", String(!this.#panel.hidden));
    if (this.#panel.hidden) {
      this.#toggle.focus();
      return;
    }
    this.refresh();
    this.#search.focus();
  }

  /** Take note of whose images these are. */
  learn(images) {
    const known = new Set(Array.from(this.#users.children, ({ value }) => value));
    const users = new Set(images.map((image) => image.user_id)).difference(known);
    for (const user of users) this.#users.append(h("option", { value: user }));
    if (users.size && !this.#panel.hidden) this.#countUsers().catch(toastError);
  }

  /** Look up tags and users anew, if they are shown. */
  refresh() {
    if (this.#panel.hidden) return;
    this.#findTags().catch(toastError);
    this.#countUsers().catch(toastError);
  }

  #build() {
    const on = (name) => (event) => this.#address.filter({ [name]: event.target.value });
    this.#search = h("input", { type: "search", id: "find-tag", autocomplete: "off", oninput: () => this.#findSoon() });
    this.#mode = h(
      "select",
      { id: "mode", onchange: on("mode") },
      h("option", { value: "all" }, "all of them"),
      h("option", { value: "any" }, "any of them"),
    );
    this.#from = this.#day("from");
    this.#to = this.#day("to");
    this.#user = h("input", { type: "text", id: "user", list: "users", autocomplete: "off", onchange: on("user") });
    this.#userField = field("User", this.#user, this.#users);
    this.#panel.append(
      h(
        "div",
        { class: "fields" },
        field("Find a tag", this.#search),
        field("Pictures with", this.#mode),
        field("From", this.#from),
        field("To", this.#to),
        this.#userField,
      ),
      this.#chips,
    );
  }

  /** Who types a day passes through others on the way, such as those of the year 2: none of them is to be a step back. */
  #day(name) {
    let timer = null;
    let isChanged = false;
    const take = () => {
      clearTimeout(timer);
      if (control.validity.badInput) control.value = this.#address.filters[name]; // it was left half done
      else if (isChanged) this.#address.filter({ [name]: control.value });
      isChanged = false;
    };
    const takeSoon = () => {
      isChanged = true;
      clearTimeout(timer);
      const isHalf = control.validity.badInput || control.value.startsWith("0");
      if (!isHalf) timer = setTimeout(take, DAY_PAUSE);
    };
    const onkeydown = ({ key }) => { if (key === "Enter") take(); };
    const control = h("input", { type: "date", id: name, onchange: takeSoon, onblur: take, onkeydown });
    return control;
  }

  #show() {
    const { mode, user, from, to } = this.#address.filters;
    this.#mode.value = mode;
    this.#from.value = from;
    this.#to.value = to;
    this.#user.value = user;
    this.#userField.hidden = !user && !this.#isSeveral;
    this.#showActive();
    this.#showTags();
    this.refresh();
  }

  #showActive() {
    const { tags, exclude, mode, user, from, to } = this.#address.filters;
    const without = (name, tag) => ({ [name]: this.#address.filters[name].filter((other) => other !== tag) });
    const chips = [
      ...tags.map((tag) => [tag, without("tags", tag)]),
      ...exclude.map((tag) => [`not ${tag}`, without("exclude", tag)]),
      user && [`by ${user}`, { user: "" }],
      from && [`from ${from}`, { from: "" }],
      to && [`to ${to}`, { to: "" }],
    ].filter(Boolean);
    const focus = this.#active.contains(document.activeElement);
    this.#active.hidden = !chips.length;
    this.#active.replaceChildren(
      h("span", { class: "quiet" }, tags.length > 1 && mode === "any" ? "Any of these tags:" : "Only:"),
      ...chips.map(([text, changes]) =>
        h(
          "button",
          { type: "button", class: "chip", "aria-label": `Remove the filter ${text}`, onclick: () => this.#address.filter(changes) },
          `${text} ×`,
        ),
      ),
      h("button", { type: "button", onclick: () => this.#address.filter(NO_FILTERS) }, "Show all"),
    );
    if (focus) (this.#active.hidden ? this.#toggle : this.#active.querySelector("button")).focus();
  }

  #findSoon() {
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => this.#findTags().catch(toastError), PAUSE);
  }

  /** Show the most frequent tags, or of those that begin with what was typed. */
  async #findTags() {
    const lookUp = (this.#lookUps += 1);
    const prefix = this.#search.value.trimStart();
    const { user } = this.#address.filters;
    const query = { limit: 100, ...(prefix ? { prefix } : {}), ...(user ? { user_id: user } : {}) };
    const found = [];
    for (let pages = 0, key = null; pages < MOST_PAGES && (key || !pages); pages += 1) {
      const { body } = await this.#api.call("GET", "tags", {
        query: key ? { ...query, last_key: JSON.stringify(key) } : query,
      });
      found.push(...body.tags);
      key = body.last_key;
    }
    if (lookUp !== this.#lookUps) return; // a later one knows better
    found.sort((a, b) => b.count - a.count);
    this.#tags = found.slice(0, MOST_CHIPS);
    this.#showTags();
  }

  /** Chips are replaced only where they have changed: one that is just being pressed would be lost. */
  #showTags() {
    if (!this.#tags) return;
    const { tags, exclude } = this.#address.filters;
    const shown = JSON.stringify([this.#tags, tags, exclude]);
    if (shown === this.#shown) return;
    this.#shown = shown;
    const focused = document.activeElement?.closest?.(".chips button");
    const [tag, isExclusion] = [focused?.dataset.tag, focused?.classList.contains("exclude")];
    this.#chips.replaceChildren(...this.#tags.map((tag) => this.#chip(tag)));
    if (!this.#tags.length) this.#chips.append(h("li", { class: "quiet" }, "No tags."));
    if (!tag) return;
    const same = [...this.#chips.querySelectorAll("button")].find(
      (button) => button.dataset.tag === tag && button.classList.contains("exclude") === isExclusion,
    );
    (same ?? this.#search).focus();
  }

  #chip({ tag, count }) {
    const { tags, exclude } = this.#address.filters;
    const [isIn, isOut] = [tags.includes(tag), exclude.includes(tag)];
    const without = { tags: tags.filter((other) => other !== tag), exclude: exclude.filter((other) => other !== tag) };
    const filter = (changes) => () => this.#address.filter({ ...without, ...changes });
    const label = `${tag}, ${number(count)}`;
    return h(
      "li",
      { class: isIn ? "in" : isOut ? "out" : null },
      h(
        "button",
        { type: "button", "data-tag": tag, "aria-pressed": String(isIn), "aria-label": label, onclick: filter(isIn ? {} : { tags: [...without.tags, tag] }) },
        h("span", { class: "tag" }, tag),
        h("span", { class: "count" }, number(count)),
      ),
      h(
        "button",
        {
          type: "button",
          class: "exclude",
          "data-tag": tag,
          title: `Without ${tag}`,
          "aria-pressed": String(isOut),
          "aria-label": `Without ${tag}`,
          onclick: filter(isOut ? {} : { exclude: [...without.exclude, tag] }),
        },
        "−",
      ),
    );
  }

  /** There are several users where somebody has fewer images than there are. */
  async #countUsers() {
    const somebody = this.#users.firstChild?.value;
    if (this.#isSeveral || !somebody) return;
    const usage = async (query) => (await this.#api.call("GET", "usage", { query })).body.images;
    this.#isSeveral = this.#users.children.length > 1 || (await usage({})) > (await usage({ user_id: somebody }));
    this.#userField.hidden = !this.#isSeveral && !this.#address.filters.user;
  }
}

function field(label, control, ...others) {
  return h("p", { class: "field" }, h("label", { for: control.id }, label), control, ...others);
}
