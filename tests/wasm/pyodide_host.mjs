// Runs a Python program in Pyodide, with files: in node by `node pyodide_host.mjs`, in a browser by `import`.
export async function runProgram(loadPyodide, { program, files }) {
  const pyodide = await loadPyodide();
  for (const [path, data] of Object.entries(files)) pyodide.FS.writeFile(path, data);
  return pyodide.runPython(program);
}

if (typeof process === "object") {
  const { readFileSync } = await import("node:fs");
  const { pyodide, program, files } = JSON.parse(readFileSync(0, "utf8"));
  const { loadPyodide } = await import(pyodide);
  const read = Object.fromEntries(Object.entries(files).map(([path, from]) => [path, readFileSync(from)]));
  console.log(await runProgram(loadPyodide, { program, files: read }));
}
