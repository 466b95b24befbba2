// Of many things a part is drawn at a time: which, and the buttons that turn to the others.

import { h } from "./dom.js";
import { count } from "./format.js";

// Nodes with their trees, and rows of services, at a time.
export const A_PAGE = { nodes: 50, services: 100 };

const collator = new Intl.Collator();

// As localeCompare, but made once: thousands of names are compared each second.
export const compare = collator.compare;

// The part of `found` that is looked at, and its buttons; null where all fits.
export function page(which, found, state, act) {
  const size = A_PAGE[which];
  const last = Math.max(0, Math.ceil(found.length / size) - 1);
  const at = Math.min(state.pages[which], last);
  if (!last) return { shown: found, turn: null };
  const to = (where, name, word) =>
    h("button", { key: word, type: "button", disabled: where < 0 || where > last, onclick: () => act.page(which, where) }, name);
  const begin = at * size;
  const turn = h("div", { key: "turn", class: "orders turn", role: "group", "aria-label": `Parts of the ${which}` },
    to(at - 1, "Back", "back"),
    h("span", { role: "status" }, `${count(begin + 1)} to ${count(Math.min(begin + size, found.length))} of ${count(found.length)}`),
    to(at + 1, "On", "on"));
  return { shown: found.slice(begin, begin + size), turn };
}
