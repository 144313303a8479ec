/* Playing: moves the time on. */
const Clock = (() => ({}))();
