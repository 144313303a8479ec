/* The view as PNG, the selection as CSV. */
const Exports = (() => ({}))();
