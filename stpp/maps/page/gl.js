/* Densities and posts, drawn by WebGL2. */
const Gl = (() => {
  const RASTER_VERTEX = `#version 300 es
    uniform vec4 u_box; // left, bottom, right, top of the grid in clip space
    in vec2 a_corner;
    out vec2 v_place;
    void main() {
      v_place = a_corner;
      gl_Position = vec4(mix(u_box.xy, u_box.zw, a_corner), 0.0, 1.0);
    }`;
  const RASTER_FRAGMENT = `#version 300 es
    precision highp float;
    uniform sampler2D u_values, u_ramp;
    in vec2 v_place;
    out vec4 colour;
    void main() {
      float value = texture(u_values, v_place).r;
      vec4 found = texture(u_ramp, vec2((value * 255.0 + 0.5) / 256.0, 0.5));
      colour = vec4(found.rgb * found.a, found.a);
    }`;
  const POST_VERTEX = `#version 300 es
    precision highp float;
    uniform vec4 u_box; // left, bottom, right, top of the posts' box in clip space
    uniform float u_size, u_halo, u_opacity;
    uniform uint u_from; // ticks; earlier posts fade
    uniform float u_fading; // half-lives per tick
    uniform float u_wanted; // 1: those that match, 0: those that do not
    in vec2 a_place;
    in uint a_time;
    in vec4 a_look; // colour and size
    in float a_match;
    out vec4 v_colour;
    out float v_radius;
    void main() {
      bool shown = (a_match > 0.0) == (u_wanted > 0.5);
      float age = a_time < u_from ? float(u_from - a_time) : 0.0;
      float faint = u_wanted > 0.5 ? 1.0 : 0.22;
      float opacity = min(u_opacity * mix(1.0, 4.0, a_look.a), 0.92); // large posts stand out of a crowd
      v_colour = vec4(a_look.rgb, opacity * faint * exp2(-age * u_fading));
      v_radius = 0.5 * u_size * sqrt(mix(1.0, 8.0, a_look.a));
      gl_PointSize = 2.0 * (v_radius + u_halo) + 1.0;
      gl_Position = shown ? vec4(mix(u_box.xy, u_box.zw, a_place), 0.0, 1.0) : vec4(2.0, 2.0, 2.0, 1.0);
    }`;
  const POST_FRAGMENT = `#version 300 es
    precision highp float;
    uniform float u_halo;
    uniform vec3 u_ground;
    in vec4 v_colour;
    in float v_radius;
    out vec4 colour;
    void main() {
      float far = length(gl_PointCoord - 0.5) * (2.0 * (v_radius + u_halo) + 1.0);
      float disc = clamp(v_radius - far + 0.5, 0.0, 1.0);
      float alpha = v_colour.a * clamp(v_radius + u_halo - far + 0.5, 0.0, 1.0);
      if (alpha <= 0.0) discard;
      colour = vec4(mix(u_ground, v_colour.rgb, disc) * alpha, alpha);
    }`;

  let canvas = null, gl = null; // null: no WebGL2 here
  let raster = null, post = null; // programs with their places
  /* What the buffers and textures were last made of; "" for nothing yet. */
  let looks = "", ramps = "", matches = "";
  let sizes = null;

  /* -- set-up ---------------------------------------------------------------------------------------------- */

  function start(element) {
    canvas = element;
    gl = canvas.getContext("webgl2", { antialias: false });
    if (!gl) {
      const notice = document.getElementById("notice");
      notice.textContent = "This browser does not offer WebGL2: posts and densities cannot be drawn.";
      notice.hidden = false;
      return;
    }
    canvas.addEventListener("webglcontextlost", (event) => event.preventDefault());
    canvas.addEventListener("webglcontextrestored", () => { setUp(); Store.redraw(); });
    setUp();
  }

  function setUp() {
    raster = program(RASTER_VERTEX, RASTER_FRAGMENT);
    raster.array = gl.createVertexArray();
    raster.textures = [texture(gl.LINEAR), texture(gl.LINEAR)];
    raster.ramps = { density: texture(gl.LINEAR), difference: texture(gl.LINEAR) };
    gl.bindVertexArray(raster.array);
    attribute(raster, "a_corner", 2, gl.BYTE, false, Int8Array.of(0, 0, 1, 0, 0, 1, 1, 1));
    post = program(POST_VERTEX, POST_FRAGMENT);
    post.array = gl.createVertexArray();
    gl.bindVertexArray(post.array);
    attribute(post, "a_place", 2, gl.UNSIGNED_SHORT, true, places());
    attribute(post, "a_time", 1, gl.UNSIGNED_INT, false, Atlas.array("time"));
    post.look = attribute(post, "a_look", 4, gl.UNSIGNED_BYTE, true, null);
    post.match = attribute(post, "a_match", 1, gl.UNSIGNED_BYTE, false, null);
    looks = ramps = matches = "";
    gl.enable(gl.BLEND);
    gl.blendFunc(gl.ONE, gl.ONE_MINUS_SRC_ALPHA); // colours are multiplied by their alpha
    gl.pixelStorei(gl.UNPACK_ALIGNMENT, 1);
  }

  function program(vertex, fragment) {
    const made = gl.createProgram();
    for (const [kind, source] of [[gl.VERTEX_SHADER, vertex], [gl.FRAGMENT_SHADER, fragment]]) {
      const shader = gl.createShader(kind);
      gl.shaderSource(shader, source);
      gl.compileShader(shader);
      gl.attachShader(made, shader);
    }
    gl.linkProgram(made);
    if (!gl.getProgramParameter(made, gl.LINK_STATUS) && !gl.isContextLost()) {
      throw new Error(`a drawing program does not link: ${gl.getProgramInfoLog(made)}`);
    }
    const uniforms = {};
    for (let k = 0; k < gl.getProgramParameter(made, gl.ACTIVE_UNIFORMS); k++) {
      const { name } = gl.getActiveUniform(made, k);
      uniforms[name] = gl.getUniformLocation(made, name);
    }
    return { made, ...uniforms };
  }

  function attribute({ made }, name, size, type, normalised, values) {
    const buffer = gl.createBuffer(), at = gl.getAttribLocation(made, name);
    gl.bindBuffer(gl.ARRAY_BUFFER, buffer);
    if (values) gl.bufferData(gl.ARRAY_BUFFER, values, gl.STATIC_DRAW);
    gl.enableVertexAttribArray(at);
    if (type === gl.UNSIGNED_INT) gl.vertexAttribIPointer(at, size, type, 0, 0);
    else gl.vertexAttribPointer(at, size, type, normalised, 0, 0);
    return { buffer, at };
  }

  function texture(filter) {
    const made = gl.createTexture();
    gl.bindTexture(gl.TEXTURE_2D, made);
    gl.texParameteri(gl.TEXTURE_2D, gl.TEXTURE_MIN_FILTER, filter);
    gl.texParameteri(gl.TEXTURE_2D, gl.TEXTURE_MAG_FILTER, filter);
    gl.texParameteri(gl.TEXTURE_2D, gl.TEXTURE_WRAP_S, gl.CLAMP_TO_EDGE);
    gl.texParameteri(gl.TEXTURE_2D, gl.TEXTURE_WRAP_T, gl.CLAMP_TO_EDGE);
    return made;
  }

  function places() {
    const x = Atlas.array("x"), y = Atlas.array("y"), both = new Uint16Array(2 * x.length);
    for (let i = 0; i < x.length; i++) {
      both[2 * i] = x[i];
      both[2 * i + 1] = y[i];
    }
    return both;
  }

  /* -- colours and sizes ----------------------------------------------------------------------------------- */

  /* (posts) 0 … 255: how large each is, by the logarithm of its engagement, or weight; all alike: 0. */
  function measured() {
    const values = Atlas.array("engagement") ?? Atlas.array("weight"), n = values.length;
    const every = Math.ceil(n / 100000) || 1, some = [];
    for (let i = 0; i < n; i += every) if (values[i] >= 0) some.push(values[i]);
    some.sort((a, b) => a - b);
    const low = some[0] ?? 0, high = some[Math.floor(0.999 * (some.length - 1))] ?? 0;
    const unit = some[some.length >> 1] > low ? some[some.length >> 1] - low : (high - low) / 10;
    const whole = Math.log1p((high - low) / unit), bytes = new Uint8Array(n);
    if (!(high > low)) return bytes;
    for (let i = 0; i < n; i++) {
      if (values[i] > low) bytes[i] = Math.min(Math.round((255 * Math.log1p((values[i] - low) / unit)) / whole), 255);
    }
    return bytes;
  }

  /* Colour of each number that stands in the array of what posts are coloured by, and that array. */
  function colouring() {
    const { colour } = Store.state, group = Atlas.meta.groups.find(({ name }) => name === colour);
    if (colour === "basin" && Atlas.array("track")) {
      const most = Math.max(0, ...Atlas.meta.basins.tracks.map(({ id }) => id)) + 2;
      const shades = Array.from({ length: most }, (_, k) => (k ? Palette.track(k - 1) : Palette.none()));
      return [Atlas.array("track"), shades];
    }
    if (group) return [Atlas.array(group.array), group.labels.map((_, k) => Palette.label(group, k))];
    return [null, [Palette.plain()]];
  }

  function paint() {
    const wanted = `${Store.state.colour} ${Palette.theme()}`;
    if (looks === wanted) return;
    looks = wanted;
    sizes ??= measured();
    const [codes, shades] = colouring(), n = sizes.length, bytes = new Uint8Array(4 * n);
    const words = new Uint32Array(bytes.buffer), shade = new Uint8Array(4), word = new Uint32Array(shade.buffer);
    const packed = shades.map((rgb) => { shade.set(rgb); return word[0]; });
    for (let i = 0; i < n; i++) words[i] = packed[codes ? codes[i] : 0];
    for (let i = 0; i < n; i++) bytes[4 * i + 3] = sizes[i];
    gl.bindBuffer(gl.ARRAY_BUFFER, post.look.buffer);
    gl.bufferData(gl.ARRAY_BUFFER, bytes, gl.STATIC_DRAW);
  }

  /* Without a search all posts match. */
  function mark() {
    if (matches === Reader.matches) return;
    matches = Reader.matches;
    gl.bindVertexArray(post.array);
    if (matches) {
      gl.bindBuffer(gl.ARRAY_BUFFER, post.match.buffer);
      gl.bufferData(gl.ARRAY_BUFFER, matches, gl.STATIC_DRAW);
      gl.enableVertexAttribArray(post.match.at);
    } else {
      gl.disableVertexAttribArray(post.match.at);
      gl.vertexAttrib1f(post.match.at, 1);
    }
  }

  function mix() {
    if (ramps === Palette.theme()) return;
    ramps = Palette.theme();
    for (const kind of ["density", "difference"]) {
      gl.bindTexture(gl.TEXTURE_2D, raster.ramps[kind]);
      gl.texImage2D(gl.TEXTURE_2D, 0, gl.RGBA8, 256, 1, 0, gl.RGBA, gl.UNSIGNED_BYTE, Palette[kind]());
    }
  }

  /* -- drawing --------------------------------------------------------------------------------------------- */

  function draw(panes) {
    if (!gl || gl.isContextLost()) return;
    const { width, height } = Camera.size(), ratio = Math.min(devicePixelRatio, 2);
    const wide = Math.round(width * ratio), high = Math.round(height * ratio);
    if (canvas.width !== wide || canvas.height !== high) Object.assign(canvas, { width: wide, height: high });
    gl.viewport(0, 0, wide, high);
    gl.disable(gl.SCISSOR_TEST);
    gl.clearColor(0, 0, 0, 0);
    gl.clear(gl.COLOR_BUFFER_BIT);
    gl.enable(gl.SCISSOR_TEST);
    mix();
    for (const pane of panes) {
      const left = Math.round(pane.clip.left * ratio), right = Math.round((pane.clip.left + pane.clip.width) * ratio);
      gl.scissor(left, 0, Math.max(right - left, 0), high);
      drawRaster(pane);
      if (Store.state.posts && Atlas.array("x").length) drawPosts(pane, ratio);
    }
  }

  /* A box [x0, x1, y0, y1] of the map in clip space; in double precision, so that no map lies too far from 0. */
  function clip(pane, [left, right, low, high]) {
    const { width, height } = Camera.size();
    const corner = (x, y) => {
      const [px, py] = Camera.project(pane, x, y);
      return [(2 * px) / width - 1, 1 - (2 * py) / height];
    };
    return [...corner(left, low), ...corner(right, high)];
  }

  function drawRaster(pane) {
    const shown = Fields.raster(pane);
    if (!shown) return;
    const [nx, ny] = Atlas.meta.grid.shape;
    gl.useProgram(raster.made);
    gl.bindVertexArray(raster.array);
    gl.activeTexture(gl.TEXTURE1);
    gl.bindTexture(gl.TEXTURE_2D, raster.ramps[shown.kind]);
    gl.activeTexture(gl.TEXTURE0);
    gl.bindTexture(gl.TEXTURE_2D, raster.textures[pane.id]);
    gl.texImage2D(gl.TEXTURE_2D, 0, gl.R8, nx, ny, 0, gl.RED, gl.UNSIGNED_BYTE, shown.values);
    gl.uniform1i(raster.u_values, 0);
    gl.uniform1i(raster.u_ramp, 1);
    gl.uniform4fv(raster.u_box, clip(pane, Atlas.meta.grid.box));
    gl.drawArrays(gl.TRIANGLE_STRIP, 0, 4);
  }

  /* The closer together, the smaller, and so thin that a crowd's own density shows where they lie in heaps. */
  function sprites(posts) {
    const [left, right, low, high] = Atlas.meta.box, by = Camera.scale();
    const room = (Math.max((right - left) * by, 30) * Math.max((high - low) * by, 30)) / posts; // pixels per post
    const size = Math.min(Math.max(0.9 * room ** 0.33, 1.6), 7);
    const deep = (12 * size ** 2) / room; // posts above one another, where they crowd
    return { size, halo: Math.min(Math.max(size - 3, 0), 1), opacity: Math.min(Math.max(1 / deep, 0.12), 0.92) };
  }

  function drawPosts(pane, ratio) {
    const { from, stop, fadeFirst } = Fields.posts(), { first, tick } = Atlas.meta.posts;
    if (stop <= fadeFirst) return;
    const { halfLife } = Store.state, { size, halo, opacity } = sprites(stop - fadeFirst);
    paint();
    mark();
    gl.useProgram(post.made);
    gl.bindVertexArray(post.array);
    gl.uniform4fv(post.u_box, clip(pane, Atlas.meta.box));
    gl.uniform1f(post.u_size, size * ratio);
    gl.uniform1f(post.u_halo, halo * ratio);
    gl.uniform1f(post.u_opacity, opacity);
    gl.uniform3fv(post.u_ground, Palette.rgb(Palette.ink("halo")).map((part) => part / 255));
    gl.uniform1ui(post.u_from, Math.min(Math.max(Math.round((from - first) / tick), 0), 2 ** 32 - 1));
    gl.uniform1f(post.u_fading, halfLife > 0 ? tick / (halfLife * 86400000) : 0);
    for (const wanted of matches ? [0, 1] : [1]) { // what a search found lies above the rest
      gl.uniform1f(post.u_wanted, wanted);
      gl.drawArrays(gl.POINTS, fadeFirst, stop - fadeFirst);
    }
  }

  return { start, draw };
})();
