// Light, dark, or as the machine says ("auto"). Runs before the page is drawn; the
// event "theme" tells the charts that colours are others now.
"use strict";
(() => {
  const CHOICES = ["auto", "light", "dark"];
  const root = document.documentElement;
  const machine = matchMedia("(prefers-color-scheme: dark)");
  let choice = "auto";

  try {
    choice = CHOICES.includes(localStorage.getItem("theme")) ? localStorage.getItem("theme") : "auto";
  } catch { /* nothing is kept here, then */ }

  function apply() {
    root.dataset.theme = choice === "auto" ? (machine.matches ? "dark" : "light") : choice;
    const button = document.getElementById("theme");
    if (button) button.textContent = `Theme: ${choice}`;
    dispatchEvent(new Event("theme"));
  }

  function next() {
    choice = CHOICES[(CHOICES.indexOf(choice) + 1) % CHOICES.length];
    try { localStorage.setItem("theme", choice); } catch { /* as above */ }
    apply();
  }

  apply();
  machine.addEventListener("change", apply);
  addEventListener("DOMContentLoaded", () => {
    apply();
    document.getElementById("theme").addEventListener("click", next);
  });
})();
