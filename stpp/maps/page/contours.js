/* Iso-lines of a field on a grid, by marching squares. */
const Contours = (() => ({}))();
