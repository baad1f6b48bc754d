"use strict";
// Runs by number: `runs` says which there are, `loaded` holds the sheets and images of those that were looked at.
const runs = JSON.parse(document.getElementById("index").textContent);
const loaded = [];
const $ = (id) => document.getElementById(id);
const TILE = 96, LARGE = 224;

function unimmRun(number, run) {
  loaded[number] = run;
  run.sheets.forEach((sheet, place) => {
    const rule = `.run${number}sheet${place} { background-image: url(${sheet.uri}); }`;
    document.head.appendChild(document.createElement("style")).textContent = rule;
  });
}

function load(number) {
  if (number < 0 || loaded[number]) return Promise.resolve();
  return new Promise((resolve, reject) => {
    const script = document.createElement("script");
    script.src = `runs/${String(number).padStart(3, "0")}.js`;
    script.onload = resolve;
    script.onerror = () => reject(new Error(`${script.src} is missing: write the viewer again with unimm view`));
    document.head.appendChild(script);
  });
}

function element(name, text, parent) {
  const made = document.createElement(name);
  if (text !== undefined) made.textContent = text;
  if (parent) parent.appendChild(made);
  return made;
}

// Fills a list with [value, text] pairs and keeps what was chosen where it is still there.
function offer(id, options) {
  const list = $(id), before = list.value;
  list.replaceChildren();
  for (const [value, text] of options) element("option", text, list).value = value;
  if (options.some(([value]) => String(value) === before)) list.value = before;
}

const unique = (values) => [...new Set(values)];
const label = (run) => `${run.arm}, seed ${run.seed}` + (runs.filter((other) => other.arm === run.arm && other.seed === run.seed).length > 1 ? ` (${run.name})` : "");
// A seed is chosen among the runs of an arm, which may have one seed twice: the value is the run's number.
const left = () => Number($("seed").value), right = () => Number($("beside").value);

function picture(number, image, side, parent) {
  const made = element("span", undefined, parent);
  made.setAttribute("role", "img");
  made.style.width = made.style.height = `${side}px`;
  if (!image) { made.className = "picture"; made.setAttribute("aria-label", "no image of this prompt and noise"); return; }
  const sheet = loaded[number].sheets[image.sheet], [x, y, end] = image.box, scale = side / (end - x);
  made.className = `picture run${number}sheet${image.sheet} ${verdict(image)}`;
  made.setAttribute("aria-label", `${runs[number].arm}, ${verdict(image)}: ${image.prompt}`);
  made.style.height = `${(image.box[3] - y) * scale}px`;
  made.style.backgroundSize = `${sheet.width * scale}px ${sheet.height * scale}px`;
  made.style.backgroundPosition = `${-x * scale}px ${-y * scale}px`;
}

const verdict = (image) => (image.correct === null ? "not judged" : image.correct ? "correct" : "wrong");

// The other run's image of one prompt and noise: by key where both keep it, else by place among all images.
function partner(image, other) {
  return other.find((each) => each.prompt === image.prompt && (image.key !== null && each.key !== null ? each.key === image.key : each.index === image.index));
}

function pairs() {
  const other = right() < 0 ? null : loaded[right()].images;
  return loaded[left()].images.map((image) => [image, other ? partner(image, other) : undefined]);
}

const JUDGED = {
  all: ["all", () => true],
  correct: ["correct", ([image]) => image.correct === true],
  wrong: ["wrong", ([image]) => image.correct === false],
  differ: ["the two differ", ([image, beside]) => beside !== undefined && image.correct !== beside.correct],
};

function noise() {
  if (right() < 0) return "";
  const a = runs[left()].latents, b = runs[right()].latents;
  if (a && a === b) return "Both images of a pair were drawn from the same noise: left the arm, right the one beside it.";
  return `Both images of a pair have the same noise key, left the arm, right the one beside it. Latents of another shape (${a || "unknown"}, ${b || "unknown"}) draw other noise from it.`;
}

function show() {
  const task = $("task").value, keeps = JUDGED[$("judged").value][1];
  const found = pairs().filter((pair) => (task === "all" || pair[0].tag === task) && keeps(pair));
  $("count").textContent = `${found.length} of ${loaded[left()].images.length} images`;
  $("noise").textContent = noise();
  const shown = document.createDocumentFragment();
  for (const [image, beside] of found) {
    const tile = element("button", undefined, shown);
    tile.type = "button";
    tile.title = image.prompt;
    picture(left(), image, TILE, tile);
    if (right() >= 0) picture(right(), beside, TILE, tile);
    tile.onclick = () => open(image, beside);
  }
  $("images").replaceChildren(shown);
}

function open(image, beside) {
  $("facts").replaceChildren();
  describe(left(), image);
  if (right() >= 0 && beside) describe(right(), beside);
  $("detail").showModal();
}

function describe(number, image) {
  const home = element("div", undefined, $("facts"));
  element("h2", label(runs[number]), home);
  picture(number, image, LARGE, home);
  const list = element("dl", undefined, home);
  const facts = Object.entries(image.facts).map(([name, value]) => `${name} ${value}`).join(", ");
  const rows = [
    ["prompt", image.prompt],
    ["task", image.tag],
    ["judged", verdict(image) + (image.reason ? `: ${image.reason}` : "")],
    ["found", image.found === null ? "not kept by this run" : image.found.join("\n") || "nothing"],
    ["single facts (1: right)", facts || "none"],
    ["noise key", image.key === null ? "not kept by this run" : image.key],
    ["image", String(image.index)],
  ];
  for (const [name, text] of rows) {
    element("dt", name, list);
    element("dd", text, list);
  }
}

function offerSeeds() {
  const own = runs.map((run, number) => [number, run]).filter(([, run]) => run.arm === $("arm").value);
  const chosen = runs[left()];
  offer("seed", own.map(([number, run]) => [number, own.filter(([, other]) => other.seed === run.seed).length > 1 ? `${run.seed} (${run.name})` : run.seed]));
  const same = own.find(([, run]) => chosen && run.seed === chosen.seed);
  if (same) $("seed").value = same[0];
}

function offerBeside() {
  offer("beside", [[-1, "none"], ...runs.map((run, number) => [number, label(run)]).filter(([number]) => number !== left())]);
}

function offerFilters() {
  const images = loaded[left()].images;
  offer("task", [["all", "all"], ...unique(images.map((image) => image.tag)).map((tag) => [tag, tag.replaceAll("_", " ")])]);
  offer("judged", Object.entries(JUDGED).filter(([name]) => name !== "differ" || right() >= 0).map(([name, [text]]) => [name, text]));
}

async function update() {
  try {
    await load(left());
    await load(right());
    offerFilters();
    show();
  } catch (error) {
    $("count").textContent = error.message;
  }
}

function start() {
  offer("arm", unique(runs.map((run) => run.arm)).map((arm) => [arm, arm]));
  offerSeeds();
  offerBeside();
  $("arm").onchange = () => { offerSeeds(); offerBeside(); update(); };
  $("seed").onchange = () => { offerBeside(); update(); };
  for (const id of ["beside", "task", "judged"]) $(id).onchange = update;
  update();
}
