// Dead letters: which addresses have some, those of one address, what can be done.

import { h } from "./dom.js";
import { count, plural } from "./format.js";

export function letterDesk(state, act) {
  const desk = state.desk;
  const addresses = [...state.services.values()].filter((one) => one.dead || one.address === desk.address);
  if (!addresses.length) {
    const known = [...state.services.values()].some((one) => one.dead !== null);
    return [h("p", { class: "empty", key: "none" }, known || !state.services.size ? "There are none." : "Not known: no broker answers over HTTP.")];
  }
  return [
    h("div", { class: "chips", key: "chips", role: "group", "aria-label": "Addresses with dead letters" },
      addresses.map((one) => h("button", {
        key: one.address, type: "button", class: "chip", "aria-pressed": String(one.address === desk.address),
        onclick: () => act.letters(one.address),
      }, one.address, " ", h("b", null, count(one.dead))))),
    desk.address ? opened(state, act) : h("p", { class: "empty", key: "hint" }, "Choose an address to look at its letters."),
  ];
}

function opened(state, act) {
  const desk = state.desk;
  if (desk.error) return h("p", { class: "empty bad", key: "error" }, desk.error);
  if (desk.busy && !desk.letters.length) return h("p", { class: "empty", key: "busy" }, "Looking …");
  if (!desk.letters.length) return h("p", { class: "empty", key: "empty" }, `${desk.address} has no dead letters now.`);
  const chosen = desk.letters.filter((letter) => desk.chosen.has(letter.id));
  const all = chosen.length === desk.letters.length;
  return h("div", { key: "desk", class: desk.busy ? "busy" : "", "aria-busy": String(desk.busy) },
    h("div", { class: "orders" },
      h("label", null, h("input", {
        type: "checkbox", checked: all, indeterminate: chosen.length > 0 && !all,
        onchange: () => act.choose(desk.letters.map(({ id }) => id), !all),
      }), ` ${chosen.length ? plural(chosen.length, "letter", "letters") : "all"}`),
      order("Replay", "replay", chosen, state, act),
      order("Drop", "drop", chosen, state, act),
      h("button", { type: "button", onclick: () => act.letters(desk.address) }, "Look again"),
      desk.more ? h("span", { class: "dim" }, `${plural(desk.more, "other is", "others are")} not shown; irismq dead list --limit has them.`) : null),
    h("ul", { class: "letters" }, desk.letters.map((letter) => line(letter, desk, act))));
}

function order(name, verb, chosen, state, act) {
  const sure = state.sure === verb;
  return h("button", {
    key: verb, type: "button", class: sure ? "sure" : "", disabled: !chosen.length || state.desk.busy,
    title: state.token ? undefined : "Acting needs the token that was printed at the start",
    onclick: () => act.order(verb, chosen.map(({ id }) => id)),
    onblur: () => act.unsure(),
  }, sure ? `Really ${verb} ${count(chosen.length)}?` : name);
}

function line(letter, desk, act) {
  return h("li", { key: letter.id, "data-letter": letter.id },
    h("input", {
      type: "checkbox", checked: desk.chosen.has(letter.id), "aria-label": `Choose ${letter.id}`,
      onchange: () => act.choose([letter.id], !desk.chosen.has(letter.id)),
    }),
    h("time", { class: "dim", datetime: letter.time }, letter.time.replace("T", " ").slice(0, 19)),
    h("b", null, letter.type || "(no type)"),
    h("span", { class: "reason" }, letter.reason),
    h("span", { class: "dim" }, plural(letter.attempts, "delivery", "deliveries")),
    h("button", { type: "button", onclick: () => act.show(letter.id) }, "Show"));
}
