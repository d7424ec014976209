/** Questions to the user, one at a time, as the browser's own modal dialogs. */

import { h } from "./dom.js";

let dialogs = 0;

/**
 * Ask for the fields `{name, label, value, hint, type, rows}`, or merely whether to go on; resolve to what was entered, by name, or
 * to null. `submit(values)` is tried first: what it throws is shown, and may be mended. Who `must` answer can't leave.
 */
export function ask({ title, text, fields = [], action, isDangerous = false, must = false, submit = async () => {} }) {
  const id = `dialog-${(dialogs += 1)}`;
  const problem = h("p", { class: "problem", role: "alert", hidden: true });
  const inputs = fields.map((field) => input(field, `${id}-${field.name}`));
  const go = h("button", { type: "submit", class: isDangerous ? "danger" : "primary" }, action);
  const form = h(
    "form",
    {},
    h("h2", { id }, title),
    text && h("p", {}, text),
    ...inputs.map(({ element }) => element),
    problem,
    h(
      "div",
      { class: "actions" },
      must ? null : h("button", { type: "button", onclick: () => dialog.close() }, "Cancel"),
      go,
    ),
  );
  const dialog = h("dialog", { class: "ask", "aria-labelledby": id }, form);
  const first = inputs[0]?.control ?? go;
  return new Promise((resolve) => {
    let values = null;
    form.addEventListener("submit", async (event) => {
      event.preventDefault();
      const entered = Object.fromEntries(inputs.map(({ name, control }) => [name, control.value]));
      problem.hidden = true;
      go.disabled = true;
      try {
        await submit(entered);
        values = entered;
        dialog.close();
      } catch (error) {
        problem.textContent = error.message;
        problem.hidden = false;
      }
      go.disabled = false;
      if (dialog.open && !dialog.contains(document.activeElement)) first.focus(); // a disabled button loses the focus
    });
    dialog.addEventListener("close", () => {
      if (must && !values) {
        dialog.showModal();
        return;
      }
      dialog.remove();
      resolve(values);
    });
    document.body.append(dialog);
    dialog.showModal();
    first.focus();
  });
}

function input({ name, label, value = "", hint, type = "text", rows, required = false }, id) {
  const attributes = { id, name, required, "aria-describedby": hint ? `${id}-hint` : null, autocomplete: "off" };
  const control = rows ? h("textarea", { ...attributes, rows }) : h("input", { ...attributes, type });
  control.value = value;
  const element = h(
    "p",
    { class: "field" },
    h("label", { for: id }, label),
    control,
    hint && h("small", { id: `${id}-hint` }, hint),
  );
  return { name, control, element };
}

const KEYS = [
  ["← ↑ → ↓", "Go from picture to picture"],
  ["Home, End", "Go to the first one, or to the last that is loaded"],
  ["Enter", "View the picture"],
  ["Space or x", "Select it; with Shift, all up to it"],
  ["Ctrl A", "Select all that are loaded"],
  ["Delete", "Delete the selected ones, or the one that is viewed"],
  ["t", "Tag the selected ones"],
  ["u", "Upload (or drop files, or paste a picture)"],
  ["f", "Filter"],
  ["← →", "In the viewer: the one before, the next one"],
  ["e, c, d, i", "In the viewer: edit, copy a link, download, show or hide what is known"],
  ["Esc", "Close, or unselect all"],
  ["?", "These keys"],
];

export function showHelp() {
  const rows = KEYS.map(([key, what]) => h("tr", {}, h("th", { scope: "row" }, key), h("td", {}, what)));
  const dialog = h(
    "dialog",
    { class: "ask", "aria-labelledby": "help-title", onclose: () => dialog.remove() },
    h("h2", { id: "help-title" }, "Keyboard"),
    h("table", {}, h("tbody", {}, ...rows)),
    h("p", {}, "All of this page is made with the HTTP API: ", h("a", { href: "docs" }, "its documentation"), "."),
    h(
      "div",
      { class: "actions" },
      h("button", { type: "button", class: "primary", autofocus: true, onclick: () => dialog.close() }, "Close"),
    ),
  );
  document.body.append(dialog);
  dialog.showModal();
}
