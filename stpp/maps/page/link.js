/* The state in the URL's fragment, so that a view can be passed on. */
const Link = (() => ({}))();
