let documentation = null;

function resolve(schema) {
  if (!schema) return {};
  if (schema.$ref) return { ...documentation.components.schemas[schema.$ref.split("/").pop()], ...schema, $ref: undefined };
  return schema;
}

function kindOf(schema) {
  const found = resolve(schema);
  if ("const" in found) return JSON.stringify(found.const);
  if (found.enum) return found.enum.map((value) => JSON.stringify(value)).join(" | ");
  const parts = found.anyOf || found.oneOf;
  if (parts) return parts.filter((part) => part.type !== "null").map(kindOf).join(" | ") || "null";
  if (found.type === "array") return "[" + kindOf(found.items) + ", …]";
  if (found.type === "object" && found.additionalProperties?.type) return "{…: " + kindOf(found.additionalProperties) + "}";
  return found.type || "object";
}

function bounds(schema) {
  const found = resolve(schema);
  const all = [found, ...(found.anyOf || []).map(resolve)];
  const pick = (name) => all.map((part) => part[name]).find((value) => value !== undefined);
  return [["≥", pick("minimum")], [">", pick("exclusiveMinimum")], ["≤", pick("maximum")], ["<", pick("exclusiveMaximum")]]
    .filter(([, value]) => value !== undefined && Math.abs(value) < 1e15).map(([sign, value]) => sign + " " + value).join(", ");
}

// The document is English; the page knows its sentences in Chinese.
function said(text) {
  const line = (text || "").replaceAll("\n", " ");
  return (language === "zh" && STATE.descriptions[line]) || line;
}

// Docstrings mark names with backquotes.
function prose(text) {
  return said(text).split(/`+([^`]+)`+/).map((part, index) => index % 2 ? h("code", {}, part) : part);
}

function propertyTable(schema, reply) {
  const found = resolve(schema);
  const needed = found.required || [];
  const ordered = Object.entries(found.properties || {}).sort((a, b) => needed.includes(b[0]) - needed.includes(a[0]));
  return h("table", {}, h("tbody", {}, ordered.map(([name, property]) => {
    const inner = resolve(property);
    const standard = inner.default != null ? h("div", { className: "hint" }, t("default") + " " + JSON.stringify(inner.default)) : null;
    return h("tr", {}, h("td", {}, name),
      h("td", {}, kindOf(property), bounds(property) ? h("div", { className: "hint" }, bounds(property)) : null, needed.includes(name) && !reply ? h("div", {}, h("em", {}, t("required"))) : null),
      h("td", {}, prose(inner.description), standard));
  })));
}

function sample(path, schema) {
  const found = resolve(schema);
  const example = STATE.examples[0] || {};
  const first = Object.values(example)[0] || "…";
  if (path === "/generate") return Object.keys(example).length ? example : { [STATE.fields.needed[0]]: first };
  for (const name of ["query", "question"]) if (name in found.properties) return { [name]: "…" };
  if ("messages" in found.properties) return { messages: [{ role: "user", content: first }], max_tokens: 32 };
  if ("prompt" in found.properties) return { prompt: first, max_tokens: 32 };
  return { input: first };
}

function tryForm(method, path, body) {
  const area = body ? h("textarea", { className: "code", value: JSON.stringify(sample(path, body), null, 2), spellcheck: false, ariaLabel: t("request_body") }) : null;
  const place = h("input", { type: "text", value: title(), ariaLabel: "name" });
  const status = h("span", { className: "status" });
  const reply = h("pre", { className: "pad" });
  const shown = h("div", { hidden: true }, h("h3", {}, t("response"), " ", status), h("div", { className: "card code-card" }, reply));
  const send = h("button", { className: "primary", onclick: async () => {
    send.disabled = true;
    const started = performance.now();
    try {
      const target = path.replace(/\{\w+\}/, () => encodeURIComponent(place.value));
      const response = await fetch(address(target), { method, headers: { "accept-language": language, ...(area ? { "content-type": "application/json" } : {}) }, body: area?.value });
      const text = await response.text();
      status.textContent = response.status + " · " + t("milliseconds", { count: Math.round(performance.now() - started) });
      status.className = "status " + (response.ok ? "ok" : "no");
      try { reply.textContent = JSON.stringify(JSON.parse(text), null, 2); } catch { reply.textContent = text; }
    } catch { status.textContent = ""; reply.textContent = t("unreachable"); }
    shown.hidden = false;
    send.disabled = false;
  } }, t("send_request"));
  return [h("h3", {}, t("try_it")), path.includes("{") ? h("div", { className: "field" }, place) : null, area,
    h("div", { className: "bar", style: "margin-top:10px" }, send), shown];
}

function route(path, method, operation) {
  const body = operation.requestBody?.content["application/json"]?.schema;
  const kinds = Object.keys(operation.requestBody?.content || {});
  const answer = operation.responses["200"]?.content?.["application/json"]?.schema;
  const refusals = Object.entries(operation.responses).filter(([code]) => code !== "200" && code !== "422");
  const text = (operation.description || operation.summary || "").trim();
  const [first, ...rest] = text.split("\n\n");
  return h("details", { className: "route card", open: location.hash === "#" + path },
    h("summary", {}, h("b", { className: "method " + method }, method.toUpperCase()), h("b", { className: "path" }, path),
      h("span", {}, said(first).replaceAll("`", ""))),
    h("div", { className: "pad" }, rest.length ? h("p", {}, prose(rest.join(" "))) : null,
      body ? [h("h3", {}, t("body"), " · ", kinds.join(", ")), propertyTable(body)] : null,
      answer && resolve(answer).properties ? [h("h3", {}, t("answers"), " 200"), propertyTable(answer, true)] : null,
      refusals.length ? [h("h3", {}, t("answers"), " 4xx, 5xx"), h("table", {}, h("tbody", {}, refusals.map(([code, entry]) =>
        h("tr", {}, h("td", { className: "code" }, code), h("td", { colSpan: 2 }, prose(entry.description))))))] : null,
      ...tryForm(method.toUpperCase(), path, body)));
}

function draw() {
  if (!documentation) return;
  const routes = [];
  for (const [path, methods] of Object.entries(documentation.paths))
    for (const [method, operation] of Object.entries(methods)) routes.push([operation.tags?.[0] || "", path, method, operation]);
  const groups = [...new Set(routes.map(([tag]) => tag))];
  const intro = t("docs_intro").split("{envelope}");
  frame("api", h("h1", {}, title()), facts(),
    h("p", {}, intro[0], h("code", {}, '{"error": {"message", "type", "param", "code"}}'), intro[1] || "", " ",
      h("a", { href: "./openapi.json" }, t("openapi"))),
    ...groups.flatMap((tag) => [h("h2", {}, t("group." + tag)), ...routes.filter(([own]) => own === tag).map(([, ...rest]) => route(...rest))]));
}

fetch(address("/openapi.json")).then((response) => response.json()).then((found) => { documentation = found; draw(); });
