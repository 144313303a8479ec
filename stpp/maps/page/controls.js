/* Buttons, switches, lists, keys and themes. */
const Controls = (() => ({}))();
