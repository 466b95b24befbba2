// Dead letters: which addresses have some, those of one address, what can be done.

import { h } from "./dom.js";
import { count, plural } from "./format.js";

export function letterDesk(state, act) {
  const deadLetters = state.deadLetters;
  const addresses = [...state.services.values()].filter((one) => one.dead || one.address === deadLetters.address);
  if (!addresses.length) {
    const known = [...state.services.values()].some((one) => one.dead !== null);
    return [h("p", { class: "empty", key: "none" }, known || !state.services.size ? "There are none." : "Not known: no broker answers over HTTP.")];
  }
  return [
    h("div", { class: "chips", key: "chips", role: "group", "aria-label": "Addresses with dead letters" },
      addresses.map((one) => h("button", {
        key: one.address, type: "button", class: "chip", "aria-pressed": String(one.address === deadLetters.address),
        onclick: () => act.letters(one.address),
      }, one.address, " ", h("b", null, count(one.dead))))),
    deadLetters.address ? opened(state, act) : h("p", { class: "empty", key: "hint" }, "Choose an address to look at its letters."),
  ];
}

function opened(state, act) {
  const deadLetters = state.deadLetters;
  if (deadLetters.error) return h("p", { class: "empty bad", key: "error" }, deadLetters.error);
  if (deadLetters.busy && !deadLetters.letters.length) return h("p", { class: "empty", key: "busy" }, "Looking …");
  if (!deadLetters.letters.length) return h("p", { class: "empty", key: "empty" }, `${deadLetters.address} has no dead letters now.`);
  const chosen = deadLetters.letters.filter((letter) => deadLetters.chosen.has(letter.id));
  const all = chosen.length === deadLetters.letters.length;
  return h("div", { key: "deadLetters", class: deadLetters.busy ? "busy" : "", "aria-busy": String(deadLetters.busy) },
    h("div", { class: "orders" },
      h("label", null, h("input", {
        type: "checkbox", checked: all, indeterminate: chosen.length > 0 && !all,
        onchange: () => act.choose(deadLetters.letters.map(({ id }) => id), !all),
      }), ` ${chosen.length ? plural(chosen.length, "letter", "letters") : "all"}`),
      order("Replay", "replay", chosen, state, act),
      order("Drop", "drop", chosen, state, act),
      h("button", { type: "button", onclick: () => act.letters(deadLetters.address) }, "Look again"),
      deadLetters.more ? h("span", { class: "dim" }, `${plural(deadLetters.more, "other is", "others are")} not shown; irismq dead list --limit has them.`) : null),
    h("ul", { class: "letters" }, deadLetters.letters.map((letter) => line(letter, deadLetters, act))));
}

function order(name, verb, chosen, state, act) {
  const sure = state.sure === verb;
  return h("button", {
    key: verb, type: "button", class: sure ? "sure" : "", disabled: !chosen.length || state.deadLetters.busy,
    title: state.token ? undefined : "Acting needs the token that was printed at the start",
    onclick: () => act.order(verb, chosen.map(({ id }) => id)),
    onblur: () => act.unsure(),
  }, sure ? `Really ${verb} ${count(chosen.length)}?` : name);
}

function line(letter, deadLetters, act) {
  return h("li", { key: letter.id, "data-letter": letter.id },
    h("input", {
      type: "checkbox", checked: deadLetters.chosen.has(letter.id), "aria-label": `Choose ${letter.id}`,
      onchange: () => act.choose([letter.id], !deadLetters.chosen.has(letter.id)),
    }),
    h("time", { class: "dim", datetime: letter.time }, letter.time.replace("T", " ").slice(0, 19)),
    // The ids of one process begin alike.
    h("code", { class: "dim", title: letter.id }, `…${letter.id.slice(-8)}`),
    h("b", null, letter.type || "(no type)"),
    h("span", { class: "reason" }, letter.reason),
    h("span", { class: "dim" }, plural(letter.attempts, "delivery", "deliveries")),
    h("button", { type: "button", "aria-label": `Show ${letter.id}`, onclick: () => act.show(letter.id) }, "Show"));
}
