/* Reading posts: under the pointer, after a click, by a search. */
const Reader = (() => ({}))();
