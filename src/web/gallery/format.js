/** Numbers and times as people read them, in the browser's language. */

const whole = new Intl.NumberFormat();
const moment = new Intl.DateTimeFormat(undefined, { dateStyle: "medium", timeStyle: "short" });

export function bytes(count) {
  const units = ["B", "kB", "MB", "GB", "TB"];
  const power = count < 1000 ? 0 : Math.min(Math.floor(Math.log10(count) / 3), units.length - 1);
  const value = count / 1000 ** power;
  return `${value.toLocaleString(undefined, { maximumFractionDigits: value < 10 && power ? 1 : 0 })} ${units[power]}`;
}

export const number = (count) => whole.format(count);

export const time = (text) => moment.format(new Date(text));

/** "1 picture", "2,000 pictures". */
export const pictures = (count) => `${number(count)} ${count === 1 ? "picture" : "pictures"}`;

/** What to call an image where there is one line. */
export const nameOf = (image) => image.description || image.filename;

/** Fold a character's case as the service does: that ẞ is ss only capitals know, and the dotless ı has none of its own. */
const fold = (character) => (character === "ı" ? character : character.toLowerCase().toUpperCase().toLowerCase());

const normalTag = (text) => Array.from(text.trim().normalize("NFC"), fold).join("").normalize("NFC");

/** Split what a person typed into tags, as the service does. */
export const tagsIn = (text) => [...new Set(text.split(",").map(normalTag).filter(Boolean))];
