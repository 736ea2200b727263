// squeezeops in WebAssembly, for browsers, workers, node and other hosts of ES modules. No dependencies.
//
//   import { load } from "./squeezeops.js";
//   const library = await load();
//   const model = library.openModel(await (await fetch("sentiment.safetensors")).arrayBuffer());
//   model.classify("a gorgeous, witty, seductive movie");  // { label: "POSITIVE", score: 0.99, ... }
//   model.close();

/** By sqz_status of squeezeops.h. */
export const Status = Object.freeze({ OK: 0, INVALID: 1, NO_MEMORY: 2, UNSUPPORTED: 3, TYPE: 4, NEEDS_OUT: 5 });

/** What goes wrong: a status, and a message that begins with the name of an argument. */
export class SqueezeopsError extends Error {
  constructor(status, message) {
    super(message);
    this.name = "SqueezeopsError";
    this.status = status;
  }
}

// Modules of one function each, to ask the host: (v128, v128, v128) -> v128 by v128.bitselect, by f32x4.relaxed_madd.
const HEAD = [0, 97, 115, 109, 1, 0, 0, 0, 1, 8, 1, 96, 3, 123, 123, 123, 1, 123, 3, 2, 1, 0, 10];
const ARGUMENTS = [32, 0, 32, 1, 32, 2];
const SIMD = new Uint8Array([...HEAD, 12, 1, 10, 0, ...ARGUMENTS, 253, 82, 11]);
const RELAXED_SIMD = new Uint8Array([...HEAD, 13, 1, 11, 0, ...ARGUMENTS, 253, 133, 2, 11]);

// In order of preference.
const BUILDS = [
  { file: "squeezeops_relaxed.wasm", isa: "wasm_relaxed", needs: RELAXED_SIMD },
  { file: "squeezeops.wasm", isa: "wasm_simd128", needs: SIMD },
];

/** Names of the builds, best first. */
export const builds = BUILDS.map((build) => build.isa);

async function read(url) {
  if (url.protocol === "file:") return (await import("node:fs/promises")).readFile(url);
  const response = await fetch(url);
  if (!response.ok) throw new SqueezeopsError(Status.UNSUPPORTED, `${url}: expected a file, got HTTP ${response.status}`);
  return response.arrayBuffer();
}

/**
 * Load the best build that runs on this host.
 *
 * @param {object} [options]
 * @param {string | URL} [options.from]  folder of the modules; this file's, if not given
 * @param {string} [options.isa]         one of `builds`: load this one or fail
 * @returns {Promise<Library>}
 * @throws {SqueezeopsError}  with Status.UNSUPPORTED on a host without WebAssembly or without its SIMD
 */
export async function load({ from = new URL(".", import.meta.url), isa } = {}) {
  if (isa !== undefined && !builds.includes(isa)) {
    throw new SqueezeopsError(Status.INVALID, `isa: expected one of ${builds.join(", ")}, got ${isa}`);
  }
  if (typeof WebAssembly !== "object") {
    throw new SqueezeopsError(Status.UNSUPPORTED, "host: expected one with WebAssembly, got one without");
  }
  if (!WebAssembly.validate(SIMD)) {
    throw new SqueezeopsError(Status.UNSUPPORTED, "host: expected one with WebAssembly SIMD, got one without");
  }
  let reason = "";
  for (const build of BUILDS) {
    if (isa !== undefined && build.isa !== isa) continue;
    if (!WebAssembly.validate(build.needs)) {
      reason = `${build.isa}: expected a host with relaxed SIMD, got one without`;
      continue;
    }
    const { instance } = await WebAssembly.instantiate(await read(new URL(build.file, from)), {});
    const library = new Library(instance.exports);
    if (library.isa) return library;
    reason = library.error(Status.UNSUPPORTED).message;
  }
  throw new SqueezeopsError(Status.UNSUPPORTED, reason);
}

/** A loaded module. `load` makes it. */
export class Library {
  constructor(exports) {
    /** The functions of squeezeops.h. A pointer is a number, an int64_t a BigInt. */
    this.exports = exports;
    exports._initialize?.();
    this.version = this.text(exports.sqz_version());
    /** Name of the instruction set in use; "" if none runs here. */
    this.isa = this.text(exports.sqz_isa_chosen());
  }

  /** The memory now: it may move in any call. */
  get view() {
    return new DataView(this.exports.memory.buffer);
  }

  /** The string at an address, which ends in a zero. */
  text(address) {
    if (!address) return "";
    const bytes = new Uint8Array(this.exports.memory.buffer, address);
    return new TextDecoder().decode(bytes.slice(0, bytes.indexOf(0)));
  }

  /** The exception for a status: its message is the library's. */
  error(status) {
    return new SqueezeopsError(status, this.text(this.exports.sqz_error_message()));
  }

  check(status) {
    if (status !== Status.OK) throw this.error(status);
  }

  /** Call `use` with the address of `size` bytes of zeros, which are freed afterwards. */
  withRoom(size, use) {
    const address = this.allocate(size);
    try {
      return use(address);
    } finally {
      this.exports.free(address);
    }
  }

  allocate(size) {
    const address = this.exports.malloc(size) >>> 0;
    if (!address) throw new SqueezeopsError(Status.NO_MEMORY, `size: expected memory for ${size} bytes, got none`);
    new Uint8Array(this.exports.memory.buffer, address, size).fill(0);
    return address;
  }

  /**
   * Open a converted model.
   *
   * @param {ArrayBuffer | Uint8Array} file  what `squeezeops convert` wrote
   * @returns {Model}
   */
  openModel(file) {
    return new Model(this, new Uint8Array(file));
  }
}

/** An open model. `Library.openModel` makes it. */
export class Model {
  constructor(library, bytes) {
    this.library = library;
    const { exports } = library;
    // The bytes stay where they are while the model is open, at a multiple of 64.
    this.handle = 0n;
    this.room = library.allocate(bytes.length + 64);
    const data = this.room + (-this.room & 63);
    new Uint8Array(exports.memory.buffer).set(bytes, data);
    try {
      this.handle = library.withRoom(8, (result) => {
        library.check(exports.sqz_model_open_memory(data, bytes.length, 0, result));
        return library.view.getBigUint64(result, true);
      });
      this.info = this.readInfo();
    } catch (error) {
      this.close();
      throw error;
    }
    /** Names of the classes. */
    this.labels = Array.from({ length: this.info.labels }, (_, i) => this.labelAt(i));
  }

  // Fields of sqz_model_info.
  readInfo() {
    const { library } = this;
    return library.withRoom(112, (at) => {
      library.view.setUint32(at, 112, true);
      library.check(library.exports.sqz_model_get_info(this.handle, at));
      const { view } = library;
      const texts = ["task", "modelType", "dtype", "attention", "problemType"];
      const numbers = ["vocabSize", "types", "maxTokens", "hiddenSize", "layers", "labels"];
      return Object.fromEntries([
        ...texts.map((name, i) => [name, library.text(view.getUint32(at + 4 + 4 * i, true))]),
        ...numbers.map((name, i) => [name, Number(view.getBigInt64(at + 32 + 8 * i, true))]),
      ]);
    });
  }

  labelAt(index) {
    const { library } = this;
    const size = 1024;
    return library.withRoom(size, (at) => {
      const length = library.exports.sqz_model_label(this.handle, BigInt(index), at, size);
      if (length < 0n) throw library.error(Status.INVALID);
      return library.text(at);
    });
  }

  /**
   * Classify a text. One that is too long is cut.
   *
   * @param {string} text
   * @returns {{label: string, score: number, scores: number[], logits: number[], tokens: number}}
   */
  classify(text) {
    const { library } = this;
    const { exports } = library;
    const bytes = new TextEncoder().encode(text);
    const [argsSize, labels] = [72, this.info.labels];
    return library.withRoom(argsSize + 8 * labels + bytes.length, (args) => {
      const logits = args + argsSize;
      const scores = logits + 4 * labels;
      const data = scores + 4 * labels;
      new Uint8Array(exports.memory.buffer).set(bytes, data);
      // Fields of sqz_model_classify_args.
      let { view } = library;
      view.setUint32(args, argsSize, true);
      view.setBigUint64(args + 8, this.handle, true);
      view.setUint32(args + 16, data, true); // text
      view.setBigInt64(args + 24, BigInt(bytes.length), true);
      view.setInt32(args + 36, 1, true); // truncate
      view.setUint32(args + 40, logits, true);
      view.setUint32(args + 44, scores, true);
      library.check(exports.sqz_model_classify(args));
      view = library.view;
      const floats = (at) => Array.from({ length: labels }, (_, i) => view.getFloat32(at + 4 * i, true));
      return {
        label: this.labels[Number(view.getBigInt64(args + 48, true))],
        score: view.getFloat64(args + 56, true),
        scores: floats(scores),
        logits: floats(logits),
        tokens: Number(view.getBigInt64(args + 64, true)),
      };
    });
  }

  /** Free the model's memory. */
  close() {
    if (this.handle) this.library.exports.sqz_model_close(this.handle);
    if (this.room) this.library.exports.free(this.room);
    this.handle = 0n;
    this.room = 0;
  }
}
