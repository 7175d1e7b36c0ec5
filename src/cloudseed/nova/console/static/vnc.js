// The screen of a server, drawn by noVNC.

import RFB from "../novnc/core/rfb.js";
import { check, say, websocketUrl } from "./console.js";

const server = await check();
if (server) {
  const rfb = new RFB(document.getElementById("screen"), websocketUrl().href, { wsProtocols: ["binary"] });
  rfb.scaleViewport = true;
  rfb.background = "#0b1220";
  rfb.addEventListener("connect", () => { say("connected"); rfb.focus(); });
  rfb.addEventListener("disconnect", (event) =>
    say(event.detail.clean ? "The console was closed." : "The connection ended: the machine stopped, or it was refused.",
      true));
  document.getElementById("keys").addEventListener("click", () => { rfb.sendCtrlAltDel(); rfb.focus(); });
}
