/* Load, start everyone, draw when something changed; window.stpp tells tests and consoles the numbers behind. */
(async () => {
  await Atlas.load();
  window.stpp = { meta: Atlas.meta, ready: true };
})();
