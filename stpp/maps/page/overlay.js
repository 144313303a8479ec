/* What lies above densities and posts: axes, iso-lines, arrows, basins, selections. */
const Overlay = (() => ({}))();
