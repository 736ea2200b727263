// Runs the model beside the page, so that typing never waits for it. Each request is answered by one message with its
// number: { id, result } or { id, error }.
import { load, SqueezeopsError } from "./squeezeops.js";

const library = load();
library.catch(() => {}); // requests report it
let model = null;

// Repeat short runs: clocks of browsers count in tenths of a millisecond.
function timed(text) {
  const [budget, most] = [4, 50]; // milliseconds, runs
  const begin = performance.now();
  let result, runs = 0, now = begin;
  do {
    result = model.classify(text);
    runs += 1;
    now = performance.now();
  } while (runs < most && now - begin < budget);
  return { ...result, milliseconds: (now - begin) / runs, runs };
}

const requests = {
  async start() {
    const { isa, version } = await library;
    return { isa, version };
  },
  async open(bytes) {
    const opened = (await library).openModel(bytes);
    if (opened.info.task !== "text-classification") {
      opened.close();
      throw new SqueezeopsError(1, `model: expected one for text-classification, got one for ${opened.info.task}`);
    }
    model?.close();
    model = opened;
    timed("a"); // the engine compiles functions at their first calls
    return { info: model.info, labels: model.labels, bytes: bytes.byteLength };
  },
  async classify(text) {
    return timed(text);
  },
};

// One after the other.
let last = Promise.resolve();
addEventListener("message", ({ data: { id, request, argument } }) => {
  last = last.then(async () => {
    try {
      postMessage({ id, result: await requests[request](argument) });
    } catch (error) {
      postMessage({ id, error: error.message, status: error.status });
    }
  });
});
