"""Where mass moves, gathers, grows and fades: estimates, transport, pages and pictures of them."""
