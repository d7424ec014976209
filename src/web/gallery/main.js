/** The gallery: puts its parts together. */

import { Address, NO_FILTERS } from "./address.js";
import { Api, isAbort, pause } from "./api.js";
import { Bulk, SelectionBar } from "./bulk.js";
import { Collection } from "./collection.js";
import { ask, showHelp } from "./dialogs.js";
import { byId, h, isTyping, toast, toastError } from "./dom.js";
import { Filters } from "./filters.js";
import { bytes, pictures } from "./format.js";
import { Grid, thumbnailSize } from "./grid.js";
import { UploadPanel } from "./upload_panel.js";
import { Uploads } from "./uploads.js";
import { Viewer } from "./viewer.js";

const SOON = 0.3; // seconds in which several uploads may end, before the list is looked at again

const api = new Api(async (problem) => {
  const isNew = problem.code === "token_missing";
  await ask({
    title: "Sign in",
    text: isNew ? "This service asks who you are." : `Your token does not work any more: ${problem.message}`,
    fields: [
      { name: "token", label: "Token", type: "password", required: true, hint: "It is kept until this tab is closed." },
    ],
    action: "Sign in",
    must: true,
    submit: ({ token }) => api.trySigningIn(token.trim()),
  });
});
const address = new Address();
const collection = new Collection(api, thumbnailSize());
const grid = new Grid(byId("grid"), collection, address);
const bulk = new Bulk(api, collection);
const selection = new SelectionBar(grid, bulk, () => api.mayWrite);
const uploads = new Uploads(api, () => address.filters.user);
new UploadPanel(byId("uploads"), uploads, { tag: (ids) => bulk.tag(ids) });
const viewer = new Viewer(api, collection, address, bulk, { onClose: (id) => grid.focus(id) });
const filters = new Filters(api, address, {
  toggle: byId("filter-toggle"),
  panel: byId("filters"),
  active: byId("active"),
});

function list() {
  collection.reset(address.filters);
  showUsage();
}

let usages = 0;

async function showUsage() {
  const usage = (usages += 1);
  let text = "";
  try {
    const { user } = address.filters;
    const { body } = await api.call("GET", "usage", { query: user ? { user_id: user } : {} });
    text = `${pictures(body.images)}, ${bytes(body.bytes)}`;
  } catch {
    // the list says what is wrong
  }
  if (usage === usages) byId("usage").textContent = text;
}

/** Say what there is to say below the pictures. It is a new element each time: one that moved would be a shift. */
function showNotice() {
  const { isComplete, isLoading, error } = collection;
  byId("grid").setAttribute("aria-busy", String(isLoading));
  byId("notice").replaceWith(h("div", { id: "notice", class: "notice", hidden: !isComplete && !error }, ...noticed()));
}

function noticed() {
  const { items, isComplete, error } = collection;
  const button = (text, run) => h("button", { type: "button", onclick: run }, text);
  if (error) return [h("p", { role: "alert" }, error.message), button("Try again", () => collection.more())];
  if (!isComplete) return [];
  if (items.length) return [h("p", { class: "quiet" }, pictures(items.length))];
  if (address.hasFilters) return [h("p", {}, "No picture is like that."), button("Show all", () => address.filter(NO_FILTERS))];
  if (!api.mayWrite) return [h("p", {}, "No pictures yet.")];
  return [h("p", {}, "No pictures yet. Drop some here, paste one, or"), button("upload some", choose)];
}

let person = api.userId;

function showSigned() {
  byId("sign-out").hidden = !api.token;
  byId("upload").hidden = !api.mayWrite;
  if (!api.token) return;
  if (person && person !== api.userId) list(); // what is shown is not theirs
  person = api.userId;
}

const choose = () => byId("files").click();

/** Whether files may be dropped and pasted: not behind a dialog, where nobody sees what becomes of them. */
const mayUpload = () => api.mayWrite && !document.querySelector("dialog[open]");

function upload(files) {
  if (files.length && mayUpload()) uploads.add(files);
}

const fresh = []; // ids of what was uploaded and not looked for yet
let isLooking = false;
let isHidden = false; // whether something was uploaded that the filters leave out

async function uploaded({ detail: image }) {
  fresh.push(image.image_id);
  if (isLooking) return;
  isLooking = true;
  while (fresh.length) {
    await pause(SOON);
    const ids = fresh.splice(0);
    try {
      await collection.newer();
      isHidden ||= address.hasFilters && !ids.every((id) => collection.get(id));
    } catch (error) {
      if (!isAbort(error)) toastError(error);
    }
    showUsage();
    filters.learn(collection.items);
    filters.refresh();
  }
  isLooking = false;
  if (!isHidden || uploads.isBusy) return;
  isHidden = false;
  toast("What was uploaded is not among what is shown.", {
    action: { label: "Show all", run: () => address.filter(NO_FILTERS) },
  });
}

/** Return all files that are dropped, those in directories too, without what is hidden there (.DS_Store). */
async function dropped({ items, files }) {
  const entries = Array.from(items, (item) => item.webkitGetAsEntry?.()).filter(Boolean);
  if (!entries.some((entry) => entry.isDirectory)) return files;
  return (await Promise.all(entries.map(filesIn))).flat();
}

async function filesIn(entry) {
  if (entry.isFile) return [await new Promise((resolve, reject) => entry.file(resolve, reject))];
  const reader = entry.createReader();
  const found = [];
  for (;;) {
    const some = await new Promise((resolve, reject) => reader.readEntries(resolve, reject));
    if (!some.length) return found;
    const visible = some.filter(({ name }) => !name.startsWith("."));
    found.push(...(await Promise.all(visible.map(filesIn))).flat());
  }
}

function listenForFiles() {
  byId("upload").addEventListener("click", choose);
  byId("files").addEventListener("change", ({ target }) => {
    upload([...target.files]);
    target.value = ""; // so that the same file may be chosen again
  });
  const show = (isShown) => { byId("drop").hidden = !isShown; };
  let isOwn = false; // whether a picture of this page is dragged, which comes with a file too
  addEventListener("dragstart", () => { isOwn = true; });
  addEventListener("dragend", () => { isOwn = false; });
  const hasFiles = (event) => event.dataTransfer?.types.includes("Files") && !isOwn;
  addEventListener("dragover", (event) => {
    if (!hasFiles(event)) return;
    event.preventDefault(); // else the browser leaves the page for the file
    event.dataTransfer.dropEffect = mayUpload() ? "copy" : "none";
    show(mayUpload());
  });
  addEventListener("dragleave", (event) => {
    if (!event.relatedTarget) show(false); // it has left the page
  });
  addEventListener("pointermove", () => show(false)); // there are none while something is dragged
  addEventListener("drop", async (event) => {
    if (!hasFiles(event)) return;
    event.preventDefault();
    show(false);
    try {
      upload(await dropped(event.dataTransfer));
    } catch (error) {
      toastError(error);
    }
  });
  addEventListener("paste", (event) => {
    // Office programs put a picture of the text that is copied beside it.
    if (!isTyping(event.target)) upload([...(event.clipboardData?.files ?? [])]);
  });
}

function onKey(event) {
  if (isTyping(event.target) || document.querySelector("dialog[open]") || event.altKey) return;
  if (event.key === "a" && (event.ctrlKey || event.metaKey)) {
    event.preventDefault();
    grid.selectAll();
    return;
  }
  if (event.ctrlKey || event.metaKey) return;
  const actions = {
    "?": showHelp,
    f: () => filters.toggle(),
    u: () => api.mayWrite && choose(),
    t: () => selection.tag(),
    Delete: () => selection.delete(),
    Escape: () => grid.clearSelection(),
  };
  if (!actions[event.key]) return;
  event.preventDefault();
  actions[event.key]();
}

address.addEventListener("filters", list);
collection.addEventListener("loading", showNotice);
collection.addEventListener("grown", () => {
  showNotice();
  filters.learn(collection.items);
});
collection.addEventListener("changed", () => {
  showNotice();
  showUsage();
  filters.refresh();
});
uploads.addEventListener("done", uploaded);
api.addEventListener("signed", showSigned);
byId("help").addEventListener("click", showHelp);
byId("sign-out").addEventListener("click", () => {
  api.token = null;
  location.reload();
});
addEventListener("keydown", onKey);
listenForFiles();
showSigned();
list();
viewer.show();
