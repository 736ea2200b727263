// Serves a module to hosts.py over standard input and output.
//
//   request   length of the JSON, JSON {writes: [[address, size]], calls: [[name, argument, ...]], reads: ...}, data
//   response  length of the JSON, JSON [result, ...], data
import { readFileSync, readSync, writeSync } from "node:fs";

function read(size) {
  const data = Buffer.alloc(size);
  for (let at = 0; at < size;) {
    let got = 0;
    try {
      got = readSync(0, data, at, size - at, null);
    } catch (error) {
      if (error.code === "EAGAIN") continue;
      if (error.code !== "EOF") throw error;
    }
    if (got === 0) process.exit(0);
    at += got;
  }
  return data;
}

function write(data) {
  for (let at = 0; at < data.length;) {
    try {
      at += writeSync(1, data, at);
    } catch (error) {
      if (error.code !== "EAGAIN") throw error;
    }
  }
}

const module = new WebAssembly.Module(readFileSync(process.argv[2]));
const { exports } = new WebAssembly.Instance(module, {});
exports._initialize();
for (;;) {
  const request = JSON.parse(read(read(4).readUInt32LE()));
  for (const [address, size] of request.writes) new Uint8Array(exports.memory.buffer).set(read(size), address);
  const results = request.calls.map(([name, ...given]) => exports[name](...given.map((x) => (typeof x === "string" ? BigInt(x) : x))));
  const json = Buffer.from(JSON.stringify(results));
  const size = Buffer.alloc(4);
  size.writeUInt32LE(json.length);
  write(Buffer.concat([size, json]));
  for (const [address, length] of request.reads) write(new Uint8Array(exports.memory.buffer, address, length));
}
