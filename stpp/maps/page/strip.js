/* The strip under the slider: posts, scores, and basins' births, deaths and lives, window by window. */
const Strip = (() => ({}))();
