// The page: text in, label out, at each key.
const $ = (id) => document.getElementById(id);
const worker = new Worker(new URL("worker.js", import.meta.url), { type: "module" });
const waiting = new Map();
let requests = 0;

worker.addEventListener("message", ({ data }) => {
  const { resolve, reject } = waiting.get(data.id);
  waiting.delete(data.id);
  if ("error" in data) reject(new Error(data.error));
  else resolve(data.result);
});
worker.addEventListener("error", (event) => showError(event.message || "worker: expected module workers, got none"));

function ask(request, argument, transfer = []) {
  return new Promise((resolve, reject) => {
    requests += 1;
    waiting.set(requests, { resolve, reject });
    worker.postMessage({ id: requests, request, argument }, transfer);
  });
}

function showError(message) {
  $("error").textContent = message;
  $("error").hidden = !message;
}

const percent = (x) => `${(100 * x).toFixed(1)} %`;

function showScores(labels, scores) {
  const rows = labels.map((label, i) => {
    const row = document.createElement("li");
    const name = document.createElement("span");
    name.textContent = label;
    const meter = document.createElement("meter");
    meter.min = 0;
    meter.max = 1;
    meter.value = scores[i];
    meter.setAttribute("aria-label", label);
    const value = document.createElement("span");
    value.className = "value";
    value.textContent = percent(scores[i]);
    row.append(name, meter, value);
    return row;
  });
  $("scores").replaceChildren(...rows);
}

let labels = [];
let busy = false;
let again = false;

async function classify() {
  if (busy) {
    again = true; // with the text as it is then
    return;
  }
  busy = true;
  do {
    again = false;
    const text = $("text").value;
    if (!labels.length || !text.trim()) {
      $("label").textContent = "–";
      $("label").dataset.tone = "";
      $("times").textContent = "";
      $("scores").replaceChildren();
      continue;
    }
    try {
      const result = await ask("classify", text);
      // A screen reader reads the label when it changes, and only then.
      if ($("label").textContent !== result.label) $("label").textContent = result.label;
      $("label").dataset.tone = result.label.toLowerCase();
      $("times").textContent =
        `${result.milliseconds.toFixed(2)} ms for ${result.tokens} tokens` +
        (result.runs > 1 ? `, mean of ${result.runs} runs` : "");
      showScores(labels, result.scores);
      showError("");
    } catch (error) {
      showError(error.message);
    }
  } while (again);
  busy = false;
}

async function open(bytes, name) {
  try {
    const opened = await ask("open", bytes, [bytes]);
    labels = opened.labels;
    const { info } = opened;
    $("model").textContent =
      `${name}: ${info.modelType}, ${info.layers} layers of ${info.hiddenSize} channels, ${info.dtype}, ` +
      `${(opened.bytes / 1e6).toFixed(1)} MB`;
    showError("");
    await classify();
  } catch (error) {
    showError(error.message);
  }
}

async function openBuiltIn() {
  const response = await fetch("sentiment.safetensors");
  await open(await response.arrayBuffer(), "built-in model");
}

async function openFile(file) {
  if (file) await open(await file.arrayBuffer(), file.name);
}

$("text").addEventListener("input", classify);
$("file").addEventListener("change", () => openFile($("file").files[0]));
$("built-in").addEventListener("click", openBuiltIn);
const drop = $("drop");
for (const type of ["dragenter", "dragover"]) {
  drop.addEventListener(type, (event) => {
    event.preventDefault();
    drop.classList.add("over");
  });
}
for (const type of ["dragleave", "drop"]) drop.addEventListener(type, () => drop.classList.remove("over"));
drop.addEventListener("drop", (event) => {
  event.preventDefault();
  openFile(event.dataTransfer.files[0]);
});

const ABOUT = {
  wasm_relaxed: "relaxed SIMD: the bits of native code",
  wasm_simd128: "fixed-width SIMD: products and sums rounded separately",
};
try {
  const { isa, version } = await ask("start");
  $("build").textContent = `${isa} (${ABOUT[isa]}), squeezeops ${version}`;
  await openBuiltIn();
} catch (error) {
  $("build").textContent = "none";
  showError(error.message);
}
document.body.dataset.ready = "true";

// From now on it works offline.
if ("serviceWorker" in navigator) navigator.serviceWorker.register("service-worker.js").catch(() => {});
