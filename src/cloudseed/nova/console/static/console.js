// What both console pages share: where the websocket is, what is shown above the console, why it was refused.

export function websocketUrl() {
  const path = new URLSearchParams(location.search).get("path") || "";
  const url = new URL("/" + path.replace(/^\/+/, ""), location.href);
  // never another host's, whatever the page's own URL says
  if (url.origin !== location.origin) throw new Error("The URL names another host.");
  url.protocol = location.protocol === "https:" ? "wss:" : "ws:";
  return url;
}

export function say(text, bad = false) {
  const status = document.getElementById("status");
  status.textContent = text;
  status.classList.toggle("bad", bad);
  document.getElementById("again").hidden = !bad;
}

// What the token opens; when it opens nothing, the reason is shown and null is the answer.
export async function check() {
  try {
    const token = websocketUrl().searchParams.get("token") || "";
    const answer = await fetch("check?" + new URLSearchParams({ token }));
    const body = await answer.json();
    if (answer.ok) {
      document.getElementById("name").textContent = body.server.name;
      document.title = body.server.name + " - " + document.title;
      return body;
    }
    say("This URL opens no console (any more): ask for a new one.", true);
  } catch (error) {
    say("The cloud does not answer: " + error.message, true);
  }
  return null;
}

document.getElementById("again").addEventListener("click", () => location.reload());
