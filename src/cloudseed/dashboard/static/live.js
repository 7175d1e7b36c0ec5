// Keeps the picture of a flow up to date while its page is looked at.

const picture = document.getElementById("flow");
const told = document.getElementById("told");

async function look() {
  if (!document.hidden) {
    const answer = await fetch(picture.dataset.state, { redirect: "error" });
    if (!answer.ok) return;
    const state = await answer.json();
    if (state.version !== picture.dataset.version) {
      picture.dataset.version = state.version;
      told.textContent = state.told;
      const url = new URL(picture.src);
      url.searchParams.set("version", state.version);
      picture.src = url.href;
    }
  }
  setTimeout(() => look().catch(() => {}), 1000);
}

if (picture) look().catch(() => {});
