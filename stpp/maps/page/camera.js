/* Map units to pixels and back, at equal scales on both axes; panning and zooming; the panes of a comparison. */
const Camera = (() => ({}))();
