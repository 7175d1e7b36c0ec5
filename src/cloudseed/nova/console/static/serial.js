// The serial line of a server, shown by xterm.js.

import { check, say, websocketUrl } from "./console.js";

// As many columns and rows as the window has room for.
function fit(terminal, place) {
  const cell = terminal._core.renderer.dimensions;
  const columns = Math.floor((place.clientWidth - 24) / cell.actualCellWidth);
  const rows = Math.floor((place.clientHeight - 16) / cell.actualCellHeight);
  if (columns > 1 && rows > 1) terminal.resize(columns, rows);
}

const server = await check();
if (server) {
  const place = document.getElementById("terminal");
  const terminal = new Terminal({ cursorBlink: true, scrollback: 5000, fontSize: 14 });
  terminal.open(place);
  fit(terminal, place);
  addEventListener("resize", () => fit(terminal, place));
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
  socket.addEventListener("close", (event) => say(event.reason || "The connection ended, or it was refused.", true));
  terminal.on("data", (text) => {
    if (socket.readyState === WebSocket.OPEN) socket.send(encoder.encode(text));
  });
}
