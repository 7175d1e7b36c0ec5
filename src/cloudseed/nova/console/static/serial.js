// The serial line of a server, shown by xterm.js.

import { check, say, websocketUrl } from "./console.js";

const server = await check();
if (server) {
  Terminal.applyAddon(fit);
  const terminal = new Terminal({ cursorBlink: true, scrollback: 5000, fontSize: 14 });
  terminal.open(document.getElementById("terminal"));
  terminal.fit();
  addEventListener("resize", () => terminal.fit());
  window.terminal = terminal;

  const socket = new WebSocket(websocketUrl().href, ["binary"]);
  socket.binaryType = "arraybuffer";
  const decoder = new TextDecoder();
  const encoder = new TextEncoder();
  socket.addEventListener("open", () => {
    say("connected; press Enter for a prompt");
    terminal.focus();
  });
  socket.addEventListener("message", (event) => terminal.write(decoder.decode(event.data, { stream: true })));
  socket.addEventListener("close", (event) =>
    say(event.reason || "The connection ended, or it was refused.", true));
  terminal.on("data", (text) => {
    if (socket.readyState === WebSocket.OPEN) socket.send(encoder.encode(text));
  });
}
