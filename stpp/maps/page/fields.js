/* The densities and the posts that the time, the mode and the layers ask for; as numbers, nothing is drawn here. */
const Fields = (() => ({}))();
