// Models that turn texts into vectors: how near each text is to each other one, as a table of tints.
function cosine(a, b) {
  let product = 0, lengthA = 0, lengthB = 0;
  for (let i = 0; i < a.length; i++) { product += a[i] * b[i]; lengthA += a[i] * a[i]; lengthB += b[i] * b[i]; }
  return product / (Math.sqrt(lengthA * lengthB) || 1);
}

const MAX_TEXTS = 12;
function lines(text) { return text.split("\n").map((line) => line.trim()).filter(Boolean).slice(0, MAX_TEXTS); }

function similarTable(texts, vectors) {
  const short = (text) => h("span", { className: "clip", title: text }, text);
  const cell = (a, b) => {
    const value = cosine(a, b);
    return h("td", { style: `--share:${Math.round(Math.max(0, value) * 100)}%` }, value.toFixed(2));
  };
  return h("div", { className: "scroll" }, h("table", { className: "similar" },
    h("thead", {}, h("tr", {}, h("th"), texts.map((_, index) => h("th", {}, String(index + 1))))),
    h("tbody", {}, texts.map((text, row) => h("tr", {}, h("th", {}, `${row + 1} `, short(text)),
      vectors.map((other) => cell(vectors[row], other)))))));
}

async function compareTexts(texts, output, button) {
  button.disabled = true;
  const started = performance.now();
  try {
    const answer = await (await post("/v1/embeddings", { model: STATE.title, input: texts })).json();
    const vectors = answer.data.map((one) => one.embedding);
    output.replaceChildren(similarTable(texts, vectors),
      foot(t("milliseconds", { count: Math.round(performance.now() - started) }), t("vector_size", { count: vectors[0].length })));
  } catch (error) { output.replaceChildren(errorBox(error)); }
  button.disabled = false;
}

function similarView() {
  const output = h("div", { className: "grow", ariaLive: "polite" }, h("div", { className: "empty" }, t("waiting")));
  const area = h("textarea", { id: "f-texts", spellcheck: false, value: held.values.texts ?? t("similar_examples"),
    oninput: () => { held.values.texts = area.value; refresh(); },
    onkeydown: (e) => { if (e.key === "Enter" && (e.ctrlKey || e.metaKey)) { e.preventDefault(); go(); } } });
  const go = () => { const texts = lines(area.value); if (texts.length) compareTexts(texts, output, button); };
  const button = h("button", { className: "primary", onclick: go }, t("compare_button"));
  return [h("div", { className: "columns" },
    h("section", { className: "card pad" },
      h("div", { className: "field grow" }, h("label", { htmlFor: "f-texts" }, t("texts_label")), area),
      h("div", { className: "bar" }, button, h("span", { className: "hint" }, t("enter_hint")))),
    h("section", { className: "card pad" }, h("label", {}, t("similarity")), output))];
}
