// Services and topics as a table that can be sorted; on a phone each row is a card.

import { h } from "./dom.js";
import { NONE, count, rate, seconds } from "./format.js";
import { A_PAGE, compare, page } from "./pages.js";

const COLUMNS = [
  ["address", "Address", (one) => one.address],
  ["members", "Members", (one) => one.members.length],
  ["waiting", "Waiting", (one) => one.waiting],
  ["in_flight", "In flight", (one) => one.in_flight],
  ["deferred", "Deferred", (one) => one.deferred],
  ["told", "Stored/s", (one) => one.told],
  ["done", "Done/s", (one) => one.done],
  ["asked", "Asks/s", (one) => one.asked],
  ["failed", "Failed/s", (one) => one.failed],
  ["p50", "p50", (one) => one.p50],
  ["p99", "p99", (one) => one.p99],
  ["dead", "Dead", (one) => one.dead],
];

export function serviceTable(state, act) {
  const rows = orderedServices(state);
  if (!state.services.size) return [h("p", { class: "empty", key: "none" }, "Nobody serves an address, and no broker has a topic.")];
  if (!rows.length) return [h("p", { class: "empty", key: "nothing" }, "No address has such a name, nor has a node that serves one.")];
  const { shown, turn } = page("services", rows, state, act);
  return [h("div", { class: "scroll", key: "table" }, h("table", null,
    h("thead", null, h("tr", null, COLUMNS.map(([key, name], i) =>
      h("th", { scope: "col", class: i > 1 ? "num" : "", "aria-sort": state.sort.by === key ? (state.sort.down ? "descending" : "ascending") : "none" },
        h("button", { type: "button", onclick: () => act.sort(key) }, name))))),
    h("tbody", null, shown.map((one) => line(one, act))))), turn];
}

// All services; of many those alone that have what is looked for in their names.
export function orderedServices(state) {
  const wanted = state.find.toLowerCase();
  const all = [...state.services.values()];
  const has = (text) => text.toLowerCase().includes(wanted);
  const found = wanted && all.length > A_PAGE.services
    ? all.filter((one) => has(one.address) || one.members.some(({ name }) => has(name))) : all;
  return found.sort(comparing(state.sort));
}

function comparing({ by, down }) {
  const value = COLUMNS.find(([key]) => key === by)[2];
  return (a, b) => {
    const [one, other] = [value(a), value(b)];
    const found = typeof one === "string" ? compare(one, other) : (one ?? -1) - (other ?? -1);
    return (down ? -found : found) || compare(a.address, b.address);
  };
}

function line(one, act) {
  const cells = [
    [count(one.waiting), one.grows ? "warn strong" : one.waiting ? "" : "dim", one.grows ? " ↑" : ""],
    [count(one.in_flight), one.in_flight ? "" : "dim"],
    [count(one.deferred), one.deferred ? "" : "dim"],
    [rate(one.told), one.told ? "" : "dim"],
    [rate(one.done), one.done ? "" : "dim"],
    [rate(one.asked), one.asked ? "" : "dim"],
    [rate(one.failed), one.failed ? "bad" : "dim"],
    [seconds(one.p50), one.p50 ? "" : "dim"],
    [seconds(one.p99), one.p99 ? "" : "dim"],
  ];
  return h("tr", { key: one.address, "data-address": one.address, tabindex: "-1", class: one.grows ? "grows" : "" },
    h("th", { scope: "row" }, one.address, one.served ? null : h("span", { class: "dim small" }, " topic")),
    h("td", { class: "members", "data-label": "members" }, members(one)),
    cells.map(([text, tone, more], i) =>
      h("td", { class: text === NONE ? "num none" : "num", "data-label": COLUMNS[i + 2][1].toLowerCase() }, h("span", { class: tone }, text, more || ""))),
    h("td", { class: "num", "data-label": "dead" }, one.dead
      ? h("button", { type: "button", class: "link bad", onclick: () => act.letters(one.address), "aria-label": `${one.dead} dead letters of ${one.address}` }, count(one.dead))
      : h("span", { class: "dim" }, one.dead === 0 ? "0" : NONE)));
}

function members(one) {
  if (!one.members.length) return h("span", { class: one.served ? "bad" : "dim" }, one.served ? "nobody" : NONE);
  const names = new Map();
  for (const { name } of one.members) names.set(name, (names.get(name) || 0) + 1);
  return [...names].map(([name, times]) => (times > 1 ? `${name} ×${times}` : name)).join(", ");
}
