// A guest with pusher-js in a page of headless Chromium. Usage: browser.mjs SETTINGS [PAGE]
//
// Without a PAGE it is page.html, which obeys the orders of guest.mjs. The page comes from a server of this process, pusher-js from node_modules,
// even where the page asks for Pusher's own site; everything else that is not this machine's is refused.
import { readFileSync } from "node:fs";
import { createServer } from "node:http";
import { resolve } from "node:path";
import { launch } from "./chromium.mjs";
import { obey, tell } from "./lines.mjs";

const [settings, page = "page.html"] = process.argv.slice(2);
const here = (path) => readFileSync(resolve(import.meta.dirname, path));
const library = here("node_modules/pusher-js/dist/web/pusher.min.js");
const echo = here("node_modules/laravel-echo/dist/echo.iife.js");
const files = {
  "/": ["text/html; charset=utf-8", here(page)],
  "/guest.mjs": ["text/javascript; charset=utf-8", here("guest.mjs")],
  "/echo.iife.js": ["text/javascript; charset=utf-8", echo],
  "/pusher.min.js": ["text/javascript; charset=utf-8", library],
};
const server = createServer((request, response) => {
  const [type, content] = files[request.url.split("?")[0]] ?? [];
  response.writeHead(content ? 200 : 404, type ? { "content-type": type } : {}).end(content);
});
await new Promise((listening) => server.listen(0, "127.0.0.1", listening));
const origin = `http://127.0.0.1:${server.address().port}`;

const browser = await launch();
const tab = await browser.newPage({ viewport: { width: 720, height: 900 } });
await tab.route("**/*", (route) => {
  const { hostname } = new URL(route.request().url());
  if (hostname === "js.pusher.com") return route.fulfill({ contentType: "text/javascript", body: library });
  return hostname === "127.0.0.1" ? route.continue() : route.abort();
});
tab.on("console", (message) => tell({ console: message.text() }));
tab.on("pageerror", (error) => tell({ thrown: String(error) }));
await tab.exposeFunction("tell", tell);
await tab.goto(`${origin}/?${encodeURIComponent(settings)}`);
tell({ open: true });

const own = {
  // Waits until a text is shown.
  see: async (text) => void (await tab.getByText(text).first().waitFor()),
  // The texts of what a selector finds.
  read: (selector) => tab.locator(selector).allInnerTexts(),
  screenshot: async (path) => void (await tab.screenshot({ path, fullPage: true })),
};
await obey(
  (order, given) => (own[order] ? own[order](...given) : tab.evaluate(([name, values]) => window.guest[name](...values), [order, given])),
  () => browser.close(),
);
