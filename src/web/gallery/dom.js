/** Making and finding elements. Text is always text: nothing here, or anywhere in the gallery, parses HTML. */

/** Make an element: `on…` are listeners, true is an attribute without a value, null and false are left out. */
export function h(name, attributes = {}, ...children) {
  const element = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) {
    if (value === null || value === undefined || value === false) continue;
    if (key.startsWith("on")) element.addEventListener(key.slice(2), value);
    else element.setAttribute(key, value === true ? "" : value);
  }
  element.append(...children.filter((child) => child !== null && child !== undefined));
  return element;
}

export const byId = (id) => document.getElementById(id);

/** Tell of something that happened. An error stays for longer; either goes away by itself. */
export function toast(text, { isError = false, action = null } = {}) {
  const message = h(
    "div",
    { class: isError ? "toast error" : "toast" },
    h("span", {}, text),
    action && h("button", { type: "button", onclick: () => { message.remove(); action.run(); } }, action.label),
    h("button", { type: "button", class: "close", "aria-label": "Dismiss", onclick: () => message.remove() }, "×"),
  );
  const toasts = byId("toasts");
  toasts.append(message);
  stayInSight(toasts);
  setTimeout(() => message.remove(), isError ? 15_000 : 6_000);
}

/** What is not in the dialog that is open can be neither seen nor pressed. */
function stayInSight(toasts) {
  const home = [...document.querySelectorAll("dialog[open]")].at(-1) ?? document.body;
  if (toasts.parentElement !== home) home.append(toasts);
}

document.addEventListener("close", () => stayInSight(byId("toasts")), { capture: true });

/** Tell of a failure in the words of the service. */
export const toastError = (error) => toast(error.message, { isError: true });

/** Whether what is typed goes into a field, so that it is no shortcut. */
export const isTyping = (target) => target.closest?.("input:not([type=checkbox]), textarea, select") != null;
