/* Colours: of densities and differences (as textures and as CSS), of categories and numbers, in both themes. */
const Palette = (() => ({}))();
