"use strict";
(() => {
  const root = document.documentElement;
  const dark = () =>
    root.dataset.theme
      ? root.dataset.theme === "dark"
      : matchMedia("(prefers-color-scheme: dark)").matches;
  document.getElementById("language").addEventListener("click", () => {
    root.dataset.lang = root.dataset.lang === "en" ? "zh" : "en";
    root.lang = root.dataset.lang;
  });
  document.getElementById("theme").addEventListener("click", () => {
    root.dataset.theme = dark() ? "light" : "dark";
  });
})();
