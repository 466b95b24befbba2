// The page: what the stream tells is merged into one state, and drawn from it.
// Reading needs nothing; every order is a POST that carries the token in a header.

import { CHARTS, chart, drawCharts, noteTime } from "./charts.js";
import { detail } from "./detail.js";
import { h, patch } from "./dom.js";
import { ago, count, plural } from "./format.js";
import { letterDesk } from "./letters.js";
import { nodeList, orderedNodes } from "./nodes.js";
import { A_PAGE } from "./pages.js";
import { orderedServices, serviceTable } from "./services.js";

const MOST_POINTS = 1200;
const $ = (id) => document.getElementById(id);

const state = {
  nodes: new Map(),
  services: new Map(),
  problems: [],
  brokers: [],
  history: [],
  time: 0,
  heard: 0,
  live: "connecting",
  // What the reader has chosen; `view` counts changes of it.
  view: 0,
  find: "",
  pages: { nodes: 0, services: 0 },
  open: new Map(),
  focus: "",
  sort: { by: "address", down: false },
  span: 300,
  deadLetters: { address: "", letters: [], chosen: new Set(), busy: false, error: "", more: 0 },
  detail: null,
  sure: "",
  token: takeToken(),
};

// The stream -------------------------------------------------------------------

function merge(told) {
  state.time = told.time;
  noteTime(told.time);
  for (const part of ["nodes", "services"]) {
    for (const [key, value] of Object.entries(told[part] || {})) {
      if (value === null) state[part].delete(key);
      else state[part].set(key, value);
    }
  }
  if (told.problems) {
    const known = new Set(state.problems.map(({ key }) => key));
    const news = told.problems.filter(({ key }) => !known.has(key)).map(({ text }) => text);
    state.problems = told.problems;
    // Read aloud once; the list itself counts seconds.
    if (news.length) $("news").textContent = news.join(". ");
  }
  if (told.brokers) state.brokers = told.brokers;
  if (told.history) state.history = told.history;
  else if (told.point) state.history.push(told.point);
  if (state.history.length > MOST_POINTS) state.history.splice(0, state.history.length - MOST_POINTS);
}

function listen() {
  const stream = new EventSource("api/stream");
  stream.addEventListener("all", (event) => {
    state.nodes.clear();
    state.services.clear();
    heard(event);
  });
  stream.addEventListener("change", heard);
  stream.onerror = () => {
    state.live = "reconnecting";
    draw();
    if (stream.readyState === EventSource.CLOSED) {
      stream.close();
      setTimeout(listen, 2000);
    }
  };
}

function heard(event) {
  merge(JSON.parse(event.data));
  state.live = "live";
  state.heard = performance.now();
  draw();
}

// Orders -----------------------------------------------------------------------

async function call(path, options = {}) {
  const answer = await fetch(path, { ...options, credentials: "omit", cache: "no-store" });
  const value = await answer.json();
  if (!answer.ok) throw Object.assign(new Error(value.error || answer.statusText), { status: answer.status });
  return value;
}

function post(order) {
  return call("api/act", {
    method: "POST",
    headers: { "Content-Type": "application/json", "X-Irismq-Token": state.token },
    body: JSON.stringify(order),
  });
}

// Runs an order that has been confirmed; asks for the token when there is none.
async function carryOut(verb, order, said) {
  if (!state.token) {
    act.open({ kind: "token", then: state.detail });
    return null;
  }
  if (state.sure !== verb) {
    state.sure = verb;
    changed();
    return null;
  }
  state.sure = "";
  try {
    const done = await post(order);
    say(said(done));
    return done;
  } catch (error) {
    if (error.status === 401) {
      act.token("");
      act.open({ kind: "token", error: error.message });
    } else say(error.message, true);
    return null;
  }
}

function say(text, bad = false) {
  const place = $("said");
  place.textContent = text;
  place.classList.toggle("bad", bad);
  place.classList.add("shown");
  clearTimeout(say.timer);
  say.timer = setTimeout(() => place.classList.remove("shown"), 6000);
}

const act = {
  toggle(key, open) { state.open.set(key, open); changed(); },
  page(which, at) { state.pages[which] = at; changed(); },
  focus(key) { if (state.focus !== key) { state.focus = key; changed(); } },
  sort(by) {
    const down = state.sort.by === by ? !state.sort.down : by !== "address";
    state.sort = { by, down };
    state.pages.services = 0;
    changed();
  },
  unsure() { if (state.sure) { state.sure = ""; changed(); } },
  async detail(node, path) {
    const what = { kind: "place", node, path, offers: null };
    act.open(what);
    try {
      what.offers = await call(`api/offers?node=${encodeURIComponent(node)}`);
    } catch {
      return; // an older node does not say, and one that is gone cannot
    }
    draw();
  },
  open(what) {
    state.detail = what;
    state.sure = "";
    drawNow();
    if (!$("detail").open) $("detail").showModal();
  },
  close() { $("detail").close(); },
  token(token) {
    state.token = token.trim();
    keepToken(state.token);
    const then = state.detail && state.detail.then;
    if (then) act.open(then);
    else if (state.detail && state.detail.kind === "token") act.close();
    changed();
  },
  async restart(node, supervisor, child) {
    await carryOut("restart", { act: "restart", node, supervisor, child }, () => `${child} is restarted`);
    changed();
  },
  choose(ids, chosen) {
    for (const id of ids) if (chosen) state.deadLetters.chosen.add(id); else state.deadLetters.chosen.delete(id);
    state.sure = "";
    changed();
  },
  async letters(address) {
    const before = state.deadLetters.address === address ? state.deadLetters : { letters: [], chosen: new Set() };
    const deadLetters = state.deadLetters = { ...before, address, busy: true, error: "", more: 0 };
    changed();
    try {
      const found = await call(`api/letters?address=${encodeURIComponent(address)}`);
      const ids = new Set(found.letters.map(({ id }) => id));
      Object.assign(deadLetters, found, { chosen: new Set([...deadLetters.chosen].filter((id) => ids.has(id))) });
    } catch (error) {
      deadLetters.error = error.message;
    }
    deadLetters.busy = false;
    changed();
    $("letters-section").scrollIntoView({ block: "nearest" });
  },
  async show(id) {
    const what = { kind: "letter", address: state.deadLetters.address, letter: null };
    act.open(what);
    try {
      what.letter = await call(`api/letter?address=${encodeURIComponent(what.address)}&id=${encodeURIComponent(id)}`);
    } catch (error) {
      what.error = error.message;
    }
    draw();
  },
  async order(verb, ids) {
    const deadLetters = state.deadLetters;
    const word = verb === "replay" ? "replayed" : "dropped";
    const done = await carryOut(verb, { act: verb, address: deadLetters.address, ids }, ({ done: number, back, left }) =>
      plural(number, `letter ${word}`, `letters ${word}`) + (back ? `; ${count(back)} came back, try again` : "") + (left ? `; left: ${left}` : ""));
    if (!done) return;
    if (done.left) return act.letters(deadLetters.address);
    deadLetters.letters = deadLetters.letters.filter(({ id }) => !ids.includes(id));
    if (state.detail && state.detail.kind === "letter") act.close();
    changed();
  },
};

// The token --------------------------------------------------------------------

function takeToken() {
  const given = new URLSearchParams(location.hash.slice(1)).get("token");
  if (given) {
    history.replaceState(null, "", location.pathname);
    keepToken(given);
    return given;
  }
  try { return sessionStorage.getItem("token") || ""; } catch { return ""; }
}

function keepToken(token) {
  try {
    if (token) sessionStorage.setItem("token", token);
    else sessionStorage.removeItem("token");
  } catch { /* it is asked for again after a reload */ }
}

// Drawing ----------------------------------------------------------------------

let planned = false;

function changed() {
  state.view += 1;
  draw();
}

function draw() {
  if (planned) return;
  planned = true;
  requestAnimationFrame(drawNow);
}

function drawNow() {
  planned = false;
  const focused = document.activeElement;
  drawAll();
  // An element that has changed its place has lost the focus on the way.
  if (focused !== document.activeElement && focused.isConnected) focused.focus({ preventScroll: true });
}

function drawAll() {
  const up = [...state.nodes.values()].filter((node) => node.state === "up").length;
  $("summary").textContent = state.heard
    ? `${plural(up, "node", "nodes")} up, ${plural(state.services.size, "address", "addresses")}` : "";
  const quiet = state.heard && performance.now() - state.heard > 3000;
  const live = state.live === "live" && quiet ? "stalled" : state.live;
  $("live").textContent = live;
  $("live").className = `live ${live}`;
  $("acting").textContent = state.token ? "May act" : "Read only";
  document.body.classList.toggle("stale", Boolean(state.heard) && live !== "live");
  document.title = `${state.problems.length ? `(${state.problems.length}) ` : ""}irismq observer`;
  patch($("problems"), problemList());
  patch($("span"), [[120, "2"], [300, "5"], [600, "10"]].map(([span, name]) =>
    h("button", { key: span, type: "button", "aria-pressed": String(state.span === span), onclick: () => { state.span = span; changed(); } }, `${name} min`)));
  const span = shownSpan();
  patch($("charts"), CHARTS.map((which) => chart(which, state.history, span, draw)));
  drawCharts($("charts"), state.history, span);
  patch($("nodes"), state.heard ? nodeList(state, act) : []);
  patch($("services"), state.heard ? serviceTable(state, act) : []);
  patch($("letters"), state.heard ? letterDesk(state, act) : []);
  patch($("detail"), state.detail ? detail(state, act) : []);
}

// As much as was chosen, or as there is.
function shownSpan() {
  const points = state.history;
  const age = points.length ? points[points.length - 1].time - points[0].time : 0;
  return Math.max(60, Math.min(state.span, Math.ceil(age / 30) * 30));
}

function problemList() {
  if (!state.heard) return [h("p", { class: "empty", key: "wait" }, "Looking at the system …")];
  if (!state.problems.length) return [h("p", { class: "fine", key: "fine" }, "Nothing.")];
  return [h("ul", { class: "problems", key: "list" }, state.problems.map((one) =>
    h("li", { key: one.key, class: one.severity, "data-kind": one.kind },
      h("button", { type: "button", onclick: () => jump(one) },
        h("span", { class: "kind" }, one.kind.replace("-", " ")),
        h("span", { class: "text" }, one.text),
        h("span", { class: "dim" }, nodeName(one), " for ", ago(one.since, state.time))))))];
}

function nodeName(problem) {
  const node = state.nodes.get(problem.node);
  return node ? `on ${node.name}` : "";
}

// Draw the part of many nodes or services in which a problem is.
function turnTo(problem) {
  const which = problem.node ? "nodes" : "services";
  const place = () => (problem.node
    ? orderedNodes(state).findIndex(({ id }) => id === problem.node)
    : orderedServices(state).findIndex(({ address }) => address === problem.subject));
  if (place() < 0 && state.find) $("find").value = state.find = "";
  if (place() < 0) return;
  state.pages[which] = Math.floor(place() / A_PAGE[which]);
  state.view += 1;
  drawNow();
}

// To what a problem is about.
function jump(problem) {
  if (problem.kind === "dead-letters") return act.letters(problem.subject);
  turnTo(problem);
  const wanted = `${problem.node}/${problem.subject}`;
  const found = [...document.querySelectorAll("[data-key], [data-address], [data-node]")].find((each) =>
    each.dataset.key === wanted || (!problem.node && each.dataset.address === problem.subject))
    || [...document.querySelectorAll("[data-node]")].find((each) => each.dataset.node === problem.node);
  if (found) {
    found.scrollIntoView({ block: "center" });
    found.focus({ preventScroll: true });
    found.classList.add("shown");
    setTimeout(() => found.classList.remove("shown"), 1500);
  }
}

$("find").addEventListener("input", (event) => { state.find = event.target.value; state.pages = { nodes: 0, services: 0 }; changed(); });
$("acting").addEventListener("click", () => act.open({ kind: "token" }));
$("detail").addEventListener("close", () => { state.detail = null; state.sure = ""; draw(); });
$("detail").addEventListener("click", (event) => { if (event.target === event.currentTarget) act.close(); });
addEventListener("resize", draw);
addEventListener("theme", draw);
setInterval(draw, 1000);
draw();
listen();
