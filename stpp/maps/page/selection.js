/* Posts inside a box or a lasso: how many, of what weight, which are the largest. */
const Selection = (() => ({}))();
