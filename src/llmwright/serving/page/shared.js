"use strict";
const STATE = JSON.parse(document.getElementById("state").textContent);

// Storage is refused in some frames; the page works without it.
function remembered(name) { try { return localStorage.getItem("llmwright." + name); } catch { return null; } }
function remember(name, value) { try { localStorage.setItem("llmwright." + name, value); } catch { /* not kept */ } }

function wantedLanguage() {
  const asked = new URLSearchParams(location.search).get("lang") || remembered("language") || navigator.language || STATE.language;
  return asked.toLowerCase().startsWith("zh") ? "zh" : "en";
}
function wantedTheme() {
  const asked = new URLSearchParams(location.search).get("theme") || remembered("theme");
  if (asked === "dark" || asked === "light") return asked;
  return matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light";
}
let language = wantedLanguage();
document.documentElement.dataset.theme = wantedTheme();

function t(key, values = {}) {
  const found = STATE.texts[language][key] || STATE.texts.en[key] || key;
  return found.replace(/\{(\w+)\}/g, (whole, name) => name in values ? values[name] : whole);
}

// Builds an element; text is always set as text, never as markup.
function h(tag, props = {}, ...children) {
  const svg = ["svg", "rect", "path", "circle"].includes(tag);
  const element = svg ? document.createElementNS("http://www.w3.org/2000/svg", tag) : document.createElement(tag);
  for (const [name, value] of Object.entries(props)) {
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (name in element && !svg && name !== "style") element[name] = value;
    else if (value !== false && value != null) element.setAttribute(name, value);
  }
  for (const child of children.flat()) if (child != null && child !== false) element.append(child);
  return element;
}

function setTheme() {
  const root = document.documentElement.dataset;
  root.theme = root.theme === "dark" ? "light" : "dark";
  remember("theme", root.theme);
}
function setLanguage() {
  language = language === "zh" ? "en" : "zh";
  remember("language", language);
  draw();
}

function frame(here, ...content) {
  document.documentElement.lang = language === "zh" ? "zh-CN" : "en";
  document.title = title() + " · " + t(here === "play" ? "title_play" : "title_docs");
  const link = (name, href) => h("a", { href, className: name === here ? "here" : "" }, t(name + "_link"));
  const logo = h("svg", { viewBox: "0 0 32 32", "aria-hidden": "true" },
    h("rect", { width: 32, height: 32, rx: 8, fill: "#4453d6" }),
    h("path", { d: "M9 8v16h8", fill: "none", stroke: "white", "stroke-width": 3.4, "stroke-linecap": "round", "stroke-linejoin": "round" }),
    h("circle", { cx: 22, cy: 11, r: 2.6, fill: "#7be3c1" }));
  document.getElementById("app").replaceChildren(
    h("header", {}, h("div", { className: "inner" },
      h("div", { className: "brand" }, logo, "LLMwright"),
      h("nav", {}, link("play", "./"), link("api", "./docs")),
      h("button", { className: "quiet", onclick: setLanguage }, t("language")),
      h("button", { className: "quiet", onclick: setTheme, title: t("theme"), ariaLabel: t("theme") }, "◐"))),
    h("main", { className: "inner" }, ...content));
}

function title() { return STATE.title || t("documents"); }

function facts() {
  const model = STATE.model;
  const documents = STATE.knowledge && h("span", { className: "fact" }, t("documents_count", STATE.knowledge));
  if (!model) return h("div", { className: "facts" }, documents);
  const passed = model.probes.status === "passed";
  const count = model.probes.count;
  return h("div", { className: "facts" },
    h("span", { className: "fact" }, t("task." + model.task)),
    h("span", { className: "fact" }, model.num_parameters.toLocaleString(language) + " " + t("parameters")),
    h("span", { className: "fact" + (model.engine ? "" : " warn") },
      model.engine ? [t("engine"), model.engine, model.number_format].filter(Boolean).join(" ") : t("state." + model.state)),
    h("span", { className: "fact " + (passed ? "good" : "warn"), title: t(passed ? "verified_hint" : "unverified_hint", { count }) },
      passed ? "✓ " + t("verified", { count }) : t("unverified")), documents);
}

function copyButton(read) {
  const button = h("button", { className: "quiet", onclick: async () => {
    try { await navigator.clipboard.writeText(read()); } catch { return; }
    button.textContent = t("copied");
    setTimeout(() => { button.textContent = t("copy"); }, 1500);
  } }, t("copy"));
  return button;
}

function codeCard(text) {
  const pre = h("pre", {}, text);
  return { card: h("div", { className: "card code-card" }, pre, copyButton(() => pre.textContent)), pre };
}

// The page may lie behind a proxy with a path of its own, so addresses start from its folder.
function address(path) { return new URL("." + path, location.href).href; }

function curl(path, body) {
  const quoted = JSON.stringify(body).replaceAll("'", "'\\''");
  const key = STATE.needs_key ? " \\\n  -H 'Authorization: Bearer KEY'" : "";
  return `curl ${address(path)}${key} \\\n  -H 'Content-Type: application/json' \\\n  -d '${quoted}'`;
}

async function post(path, body, signal) {
  const response = await fetch(address(path), {
    method: "POST", body: JSON.stringify(body), signal,
    headers: { "content-type": "application/json", "accept-language": language },
  });
  if (!response.ok) throw new Error((await response.json()).error.message);
  return response;
}

async function* events(response) {
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let held = "";
  for (;;) {
    const { value, done } = await reader.read();
    if (done) return;
    held += value;
    const parts = held.split("\n\n");
    held = parts.pop();
    for (const part of parts) {
      const data = part.replace(/^data: /, "");
      if (data === "[DONE]") return;
      const body = JSON.parse(data);
      if (body.error) throw new Error(body.error.message);
      yield body;
    }
  }
}

function errorBox(error) {
  const text = error instanceof TypeError ? t("unreachable") : error.message;
  return h("div", { className: "error", role: "alert" }, h("b", {}, t("failed")), text);
}
