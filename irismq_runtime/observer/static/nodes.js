// The nodes with their supervision trees, as a tree grid for pointer and keyboard.

import { h, lazy } from "./dom.js";
import { A_PAGE, compare, page } from "./pages.js";
import { ago, clock, count, plural, rate, seconds } from "./format.js";

const WORDS = {
  new: "heard of",
  up: "up",
  silent: "does not answer",
  lost: "lost",
  left: "left",
};
const TONES = { up: "ok", new: "dim", silent: "bad", lost: "bad", left: "dim" };
// Supervisors with more children than this are closed at first.
const MANY = 40;

export function nodeList(state, act) {
  const nodes = orderedNodes(state);
  if (!state.nodes.size) return [h("p", { class: "empty", key: "none" }, "No node is announced. Start one with ", h("code", null, "irismq run MODULE:TREE"), ".")];
  if (!nodes.length) return [h("p", { class: "empty", key: "nothing" }, "Nothing here has such a name.")];
  const { shown, turn } = page("nodes", nodes, state, act);
  return [...shown.map((node) =>
    lazy(node.id, [node, state.view, node.state === "up" ? 0 : Math.floor(state.time / 10)], () => card(node, state, act))), turn];
}

// All nodes; of many those alone in which something is found.
export function orderedNodes(state) {
  const wanted = state.find.toLowerCase();
  const all = [...state.nodes.values()];
  const found = wanted && all.length > A_PAGE.nodes ? all.filter((node) => holds(node, wanted)) : all;
  return found.sort(order);
}

function holds(node, wanted) {
  const below = (place) => matches(place, wanted) || place.children.some(below);
  return [node.name, node.id].some((text) => text.toLowerCase().includes(wanted)) || node.trees.some(below);
}

function order(a, b) {
  const dead = (node) => (node.state === "left" || node.state === "lost" ? 1 : 0);
  return dead(a) - dead(b) || compare(a.name, b.name) || compare(a.id, b.id);
}

function card(node, state, act) {
  const notes = [];
  const { word, tone } = said(node);
  if (node.state !== "up") notes.push(`${WORDS[node.state]} for ${ago(node.since, state.time)}`);
  else if (!node.ready) notes.push(...node.reasons.slice(0, 3));
  if (node.why) notes.push(node.why);
  if (node.error) notes.push(node.error);
  return h("article", { class: `node ${node.state}`, "data-node": node.id, "aria-label": `Node ${node.name}, ${word}` },
    h("header", null,
      h("h3", null, node.name),
      badge(word, tone),
      h("span", { class: "dim id" }, node.id.slice(-16)),
      h("span", { class: "facts" },
        node.host ? h("span", null, `${node.host}:${node.pid}`) : null,
        h("span", null, h("b", null, count(node.actors)), " actors"),
        h("span", null, h("b", null, rate(node.handled)), " msg/s"),
        node.lag >= 0.05 ? h("span", { class: "warn" }, `loop late ${seconds(node.lag)}`) : null)),
    notes.length ? h("p", { class: "notes" }, notes.join("; ")) : null,
    node.store ? store(node.store) : null,
    node.entities.length ? entities(node.entities) : null,
    node.letters ? locals(node) : null,
    node.trees.length ? grid(node, state, act) : null);
}

// What its badge says: one that left unasked did not simply leave.
function said(node) {
  if (node.why) return { word: "gave up", tone: "bad" };
  if (node.state === "up" && !node.ready) return { word: "not ready", tone: "warn" };
  return { word: WORDS[node.state], tone: TONES[node.state] };
}

// What its durable actors commit, and what waits in their store.
function store(it) {
  const waits = it.uncommitted ? [h("b", null, count(it.uncommitted)), " not committed"] : null;
  return h("p", { class: `store ${it.fault ? "warn" : ""}` },
    h("span", null, it.url),
    h("span", null, h("b", null, rate(it.commits)), " commits/s"),
    h("span", null, h("b", null, rate(it.messages)), " msg/s"),
    it.took === null ? null : h("span", null, "each ", h("b", null, seconds(it.took))),
    waits ? h("span", null, waits) : null,
    h("span", null, "outbox ", h("b", null, count(it.outbox))),
    h("span", null, "handled ids ", h("b", null, count(it.handled))),
    it.lost ? h("span", null, plural(it.lost, "commit", "commits"), " lost to others") : null,
    it.sent_again ? h("span", null, plural(it.sent_again, "row", "rows"), " sent again") : null,
    it.fault ? h("span", null, it.fault) : null);
}

// What it has of each class of entities.
function entities(classes) {
  return h("p", { class: "store entities" }, ...classes.map((it) => h("span", { class: it.failing ? "warn" : "" },
    it.address, " ", h("b", null, count(it.active)), " active, ", count(it.owned), "/", plural(it.shards, "shard", "shards"),
    it.failing ? `, ${count(it.failing)} failing` : null)));
}

function locals(node) {
  return h("details", { class: "local" },
    h("summary", null, plural(node.letters, "local message was", "local messages were"), " not handled"),
    h("ul", null, [...node.latest].reverse().map((letter) => h("li", null,
      h("time", { class: "dim" }, clock(letter.wall)),
      h("b", null, letter.target),
      h("span", null, letter.type),
      h("span", { class: "dim" }, letter.reason)))));
}

export function badge(text, tone) {
  return h("span", { class: `badge ${tone}` }, text);
}

function grid(node, state, act) {
  const rows = [];
  const wanted = state.find.toLowerCase();
  for (const tree of node.trees) collect(tree, 1, node, state, wanted, rows);
  if (!rows.length) return h("p", { class: "empty" }, "Nothing here has such a name.");
  const focus = rows.some(({ key }) => key === state.focus) ? state.focus : rows[0].key;
  return h("div", { class: "grid", role: "treegrid", "aria-label": `Supervision tree of ${node.name}`, onkeydown: (event) => keys(event, rows, act) },
    h("div", { class: "row head", role: "row" },
      ["Actor", "State", "Inbox", "msg/s", "Restarts", "Last crash"].map((name, i) =>
        h("span", { role: "columnheader", class: COLUMNS[i] }, name))),
    rows.map((row) => line(row, node, state, act, row.key === focus)));
}

const COLUMNS = ["name", "state", "num", "num", "num", "last"];

function collect(place, level, node, state, wanted, rows) {
  const key = `${node.id}/${place.path.join("/")}`;
  const hit = !wanted || matches(place, wanted);
  const below = [];
  const open = wanted ? true : state.open.get(key) ?? place.children.length <= MANY;
  if (open) for (const child of place.children) collect(child, level + 1, node, state, wanted, below);
  if (!hit && !below.length) return;
  rows.push({ key, place, level, open, inner: place.children.length > 0, hidden: place.hidden });
  rows.push(...below);
}

function matches(place, wanted) {
  return [place.name, place.actor_class, place.address || ""].some((text) => text.toLowerCase().includes(wanted));
}

function line({ key, place, level, open, inner, hidden }, node, state, act, focused) {
  const last = place.last;
  const wrong = place.loops ? "loops" : place.grows ? "grows" : "";
  return h("div", {
    key, role: "row", class: `row ${wrong}`, "data-key": key,
    "aria-level": level,
    "aria-expanded": inner ? String(open) : undefined,
    tabindex: focused ? "0" : "-1",
    onclick: (event) => (event.target.closest(".twist") ? act.toggle(key, !open) : act.detail(node.id, place.path)),
    onfocus: () => act.focus(key),
  },
  h("span", { role: "gridcell", class: `name level${Math.min(level, 9)}` },
    h("span", { class: `twist ${inner ? (open ? "open" : "closed") : "leaf"}`, "aria-hidden": "true" }),
    h("span", { class: "what" },
      h("b", null, place.name),
      place.actor_class !== place.name ? h("span", { class: "dim" }, place.actor_class) : null,
      place.strategy ? h("span", { class: "dim small" }, place.strategy.replaceAll("_", " ")) : null,
      place.address ? h("span", { class: "address" }, place.address) : null,
      hidden ? h("span", { class: "dim small" }, `and ${count(hidden)} more`) : null)),
  h("span", { role: "gridcell", class: "state" }, badge(place.loops ? "crash loop" : place.progress || place.state, tone(place))),
  h("span", { role: "gridcell", class: "num", "data-label": "inbox" }, h("span", { class: place.grows ? "warn strong" : place.inbox ? "" : "dim" }, count(place.inbox), place.grows ? " ↑" : "")),
  h("span", { role: "gridcell", class: "num", "data-label": "msg/s" }, h("span", { class: place.rate ? "" : "dim" }, rate(place.rate))),
  h("span", { role: "gridcell", class: "num", "data-label": "restarts" }, h("span", { class: place.loops ? "bad strong" : place.restarts ? "" : "dim" }, count(place.restarts))),
  h("span", { role: "gridcell", class: "last", title: last && last.error ? `${last.error}: ${last.text}` : undefined },
    last && last.error ? [h("b", null, last.error), last.text ? ` ${last.text}` : "", h("span", { class: "dim" }, ` ${ago(last.wall, state.time)}`)] : null));
}

export function tone(place) {
  if (place.loops) return "bad";
  if (place.state === "running") return "ok";
  return place.state === "dead" || place.state === "down" || place.state === "ended" ? "bad" : "warn";
}

function keys(event, rows, act) {
  const at = rows.findIndex(({ key }) => key === event.target.closest("[data-key]")?.dataset.key);
  if (at < 0) return;
  const row = rows[at];
  const step = { ArrowDown: at + 1, ArrowUp: at - 1, Home: 0, End: rows.length - 1 }[event.key];
  let go = step;
  if (event.key === "ArrowRight" && row.inner) {
    if (!row.open) act.toggle(row.key, true);
    else go = at + 1;
  } else if (event.key === "ArrowLeft") {
    if (row.inner && row.open) act.toggle(row.key, false);
    else go = rows.slice(0, at).findLastIndex(({ level }) => level < row.level);
  } else if (event.key === "Enter" || event.key === " ") {
    event.target.click();
  } else if (step === undefined) return;
  event.preventDefault();
  if (go !== undefined && rows[go]) {
    const all = event.currentTarget.querySelectorAll("[data-key]");
    all[go].focus();
  }
}
