"use strict";
// Texts reach the page through textContent alone: whatever they hold stays text.
const byId = (id) => document.getElementById(id);
const data = JSON.parse(byId("data").textContent);

/* Where pairs come from and where answers go: the server, or this file and the browser's store. */
const served = {
  warning: "",
  answers: () => data.answers,
  async pair(index) {
    return send(`pair/${index}`);
  },
  async save(index, answer) {
    await send("answer", {
      method: "POST",
      headers: { "Content-Type": "application/json" },
      body: JSON.stringify({ index, answer }),
    });
  },
};

async function send(path, options = {}) {
  let reply;
  try {
    reply = await fetch(path, { ...options, cache: "no-store" });
  } catch {
    throw new Error("The server does not answer. Start pyrite review again and open its new address.");
  }
  const value = await reply.json();
  if (!reply.ok) throw new Error(value.error);
  return value;
}

const written = {
  kept: {},
  warning: "",
  answers() {
    this.trying(() => { this.kept = JSON.parse(localStorage.getItem(data.page) ?? "{}"); });
    return data.pairs.map((pair) => this.kept[pair.pair] ?? null);
  },
  trying(action) {
    try {
      action();
    } catch {
      this.warning = "This browser keeps no answers: download them before you close the page. ";
    }
  },
  async pair(index) {
    const pair = data.pairs[index];
    return { ...pair, answer: this.kept[pair.pair] ?? null, others: [] };
  },
  async save(index, answer) {
    if (answer === null) delete this.kept[data.pairs[index].pair];
    else this.kept[data.pairs[index].pair] = answer;
    this.trying(() => localStorage.setItem(data.page, JSON.stringify(this.kept)));
  },
  lines(reviewer) {
    return data.pairs
      .filter((pair) => pair.pair in this.kept)
      .map((pair) => JSON.stringify({
        pair: pair.pair,
        answer: this.kept[pair.pair],
        reviewer,
        query_id: pair.query_id,
        doc_id: pair.candidate.id,
      }) + "\n");
  },
};

const source = data.mode === "file" ? written : served;
let answers = [];
let current = 0;
let busy = false;
const undone = []; // what an undo brings back: the pair and its answer before
const ahead = new Map();

/* Showing a pair. */
const COMMON = new Set(("a an and are as at be by do does for from how in is it of on or that the" +
  " this to was what when where which who why with you your can i my").split(" "));

function words(text) {
  return new Set((text.toLowerCase().match(/[\p{L}\p{N}]+/gu) ?? []).filter((w) => !COMMON.has(w)));
}

function element(name, className, text) {
  const made = document.createElement(name);
  if (className) made.className = className;
  if (text !== undefined) made.textContent = text;
  return made;
}

/* The text with the query's words in marks. */
function marked(name, className, text, wanted) {
  const made = element(name, className);
  made.dir = "auto";
  for (const part of text.split(/([\p{L}\p{N}]+)/gu)) {
    if (wanted.has(part.toLowerCase())) made.append(element("mark", "", part));
    else made.append(part);
  }
  return made;
}

function article(doc, wanted) {
  const made = element("article");
  if (doc.title) made.append(marked("p", "title", doc.title, wanted));
  if (doc.text) made.append(marked("p", "text", doc.text, wanted));
  if (!doc.title && !doc.text) made.append(element("p", "empty", "(an empty text)"));
  if (doc.id !== null) made.append(element("p", "id", doc.id));
  return made;
}

const COMPARED = {
  better: ", better than the positives",
  equal: ", as good as the positives",
  worse: ", worse than the positives",
};

function opinion(judge) {
  const made = element("li");
  const says = judge.relevant === null ? ["none", "no verdict"]
    : judge.relevant ? ["yes", `relevant${COMPARED[judge.vs_truth] ?? ""}`]
      : ["no", "not relevant"];
  made.append(element("span", "", `${judge.judge}: `), element("span", `says ${says[0]}`, says[1]));
  if (judge.probability !== null) made.append(`, probability ${judge.probability.toFixed(3)}`);
  if (judge.why) {
    const why = element("span", "", judge.why);
    why.dir = "auto";
    made.append(". ", why);
  }
  return made;
}

function opinions(pair) {
  if (pair.judges === null) {
    const hidden = data.mode === "file" ? "not shown" : "shown once the pair is answered";
    return [element("li", "empty", hidden)];
  }
  const made = pair.judges.map(opinion);
  if (pair.unknown) {
    made.push(element("li", "empty", `undecided: ${pair.unknown.replaceAll("_", " ")}`));
  }
  return made.length ? made : [element("li", "empty", "nothing was said")];
}

function draw(pair) {
  const wanted = words(pair.query);
  byId("query").textContent = pair.query;
  byId("place").textContent = `pair ${current + 1} of ${answers.length}, row ${pair.row}, negative ${pair.negative}`;
  byId("candidate").replaceChildren(article(pair.candidate, wanted));
  byId("positives").replaceChildren(...pair.positives.map((doc) => article(doc, wanted)));
  byId("judges").replaceChildren(...opinions(pair));
  byId("candidate").scrollTop = byId("positives").scrollTop = 0;
  for (const button of document.querySelectorAll("[data-answer]")) {
    button.setAttribute("aria-pressed", String(button.dataset.answer === pair.answer));
  }
  const done = answers.filter((answer) => answer !== null).length;
  byId("progress").max = answers.length;
  byId("progress").value = done;
  byId("count").textContent = `${done} of ${answers.length} answered`;
  byId("download").textContent = `Download answers (${done})`;
  byId("download").disabled = done === 0;
  const said = pair.others.length ? `${pair.others.join(", ")} decided this pair meanwhile. ` : "";
  const all = done === answers.length ? "All pairs are answered. " : "";
  const own = pair.answer ? `Your answer: ${pair.answer.replaceAll("_", " ")}.` : "";
  byId("status").textContent = source.warning + all + said + own;
}

async function fetched(index) {
  const early = ahead.get(index);
  ahead.delete(index);
  return (await early) ?? source.pair(index);
}

async function show(index) {
  const pair = await fetched(index);
  current = index;
  draw(pair);
  return pair;
}

/* The first pair without an answer from `start` on, around the end; -1: all are answered. */
function open(start) {
  for (let step = 0; step < answers.length; step++) {
    const index = (start + step) % answers.length;
    if (answers[index] === null) return index;
  }
  return -1;
}

/* Goes on to what nobody has decided; at the end it stays. */
async function goOn() {
  const passed = new Set();
  for (let index = open(current + 1); index !== -1 && !passed.has(index); index = open(index + 1)) {
    passed.add(index);
    const pair = await show(index);
    if (!pair.others.length) {
      const later = open(index + 1);
      // a failed look ahead is tried again when its turn comes
      ahead.clear();
      if (later !== index) ahead.set(later, source.pair(later).catch(() => null));
      return;
    }
  }
  ahead.clear();
  await show(current);
}

/* What a person does. */
async function doing(action) {
  if (busy) return;
  busy = true;
  document.body.setAttribute("aria-busy", "true");
  try {
    await action();
    byId("message").hidden = true;
  } catch (error) {
    byId("message").textContent = `${error.message.replace(/\.?$/, ".")} This answer may not be saved.`;
    byId("message").hidden = false;
  } finally {
    busy = false;
    document.body.removeAttribute("aria-busy");
  }
}

const give = (answer) => doing(async () => {
  await source.save(current, answer);
  undone.push([current, answers[current]]);
  answers[current] = answer;
  await goOn();
});

const undo = () => doing(async () => {
  if (!undone.length) return;
  const [index, before] = undone[undone.length - 1];
  await source.save(index, before);
  undone.pop();
  answers[index] = before;
  ahead.clear();
  await show(index);
});

const step = (by) => doing(async () => {
  ahead.clear();
  await show((current + by + answers.length) % answers.length);
});

function download() {
  const reviewer = byId("reviewer").value.trim();
  if (!reviewer) {
    byId("reviewer").focus();
    byId("status").textContent = "Enter your name first.";
    return;
  }
  const link = element("a");
  link.href = URL.createObjectURL(new Blob(written.lines(reviewer), { type: "application/jsonl" }));
  link.download = `answers-${data.name}.jsonl`;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 1000);
}

const KEYS = {
  1: () => give("relevant"),
  2: () => give("not_relevant"),
  3: () => give("unsure"),
  " ": () => give("unsure"),
  ArrowLeft: undo,
  Backspace: undo,
  k: () => step(-1),
  j: () => step(1),
  ArrowRight: () => step(1),
};

document.addEventListener("keydown", (event) => {
  const inField = event.target instanceof HTMLInputElement;
  const onButton = event.target instanceof HTMLButtonElement && event.key === " ";
  if (inField || onButton || event.ctrlKey || event.metaKey || event.altKey) return;
  const action = KEYS[event.key];
  if (!action) return;
  event.preventDefault();
  // a key that is held down answers one pair
  if (!event.repeat) action();
});

function pressed(button, action) {
  button.addEventListener("click", () => {
    action();
    // the space bar means "unsure" again, not this button
    byId("main").focus({ preventScroll: true });
  });
}

for (const button of document.querySelectorAll("[data-answer]")) {
  pressed(button, () => give(button.dataset.answer));
}
pressed(byId("undo"), undo);
pressed(byId("previous"), () => step(-1));
pressed(byId("next"), () => step(1));
byId("download").addEventListener("click", download);
byId("reviewer").value = data.reviewer;
byId("reviewer").readOnly = data.mode === "server";
byId("download").hidden = data.mode === "server";

doing(async () => {
  answers = [...source.answers()];
  const first = open(0);
  await show(first === -1 ? 0 : first);
});
