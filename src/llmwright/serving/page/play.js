const able = (name) => STATE.abilities.includes(name);
const RATES = able("regress") || able("reward");
const names = Object.keys(STATE.fields.inputs);
const held = { values: {}, controls: {}, options: { max_tokens: "", temperature: "", seed: "" }, turns: [], result: null };
let running = null;

function inputNames() {
  if (able("write")) return [STATE.fields.needed[0]];
  if (able("tag")) return ["text"];
  if ("answer" in STATE.fields.inputs && RATES) return ["prompt", "answer"];
  return names;
}

function options() {
  const found = {};
  for (const [name, value] of Object.entries(held.options)) if (value !== "") found[name] = Number(value);
  const chosen = Object.entries(held.controls).filter(([, value]) => value);
  if (chosen.length) found.controls = Object.fromEntries(chosen);
  return found;
}

function optionFields() {
  const defaults = STATE.generation;
  const field = (name, label, hint, placeholder, step) => h("div", {},
    h("label", { htmlFor: "o-" + name }, label),
    h("input", { id: "o-" + name, type: "number", min: 0, step, placeholder, value: held.options[name], title: hint,
      oninput: (e) => { held.options[name] = e.target.value; refresh(); } }));
  const open = Object.values(held.options).some((value) => value !== "");
  const styles = Object.entries(STATE.model.controls).map(([name, values]) => h("div", {},
    h("label", { htmlFor: "c-" + name }, name),
    h("select", { id: "c-" + name, value: held.controls[name] ?? "", onchange: (e) => { held.controls[name] = e.target.value; refresh(); } },
      h("option", { value: "" }, t("any_style")),
      ...values.map((value) => h("option", { value, selected: held.controls[name] === value }, value)))));
  const rest = h("details", { className: "options", open }, h("summary", {}, t("options")),
    h("div", { className: "three" },
      field("max_tokens", t("max_tokens"), "", defaults.max_new_tokens, 1),
      field("temperature", t("temperature"), t("temperature_hint"), defaults.temperature, 0.1),
      field("seed", t("seed"), t("seed_hint"), "", 1)));
  return styles.length ? h("div", {}, h("div", { className: "three" }, ...styles), rest) : rest;
}

function request() {
  if (!STATE.model) return ["/v1/answer", { question: held.question || "…" }];
  const named = STATE.models.length > 1 ? { model: STATE.title } : {};
  if (able("embed")) return ["/v1/embeddings", { ...named, input: lines(held.values.texts ?? t("similar_examples")) }];
  if (able("chat")) return ["/v1/chat/completions", { ...named, messages: held.turns.length ? held.turns : [{ role: "user", content: "…" }], ...options() }];
  const body = {};
  for (const name of inputNames()) if (held.values[name]) body[name] = held.values[name];
  const path = STATE.models.length > 1 ? "/generate?model=" + encodeURIComponent(STATE.title) : "/generate";
  return [path, { ...body, ...(able("write") ? options() : {}) }];
}

let curlPre = null;
function refresh() { if (curlPre) curlPre.textContent = curl(...request()); }

function foot(...items) { return h("div", { className: "foot" }, items.filter(Boolean).map((item) => h("span", {}, item))); }

// Reads a stream of text; calls show with what has come so far.
async function readStream(path, body, show) {
  running = new AbortController();
  const started = performance.now();
  let text = "", reason = null, usage = null, first = null, citations = null;
  try {
    const response = await post(path, { ...body, stream: true, stream_options: { include_usage: true } }, running.signal);
    for await (const chunk of events(response)) {
      if (chunk.usage) usage = chunk.usage;
      citations = chunk.citations ?? citations;
      for (const choice of chunk.choices) {
        text += choice.text ?? choice.delta?.content ?? "";
        reason = choice.finish_reason ?? reason;
      }
      if (first === null && text) first = performance.now();
      show(text);
    }
  } catch (error) {
    if (error.name !== "AbortError") throw error;
  } finally { running = null; }
  return { text, reason, usage, citations, milliseconds: performance.now() - started };
}

function streamFoot({ reason, usage, milliseconds }) {
  const count = usage?.completion_tokens;
  const pace = count > 4 ? t("pace", { count: Math.round(count / milliseconds * 1000) }) : null;
  return foot(t("milliseconds", { count: Math.round(milliseconds) }), count != null && t("tokens", { count }), pace,
    count === 0 && t("empty_text"), reason === "length" && t("cut_off"));
}

async function write(output, button) {
  if (running) { running.abort(); return; }
  button.textContent = t("stop_button");
  const place = h("div", { className: "answer cursor" + (STATE.model.task === "seq2seq" ? "" : " small") });
  output.replaceChildren(place);
  try {
    const prompt = held.values[inputNames()[0]] || "";
    const result = await readStream("/v1/completions", { model: STATE.title, prompt, ...options() }, (text) => { place.textContent = text; });
    output.append(streamFoot(result));
  } catch (error) { output.replaceChildren(errorBox(error)); }
  place.classList.remove("cursor");
  button.textContent = t("write_button");
}

async function ask(output, button) {
  button.disabled = true;
  const started = performance.now();
  try {
    const answer = await (await post(...request())).json();
    const milliseconds = Math.round(performance.now() - started);
    output.replaceChildren(...(able("tag") ? tagged(answer) : RATES ? rated(answer) : able("fill") ? filled(answer) : classified(answer)),
      foot(t("milliseconds", { count: milliseconds }), answer.truncated && t("truncated")));
  } catch (error) { output.replaceChildren(errorBox(error)); }
  button.disabled = false;
}

function rated(answer) {
  const value = answer[Object.values(STATE.fields.outputs)[0]];
  return [h("div", { className: "best" }, Number(value.toPrecision(5)).toString())];
}

function filled(answer) {
  const lists = answer.fills.map((fills) => h("div", {}, fills.map(({ token, score }, index) => h("div", { className: "score" + (index ? "" : " first") },
    h("span", { title: token }, token), h("i", { style: `--share:${(score * 100).toFixed(2)}%` }), h("b", {}, (score * 100).toFixed(1) + " %")))));
  return [h("div", { className: "best" }, answer.text), ...lists];
}

const SHOWN_SCORES = 6;
function classified(answer) {
  const chosen = answer[STATE.fields.outputs.label ?? STATE.fields.outputs.labels];
  const best = Array.isArray(chosen) ? chosen : [chosen];
  const scores = Object.entries(answer.scores).sort((a, b) => b[1] - a[1]);
  const rows = scores.map(([label, share]) => h("div", { className: "score" + (best.includes(label) ? " first" : "") },
    h("span", { title: label }, label), h("i", { style: `--share:${(share * 100).toFixed(2)}%` }), h("b", {}, (share * 100).toFixed(1) + " %")));
  const more = h("button", { className: "quiet", onclick: () => fold(!rows[SHOWN_SCORES].hidden) });
  function fold(hide) {
    rows.slice(SHOWN_SCORES).forEach((row) => { row.hidden = hide; });
    more.textContent = hide ? t("all_scores", { count: rows.length }) : t("fewer_scores");
  }
  if (rows.length > SHOWN_SCORES) fold(true);
  return [h("div", { className: "best" }, best.join(" · ") || t("no_labels")), h("div", {}, rows), rows.length > SHOWN_SCORES ? more : null].filter(Boolean);
}

function tagged(answer) {
  const { tokens, tags } = STATE.fields.outputs;
  // Tags of one kind (B-LOC, I-LOC) share a colour.
  const kinds = [...new Set(STATE.model.labels.map((tag) => tag.replace(/^[BIESLU]-/, "")))].filter((tag) => tag !== "O");
  return [h("div", { className: "words" }, answer[tokens].map((word, index) => {
    const tag = answer[tags][index];
    const kind = kinds.indexOf(tag.replace(/^[BIESLU]-/, ""));
    const hue = Math.round(kind * 137.5 + 225) % 360;
    return h("span", { className: "word" + (kind < 0 ? "" : " tagged"), style: `--hue:${hue}` }, word, h("small", {}, kind < 0 ? "\u00a0" : tag));
  }))];
}

// Passages that were found, numbered as answers cite them.
function sources(passages) {
  return h("ol", { className: "sources" }, passages.map((passage) => {
    const place = [passage.source, passage.heading, passage.row != null && t("row", { count: passage.row })].filter(Boolean).join(" · ");
    return h("li", { className: passage.cited === false ? "uncited" : "" },
      h("details", { open: passage.cited !== false }, h("summary", {}, h("b", {}, "[" + passage.number + "] "), place,
        h("span", { className: "hint" }, t("score", { count: Math.round(passage.score * 100) }))),
      h("p", {}, passage.text)));
  }));
}

async function askDocuments(question, output, button) {
  button.disabled = true;
  const started = performance.now();
  try {
    const found = await (await post("/v1/answer", { question })).json();
    const milliseconds = Math.round(performance.now() - started);
    const text = found.answer ?? t(found.citations.length ? "best_passages" : "nothing_found");
    output.replaceChildren(h("div", { className: "answer small" + (found.known ? "" : " unknown") }, text),
      found.citations.length ? sources(found.citations) : "", foot(t("milliseconds", { count: milliseconds })));
  } catch (error) { output.replaceChildren(errorBox(error)); }
  button.disabled = false;
}

function documentsView() {
  const output = h("div", { ariaLive: "polite" });
  const button = h("button", { className: "primary" }, t("ask_button"));
  const field = h("input", { type: "text", value: held.question || "", placeholder: t("ask_hint"), ariaLabel: t("ask_hint"), maxLength: 10000,
    oninput: () => { held.question = field.value; refresh(); },
    onkeydown: (e) => { if (e.key === "Enter" && !e.isComposing) { e.preventDefault(); go(); } } });
  const go = () => { if (field.value.trim()) askDocuments(field.value, output, button); };
  button.onclick = go;
  return h("section", { className: "card pad documents" }, h("div", { className: "bar" }, field, button), output);
}

function exampleChips(fill) {
  if (!STATE.examples.length) return null;
  return h("div", { className: "chips", ariaLabel: t("examples") }, STATE.examples.map((example) =>
    h("button", { className: "chip", type: "button", title: Object.values(example).join("\n"), onclick: () => fill(example) },
      Object.values(example).join(" / ").slice(0, 60))));
}

function singleView() {
  const button = h("button", { className: "primary" }, t(able("write") ? "write_button" : able("tag") ? "tag_button" : RATES ? "rate_button" : able("fill") ? "fill_button" : "classify_button"));
  const output = h("div", { className: "grow", ariaLive: "polite" }, h("div", { className: "empty" }, t("waiting")));
  const go = () => { refresh(); return able("write") ? write(output, button) : ask(output, button); };
  button.onclick = go;
  const areas = inputNames().map((name) => {
    const area = h("textarea", { id: "f-" + name, value: held.values[name] || "", spellcheck: false,
      oninput: () => { held.values[name] = area.value; refresh(); },
      onkeydown: (e) => { if (e.key === "Enter" && (e.ctrlKey || e.metaKey)) { e.preventDefault(); go(); } } });
    return [name, area];
  });
  const fill = (example) => { for (const [name, area] of areas) area.value = held.values[name] = example[name] || ""; go(); };
  const output_label = able("write") ? STATE.fields.outputs.text : t("answer");
  return [h("div", { className: "columns" },
    h("section", { className: "card pad" },
      ...areas.map(([name, area]) => h("div", { className: "field grow" }, h("label", { htmlFor: area.id }, name), area)),
      exampleChips(fill), able("write") ? optionFields() : null,
      h("div", { className: "bar" }, button, h("span", { className: "hint" }, t("enter_hint")))),
    h("section", { className: "card pad" }, h("label", {}, output_label === "text" ? t("answer") : output_label), output))];
}

function chatView() {
  const talk = h("div", { className: "talk", ariaLive: "polite" });
  const area = h("textarea", { spellcheck: false, ariaLabel: t("send_button") });
  const button = h("button", { className: "primary", onclick: () => running ? running.abort() : say(area.value) }, t("send_button"));
  const below = h("div");
  function show() {
    talk.replaceChildren(...held.turns.map((turn) => h("div", { className: "turn " + turn.role }, turn.content)));
    if (!held.turns.length) talk.append(h("div", { className: "empty" }, t("chat_waiting")));
    talk.scrollTop = talk.scrollHeight;
  }
  async function say(content) {
    if (!content.trim() || running) return;
    held.turns.push({ role: "user", content });
    area.value = "";
    show(); refresh();
    button.textContent = t("stop_button");
    const turn = h("div", { className: "turn assistant cursor" });
    talk.append(turn);
    try {
      const result = await readStream("/v1/chat/completions", { model: STATE.title, messages: held.turns, ...options() },
        (text) => { turn.textContent = text; talk.scrollTop = talk.scrollHeight; });
      held.turns.push({ role: "assistant", content: result.text });
      const passages = result.citations?.map((one) => ({ ...one, cited: result.text.includes(`[${one.number}]`) }));
      below.replaceChildren(passages?.length ? sources(passages) : "", streamFoot(result));
    } catch (error) { held.turns.pop(); turn.remove(); talk.append(errorBox(error)); }
    turn.classList.remove("cursor");
    button.textContent = t("send_button");
    talk.scrollTop = talk.scrollHeight;
  }
  area.onkeydown = (e) => { if (e.key === "Enter" && !e.shiftKey && !e.isComposing) { e.preventDefault(); say(area.value); } };
  const clear = h("button", { className: "quiet", onclick: () => { held.turns = []; below.replaceChildren(); show(); refresh(); } }, t("clear_button"));
  show();
  return [h("section", { className: "card" }, talk, h("div", { className: "say" },
    exampleChips((example) => say(Object.values(example)[0])), optionFields(), area,
    h("div", { className: "bar" }, button, clear, h("span", { className: "hint" }, t("chat_hint"))), below))];
}

// The name of the model; where there are several, a choice of them. Another one has a page of its own.
function modelChoice() {
  if (STATE.models.length < 2) return h("h1", {}, title());
  const choice = h("select", { className: "title", ariaLabel: t("model"), onchange: () => {
    const there = new URL(location.href);
    there.searchParams.set("model", choice.value);
    choice.disabled = true;
    location.assign(there);
  } }, STATE.models.map((name) => h("option", { value: name, selected: name === STATE.title }, name)));
  return h("h1", {}, choice);
}

function draw() {
  const code = codeCard("");
  curlPre = code.pre;
  const model = !STATE.model ? [] : able("chat") ? chatView() : able("embed") ? similarView() : singleView();
  frame("play", modelChoice(), facts(), STATE.knowledge ? documentsView() : "", ...model,
    h("h2", {}, t("same_request")), code.card);
  refresh();
}
if (STATE.examples.length && !able("chat")) Object.assign(held.values, STATE.examples[0]);
draw();
