// Keeps the page's files, so that it works offline. The network comes first: a new version is never hidden.
const CACHE = "squeezeops";
const FILES = [
  ...["./", "page.js", "worker.js", "squeezeops.js"],
  ...["squeezeops.wasm", "squeezeops_relaxed.wasm", "sentiment.safetensors"],
];

self.addEventListener("install", (event) => {
  event.waitUntil(caches.open(CACHE).then((cache) => cache.addAll(FILES)).then(() => self.skipWaiting()));
});
self.addEventListener("activate", (event) => event.waitUntil(self.clients.claim()));
self.addEventListener("fetch", (event) => {
  if (event.request.method !== "GET") return;
  event.respondWith(
    fetch(event.request)
      .then(async (response) => {
        if (response.ok) await (await caches.open(CACHE)).put(event.request, response.clone());
        return response;
      })
      .catch(async () => (await caches.match(event.request, { ignoreSearch: true })) ?? Response.error()),
  );
});
