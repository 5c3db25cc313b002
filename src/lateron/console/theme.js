// Sets the theme before anything is painted; a classic script, so that it blocks for its one millisecond.
(() => {
  let chosen = "system";
  try {
    chosen = localStorage.getItem("lateron.theme") || "system";
  } catch {
    // Storage may be forbidden; then the system decides.
  }
  document.documentElement.dataset.theme = chosen;
})();
