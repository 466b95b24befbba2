// The dialog: one actor, one letter, or the token. What it shows follows the state.

import { h } from "./dom.js";
import { clock, count, plural, rate } from "./format.js";
import { badge, tone } from "./nodes.js";

export function detail(state, act) {
  const what = state.detail;
  const build = { place, letter, token }[what.kind];
  const { title, body, orders } = build(what, state, act);
  return [
    h("form", { method: "dialog", class: "dialog", key: "form", onsubmit: (event) => { event.preventDefault(); if (what.kind === "token") act.token(event.target.elements.token.value); } },
      h("header", null, h("h2", { id: "detail-title" }, title),
        h("button", { type: "button", class: "close", "aria-label": "Close", onclick: () => act.close() }, "×")),
      h("div", { class: "body" }, body),
      what.error ? h("p", { class: "bad", role: "alert" }, what.error) : null,
      orders && orders.length ? h("footer", null, orders) : null),
  ];
}

function facts(...rows) {
  return h("dl", null, rows.filter(Boolean).map(([name, value]) => h("div", null, h("dt", null, name), h("dd", null, value))));
}

function place(what, state, act) {
  const node = state.nodes.get(what.node);
  const chain = node ? descend(node.trees, what.path) : null;
  if (!chain) return { title: what.path.at(-1), body: h("p", { class: "empty" }, "It is not there any more.") };
  const it = chain.at(-1);
  const above = chain.at(-2);
  const last = it.last;
  const sure = state.sure === "restart";
  const body = [
    facts(
      ["State", badge(it.loops ? "crash loop" : it.state, tone(it))],
      ...(it.progress ? [["Its handler is at", it.progress]] : []),
      ["Class", it.actor_class],
      ["Node", node.name],
      ["Path", it.path.join(" / ")],
      it.address ? ["Address", it.address] : null,
      it.strategy ? ["Strategy", it.strategy] : null,
      ["Inbox", plural(it.inbox, "message waits", "messages wait")],
      ["Rate", `${rate(it.rate)} messages per second`],
      ["Restarts", count(it.restarts)],
      it.ref ? ["Slot", h("code", null, it.ref)] : null),
    it.address && what.offers ? offered(what.offers, it.address) : null,
    last ? h("section", null,
      h("h3", null, "How it last ended"),
      facts(
        ["Reason", last.reason],
        last.error ? ["Error", h("span", { class: "bad" }, `${last.error}: ${last.text}`)] : null,
        last.message_type ? ["While handling", last.message_type] : null,
        last.wall ? ["At", clock(last.wall)] : null),
      last.traceback ? h("pre", { tabindex: "0", "aria-label": "Traceback" }, last.traceback) : null) : null,
  ];
  const orders = above && above.ref ? [h("button", {
    type: "button", class: sure ? "sure" : "", disabled: node.state !== "up",
    title: state.token ? undefined : "Acting needs the token that was printed at the start",
    onclick: () => act.restart(node.id, above.ref, it.name),
    onblur: () => act.unsure(),
  }, sure ? "Really restart it?" : "Restart")] : [];
  return { title: it.name, body, orders };
}

// What its address takes, by the node's own words.
function offered({ runtime, python, offers }, address) {
  const it = offers[address];
  if (!it) return null;
  const messages = Object.entries(it.messages);
  return h("section", null,
    h("h3", null, "What it takes"),
    facts(
      ...messages.map(([name, answer]) => [name, answer ? `answers ${answer}` : "message"]),
      it.exposed.length ? ["Methods", it.exposed.join(", ")] : null,
      it.version ? ["Version", it.version] : null,
      ["Runtime", `irismq-runtime ${runtime}, Python ${python}`]));
}

function descend(trees, path) {
  const chain = [];
  let level = trees;
  for (const name of path) {
    const found = level.find((each) => each.name === name);
    if (!found) return null;
    chain.push(found);
    level = found.children;
  }
  return chain;
}

function letter(what, state, act) {
  const it = what.letter;
  if (!it) return { title: "Dead letter", body: h("p", { class: "empty" }, what.error ? "" : "Looking …") };
  const body = [
    facts(
      ["Address", it.address || what.address],
      ["Type", it.type || "(no type)"],
      ["Given up", `${it.time.replace("T", " ").slice(0, 19)} UTC, after ${plural(it.attempts, "delivery", "deliveries")}`],
      it.node ? ["By", it.node] : null,
      ["Reason", it.reason],
      ["Id", h("code", null, it.id)]),
    h("h3", null, "The message"),
    h("pre", { tabindex: "0", "aria-label": "Message" }, it.message),
    it.cut ? h("p", { class: "dim" }, `${count(it.cut)} characters more are not shown.`) : null,
    it.traceback ? [h("h3", null, "What the handler raised"), h("pre", { tabindex: "0", "aria-label": "Traceback" }, it.traceback)] : null,
  ];
  const order = (name, verb) => {
    const sure = state.sure === verb;
    return h("button", { key: verb, type: "button", class: sure ? "sure" : "", onclick: () => act.order(verb, [it.id]), onblur: () => act.unsure() },
      sure ? `Really ${verb} it?` : name);
  };
  return { title: "Dead letter", body, orders: [order("Replay", "replay"), order("Drop", "drop")] };
}

function token(what, state, act) {
  const body = [
    h("p", null, state.token
      ? "You may act: replay and drop dead letters, restart actors."
      : "Reading is free. To act, give the token that was printed when the page was started."),
    h("label", { class: "field" }, "Token ",
      h("input", { name: "token", type: "password", autocomplete: "off", spellcheck: "false", autofocus: true })),
  ];
  const orders = [h("button", { type: "submit", key: "use" }, "Use it"),
    state.token ? h("button", { type: "button", key: "forget", onclick: () => act.token("") }, "Forget it") : null];
  return { title: "May you act?", body, orders };
}
