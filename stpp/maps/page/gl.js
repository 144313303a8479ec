/* Densities and posts, drawn by WebGL2. */
const Gl = (() => ({}))();
