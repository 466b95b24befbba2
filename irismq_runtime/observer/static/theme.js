// Light, dark, or as the machine says. Runs before the page is drawn.
"use strict";
(() => {
  const saved = () => {
    try { return localStorage.getItem("theme"); } catch { return null; }
  };
  const theme = saved();
  if (theme === "light" || theme === "dark") document.documentElement.dataset.theme = theme;
})();
